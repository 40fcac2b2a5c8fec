package deletion_test

import (
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

// before calls f before it answers the n-th deletion.
func before(n int, f func()) func(int, *request) step {
	return func(number int, r *request) step {
		if !r.isDeletion() || number != n {
			return nil
		}
		return func(s *server, r *request) (*http.Response, error) {
			f()
			return serve(s, r)
		}
	}
}

func TestAJournalThatCannotBeWrittenStopsTheRunAndNamesWhatIsNotInIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(10)
		srv := newServer(ids...)
		r := newRun(t, srv.client(t))
		srv.answer = before(3, func() { _ = r.Journal.Close() })

		summary := r.finish(listed(ids...)...)

		assert.ErrorContains(t, summary.JournalError, "can't be written")
		assert.Equal(t, ids[2:3], summary.Unrecorded)
		assert.Len(t, srv.deletions(), 3)
		assert.Equal(t, 3, summary.Deleted)
		assert.Equal(t, ids[3:], left(summary, deletion.NotSent))
		assert.Contains(t, summary.Left[0].Error, "can't be written")
		for _, id := range ids[:2] {
			assert.Equal(t, journal.Deleted, r.lastRecord(id).State)
		}
	})
}

func TestAllThatIsDoneAndOnTheWireWhenAWriteFailsIsNamed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(10)
		srv := newServer(ids...)
		r := newRun(t, srv.client(t))
		r.Concurrency = 4
		srv.answer = both(before(2, func() { _ = r.Journal.Close() }), always(slow(time.Second, serve)))

		summary := r.finish(listed(ids...)...)

		assert.ElementsMatch(t, slices.Concat(srv.sentIDs()...), summary.Unrecorded)
		assert.Equal(t, len(summary.Unrecorded), summary.Deleted)
		assert.Less(t, len(srv.deletions()), 7)
	})
}

func TestWhatIsGoneButNotRecordedIsNamedToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer()
		r := newRun(t, srv.client(t))
		srv.answer = reads(func(s *server, req *request) (*http.Response, error) {
			_ = r.Journal.Close()
			return serve(s, req)
		})

		summary := r.finish(listed("a")...)

		assert.Equal(t, 1, summary.Gone)
		assert.Equal(t, []string{"a"}, summary.Unrecorded)
		assert.Error(t, summary.JournalError)
	})
}

func TestAJournalThatIsReplacedStopsTheRunAndAllThatIsDoneIsNamed(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"removed":  os.Remove,
		"renamed":  func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error { return os.WriteFile(path+".new", nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				ids := numbered(150) // Chunks of 48.
				srv := newServer(ids...)
				r := newRun(t, srv.client(t))
				srv.answer = before(70, func() {
					assert.NoError(t, lose(r.path))
					if name == "replaced" {
						assert.NoError(t, os.Rename(r.path+".new", r.path))
					}
				})

				summary := r.Do(t.Context(), t.Context(), listed(ids...))

				assert.ErrorIs(t, summary.JournalError, appendfile.ErrLost)
				assert.ErrorContains(t, summary.JournalError, "removed or replaced")
				assert.Equal(t, ids[:summary.Deleted], summary.Unrecorded)
				assert.Len(t, srv.remaining(), 150-summary.Deleted)
				assert.GreaterOrEqual(t, summary.Deleted, 70)
				assert.LessOrEqual(t, summary.Deleted, 3*48, "it went on without a journal")
				assert.Equal(t, 150, summary.Deleted+summary.NotDeleted)
			})
		})
	}
}

func TestAJournalThatIsRemovedAtTheVeryEndIsNoticed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		r := newRun(t, srv.client(t))
		srv.answer = before(2, func() { assert.NoError(t, os.Remove(r.path)) })

		summary := r.Do(t.Context(), t.Context(), listed("a", "b"))

		assert.ErrorIs(t, summary.JournalError, appendfile.ErrLost)
		assert.Equal(t, []string{"a", "b"}, summary.Unrecorded)
		assert.True(t, summary.IsComplete())
	})
}

func TestAJournalThatIsLostBeforeTheBeginningSendsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		r := newRun(t, srv.client(t))
		assert.NoError(t, os.Remove(r.path))

		summary := r.Do(t.Context(), t.Context(), listed("a"))

		assert.Empty(t, srv.arrived(anyRequest))
		assert.Equal(t, []string{"a"}, left(summary, deletion.NotSent))
		assert.Empty(t, summary.Unrecorded)
		assert.Error(t, summary.JournalError)
	})
}

func TestARunNeedsNoJournal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		srv.answer = script(refuse(429), lose)
		r := newRun(t, srv.impatient(t))
		r.Journal = nil

		assertComplete(t, r.finish(listed("a", "b")...))
		assert.Empty(t, srv.remaining())
	})
}

func TestTheReasonAndTheRequestIDAreInTheJournal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = always(refuse(400, "X-Request-Id", "req-1"))
		r := newRun(t, srv.impatient(t))

		r.finish(listed("a")...)

		record := r.lastRecord("a")
		assert.Equal(t, "req-1", record.RequestID)
		assert.Contains(t, record.Error, "400 Bad Request")
	})
}

func TestGroupsAreByReasonAndStatus(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(5)
		srv := newServer(ids...)
		srv.answer = script(refuse(404), refuse(400), refuse(404), drop, refuse(400))
		r := newRun(t, srv.impatient(t))
		r.Patience.Limit = 0
		r.NoVerify = true

		summary := r.finish(listed(ids...)...)

		type group struct {
			reason deletion.Reason
			status int
			ids    []string
		}
		var got []group
		for _, g := range summary.Left {
			got = append(got, group{g.Reason, g.Status, g.IDs})
		}
		assert.Equal(t, []group{
			{deletion.Refused, 400, []string{ids[1], ids[4]}},
			{deletion.Refused, 404, []string{ids[0], ids[2]}},
			{deletion.Unanswered, 0, []string{ids[3]}},
		}, got)
	})
}
