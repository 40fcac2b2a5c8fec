package deletion_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/patience"
)

var account = appendfile.Account{URL: "https://api.test", APIKey: "sk-test"}

// run is a deletion, and what it told while it went on.
type run struct {
	deletion.Run
	t     *testing.T
	path  string // of the journal
	done  int    // as OnDone counts
	waits []wait
}

// wait is what was said at a wait.
type wait struct {
	time.Duration
	why string
}

// newRun prepares a run with a journal and the default patience. A batch has one id.
func newRun(t *testing.T, client *memoryplugin.Client) *run {
	t.Helper()
	r := &run{t: t, path: filepath.Join(t.TempDir(), "journal")}
	r.Run = deletion.Run{
		Client: client, BatchSize: 1, Concurrency: 1,
		Patience: &patience.Patience{Limit: 5 * time.Minute, OnWait: func(until time.Time, why error) {
			r.waits = append(r.waits, wait{time.Until(until), why.Error()})
		}},
		OnDone: func(n int) { r.done += n },
	}
	r.open()
	return r
}

func (r *run) open() {
	r.t.Helper()
	var err error
	r.Journal, err = journal.Open(r.path, account)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = r.Journal.Close() })
}

// finish runs to the end, without a stop.
func (r *run) finish(conversations ...deletion.Conversation) *deletion.Summary {
	r.t.Helper()
	return r.until(r.t.Context(), conversations...)
}

// until runs to the end, or until stop ends.
func (r *run) until(stop context.Context, conversations ...deletion.Conversation) *deletion.Summary {
	r.t.Helper()
	summary := r.Do(r.t.Context(), stop, conversations)
	r.requireTrue(summary, conversations)
	return summary
}

// requireTrue checks what is true of every summary.
func (r *run) requireTrue(s *deletion.Summary, conversations []deletion.Conversation) {
	r.t.Helper()
	require.Equal(r.t, len(conversations), s.Deleted+s.Gone+s.Absent+s.Kept+s.Unconfirmed+s.NotDeleted, "the summary does not add up")
	left := map[string]bool{}
	for _, g := range s.Left {
		for _, id := range g.IDs {
			require.False(r.t, left[id], "%s is left twice", id)
			left[id] = true
		}
	}
	require.Len(r.t, left, s.Kept+s.Unconfirmed+s.NotDeleted, "the groups do not add up")
	require.Equal(r.t, s.Deleted+s.Gone+s.Absent, r.done, "OnDone counted others")
}

// states returns what the journal has of an id, in order.
func (r *run) states(id string) []journal.State {
	r.t.Helper()
	var states []journal.State
	for _, record := range r.records() {
		for _, other := range record.IDs {
			if other == id {
				states = append(states, record.State)
			}
		}
	}
	return states
}

func (r *run) records() []journal.Record {
	r.t.Helper()
	content, err := os.ReadFile(r.path)
	require.NoError(r.t, err)
	var records []journal.Record
	for line := range strings.Lines(string(content)) {
		var record journal.Record
		require.NoError(r.t, json.Unmarshal([]byte(line), &record))
		if record.State != "" { // The header has none.
			records = append(records, record)
		}
	}
	return records
}

// lastRecord returns the last line of the journal that names an id.
func (r *run) lastRecord(id string) journal.Record {
	r.t.Helper()
	var last journal.Record
	for _, record := range r.records() {
		if strings.Contains(strings.Join(record.IDs, "\n")+"\n", id+"\n") {
			last = record
		}
	}
	return last
}

// inBubble runs a test on a clock that jumps.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// listed is conversations that a listing had.
func listed(ids ...string) []deletion.Conversation {
	var some []deletion.Conversation
	for _, id := range ids {
		some = append(some, deletion.Conversation{ID: id, WasListed: true})
	}
	return some
}

// byHand is conversations that are ids alone.
func byHand(ids ...string) []deletion.Conversation {
	var some []deletion.Conversation
	for _, id := range ids {
		some = append(some, deletion.Conversation{ID: id})
	}
	return some
}

func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("id-%03d", i)
	}
	return ids
}

// left returns the ids that are left for a reason.
func left(s *deletion.Summary, reason deletion.Reason) []string {
	var ids []string
	for _, g := range s.Left {
		if g.Reason == reason {
			ids = append(ids, g.IDs...)
		}
	}
	return ids
}

func assertComplete(t *testing.T, s *deletion.Summary) {
	t.Helper()
	assert.True(t, s.IsComplete(), "%+v", s)
	assert.NoError(t, s.JournalError)
	assert.Empty(t, s.Unrecorded)
}
