package deletion_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

// stopAfter is a context that ends after a time.
func stopAfter(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAfterAStopNothingIsSent(t *testing.T) {
	const stop = 1500 * time.Millisecond
	slowly := slow(time.Second, serve)
	for name, test := range map[string]struct {
		answer  func(int, *request) step
		options []memoryplugin.Option
		ends    time.Duration // 0 means at the stop
	}{
		"in a wait between rounds": {always(refuse(429)), atOnce, 0},
		"in a hold":                {always(refuse(429, "Retry-After", "30")), nil, 0},
		"in a backoff":             {always(refuse(503)), []memoryplugin.Option{memoryplugin.WithMaxRetries(99), memoryplugin.WithBackoff(time.Hour, time.Hour)}, 0},
		"at a limiter":             {nil, []memoryplugin.Option{memoryplugin.WithLimiter(rate.NewLimiter(0.1, 1))}, 0},
		"in slow replies":          {always(slowly), nil, 2 * time.Second},
		"in slow failures":         {always(slow(time.Second, refuse(503))), atOnce, 2 * time.Second},
		"in halves":                {always(slow(time.Second, refuse(413))), nil, 2 * time.Second},
		"in a listing": {both(always(lose), func(_ int, r *request) step {
			if r.isList() {
				return slowly
			}
			return nil
		}), atOnce, 0},
		"in transcripts": {both(always(unlisted), func(_ int, r *request) step {
			if r.isList() {
				return nil
			}
			return slowly
		}), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				ids := numbered(400)
				srv := newServer(ids...)
				srv.answer = test.answer
				r := newRun(t, srv.client(t, test.options...))
				r.BatchSize, r.Concurrency = 4, 2

				r.until(stopAfter(t, stop), byHand(ids...)...)

				if test.ends == 0 {
					test.ends = stop
				}
				assert.Equal(t, test.ends, time.Since(srv.start))
				for _, request := range srv.arrived(anyRequest) {
					assert.Less(t, request.at, stop)
				}
			})
		})
	}
}

func TestAStopBeforeTheBeginningSendsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		r := newRun(t, srv.client(t))
		stop, cancel := context.WithCancel(t.Context())
		cancel()

		summary := r.until(stop, byHand("a", "b")...)

		assert.Empty(t, srv.arrived(anyRequest))
		assert.Equal(t, []string{"a", "b"}, left(summary, deletion.NotSent))
		assert.Equal(t, "stopped", summary.Left[0].Error)
		assert.Equal(t, []journal.State{journal.NotDeleted}, r.states("a"))
	})
}

func TestWhatIsOnTheWireAtAStopIsAwaited(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(10)
		srv := newServer(ids...)
		srv.answer = always(slow(time.Second, serve))
		r := newRun(t, srv.client(t))
		r.Concurrency = 3

		summary := r.until(stopAfter(t, 500*time.Millisecond), listed(ids...)...)

		assert.Equal(t, 3, summary.Deleted)
		assert.Equal(t, 7, summary.NotDeleted)
		assert.Zero(t, summary.Unconfirmed)
		assert.Len(t, srv.remaining(), 7)
		assert.Equal(t, "stopped", summary.Left[0].Error)
	})
}

func TestTheEndOfTheContextCutsOffWhatIsOnTheWire(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		srv.answer = always(slow(time.Hour, serve))
		r := newRun(t, srv.client(t, memoryplugin.WithAttemptTimeout(0)))
		ctx := stopAfter(t, 3*time.Second)
		stop, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()

		conversations := listed("a", "b")
		summary := r.Do(ctx, stop, conversations)

		r.requireTrue(summary, conversations)
		assert.Equal(t, 3*time.Second, time.Since(srv.start))
		assert.Len(t, srv.arrived(anyRequest), 1)
		assert.Equal(t, []string{"a"}, left(summary, deletion.Unanswered))
		assert.Equal(t, []string{"b"}, left(summary, deletion.NotSent))
		assert.Equal(t, []journal.State{journal.Sent, journal.Unconfirmed}, r.states("a"))
	})
}

func TestAChunkThatIsNeverSentGetsItsStateBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(150) // Three chunks, and some.
		srv := newServer(ids...)
		srv.answer = always(slow(time.Second, serve))
		r := newRun(t, srv.client(t))
		conversations := listed(ids...)
		conversations[60].InDoubt = true  // In the second chunk,
		conversations[100].InDoubt = true // and in the third.

		summary := r.until(stopAfter(t, 1500*time.Millisecond), conversations...)

		assert.Equal(t, 2, summary.Deleted)
		assert.Equal(t, []journal.State{journal.Sent, journal.NotDeleted}, r.states(ids[10]), "in the first chunk")
		assert.Equal(t, []journal.State{journal.Sent, journal.NotDeleted}, r.states(ids[61]), "marked while the first was on its way")
		assert.Equal(t, []journal.State{journal.Sent, journal.Unconfirmed}, r.states(ids[60]), "it was in doubt before")
		assert.Equal(t, []journal.State{journal.NotDeleted}, r.states(ids[101]), "never marked")
		assert.Empty(t, r.states(ids[100]), "it was in doubt before")
		assert.Equal(t, 2, summary.Unconfirmed)
		assert.Equal(t, "not sent: stopped", r.lastRecord(ids[101]).Error)
	})
}

func TestAnIDIsInTheJournalAsSentBeforeItLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(150)
		srv := newServer(ids...)
		r := newRun(t, srv.client(t))
		srv.answer = always(func(s *server, req *request) (*http.Response, error) {
			req.read()
			for _, id := range req.ids {
				assert.Equal(t, []journal.State{journal.Sent}, r.states(id))
			}
			return serve(s, req)
		})

		assertComplete(t, r.finish(listed(ids...)...))

		for _, id := range ids {
			require.Equal(t, []journal.State{journal.Sent, journal.Deleted}, r.states(id))
		}
	})
}

func TestAResultIsInTheJournalBeforeItIsCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(20)
		srv := newServer(ids...)
		r := newRun(t, srv.client(t))
		r.OnDone = func(n int) {
			r.done += n
			recorded := 0
			for _, record := range r.records() {
				if record.State == journal.Deleted {
					recorded += len(record.IDs)
				}
			}
			assert.Equal(t, recorded, r.done)
		}

		assertComplete(t, r.finish(listed(ids...)...))
	})
}

func TestAnInterruptedWaitLeavesEachWithItsLastReason(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = always(refuse(429))
		r := newRun(t, srv.impatient(t))

		summary := r.until(stopAfter(t, 12*time.Second), listed("a")...)

		require.Len(t, summary.Left, 1)
		assert.Equal(t, deletion.Refused, summary.Left[0].Reason)
		assert.Equal(t, 429, summary.Left[0].Status)
		assert.Equal(t, []journal.State{journal.Sent, journal.NotDeleted, journal.Sent, journal.NotDeleted}, r.states("a"))
	})
}

func TestNothingIsVerifiedAfterAStop(t *testing.T) {
	for text, step := range map[string]step{
		"EOF": lose, "the server answered, but did not list it": unlisted,
	} {
		t.Run(text, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = always(slow(time.Second, step))
				r := newRun(t, srv.impatient(t))

				summary := r.until(stopAfter(t, 500*time.Millisecond), listed("a")...)

				assert.Len(t, srv.arrived(anyRequest), 1)
				assert.Equal(t, 1, summary.Unconfirmed)
				assert.Contains(t, summary.Left[0].Error, text)
			})
		})
	}
}
