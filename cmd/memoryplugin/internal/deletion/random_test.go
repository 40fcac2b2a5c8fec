package deletion_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

// hostility is what may become of a deletion, and of any other request. Most are served.
var (
	hostility = []step{
		drop, lose, refuse(503), applied(refuse(503)), refuse(429), refuse(429, "Retry-After", "3"), refuse(429, "Retry-After", "70"),
		refuse(400), refuse(404), applied(refuse(408)), refuse(413), down, unknownHost, badCertificate,
		loginPage, applied(loginPage), unlisted, slow(5*time.Second, serve), slow(5*time.Second, lose), mute, applied(mute),
	}
	hostileReads = []step{drop, refuse(503), gatewayPage, refuse(400), down, unknownHost, loginPage, slow(5*time.Second, serve), mute}
)

var seeds = flag.Uint64("seeds", 50, "number of runs against a hostile server")

// ordeal is a run against a hostile server, and what it was about.
type ordeal struct {
	*run
	*rand.Rand
	srv           *server
	conversations []deletion.Conversation
	broken        bool // the journal
	stop, cancel  time.Duration
}

// TestEveryStateIsTrueWhateverTheServerDoes checks what is promised for any run.
func TestEveryStateIsTrueWhateverTheServerDoes(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				o := newOrdeal(t, seed)
				summary := o.undergo()
				o.requireNothingAfterStop()
				o.requireNothingForbiddenSent()
				o.requireTrueGroups(summary)
				o.requireTrueJournal(summary)
				o.requireRecorded(summary)
			})
		})
	}
}

func newOrdeal(t *testing.T, seed uint64) *ordeal {
	o := &ordeal{Rand: rand.New(rand.NewPCG(seed, 0)), srv: newServer()}
	for _, id := range numbered(1 + o.IntN(120)) {
		c := deletion.Conversation{ID: id, WasListed: o.IntN(2) == 0, InDoubt: o.IntN(8) == 0}
		switch isThere := o.IntN(8) > 0; {
		case isThere && o.IntN(20) == 0:
			o.srv.hidden = append(o.srv.hidden, id)
		case isThere:
			o.srv.ids = append(o.srv.ids, id)
		}
		switch o.IntN(20) {
		case 0:
			c.IsMissing = true
		case 1:
			c.Withheld = errNoCopy
		}
		o.conversations = append(o.conversations, c)
	}
	o.run = newRun(t, o.srv.client(t, memoryplugin.WithMaxRetries(o.IntN(3))))
	o.BatchSize, o.Concurrency, o.NoVerify = 1+o.IntN(4), 1+o.IntN(4), o.IntN(4) == 0
	o.Patience.Limit = time.Duration(o.IntN(120)) * time.Second
	o.srv.answer = o.answers()
	return o
}

// answers decides at random. Now and then it breaks the journal, or refuses the key.
func (o *ordeal) answers() func(int, *request) step {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(o.Uint64(), 1))
	badness, breaksAt, refusesKeyAt := o.IntN(60), o.IntN(500), o.IntN(1000)
	lose := func() error { return o.Journal.Close() }
	if o.IntN(2) == 0 {
		lose = func() error { return os.Remove(o.path) }
	}
	return func(n int, r *request) step {
		mu.Lock()
		defer mu.Unlock()
		if n == breaksAt {
			o.broken = true
			assert.NoError(o.t, lose())
		}
		switch hostile := rng.IntN(100) < badness; {
		case n == refusesKeyAt:
			return refuse(401)
		case hostile && r.isDeletion():
			return hostility[rng.IntN(len(hostility))]
		case hostile:
			return hostileReads[rng.IntN(len(hostileReads))]
		}
		return slow(time.Duration(rng.IntN(300))*time.Millisecond, serve)
	}
}

// undergo runs, and stops at some time or never.
func (o *ordeal) undergo() *deletion.Summary {
	o.stop, o.cancel = time.Hour, 2*time.Hour
	if o.IntN(2) == 0 {
		o.stop = time.Duration(o.IntN(60_000)) * time.Millisecond
		o.cancel = o.stop + time.Duration(o.IntN(20_000))*time.Millisecond
	}
	ctx, stop := stopAfter(o.t, o.cancel), stopAfter(o.t, o.stop)
	summary := o.Do(ctx, stop, o.conversations)
	require.LessOrEqual(o.t, time.Since(o.srv.start), o.cancel)
	o.requireTrue(summary, o.conversations)
	synctest.Wait()
	return summary
}

func (o *ordeal) requireNothingAfterStop() {
	for _, r := range o.srv.arrived(anyRequest) {
		require.LessOrEqual(o.t, r.at, o.stop, "a request after the stop")
	}
}

func (o *ordeal) requireNothingForbiddenSent() {
	sent := slices.Concat(o.srv.sentIDs()...)
	for _, c := range o.conversations {
		if c.IsMissing || c.Withheld != nil {
			require.NotContains(o.t, sent, c.ID)
		}
	}
}

// requireTrueGroups compares the summary with what the server has.
func (o *ordeal) requireTrueGroups(s *deletion.Summary) {
	left := map[string]deletion.Reason{}
	for _, g := range s.Left {
		require.NotEmpty(o.t, g.Error)
		for _, id := range g.IDs {
			left[id] = g.Reason
		}
	}
	for _, c := range o.conversations {
		switch left[c.ID] {
		case "":
			require.False(o.t, o.srv.has(c.ID), "%s is counted as done", c.ID)
			require.NoError(o.t, c.Withheld)
		case deletion.StillThere:
			require.True(o.t, o.srv.has(c.ID), "%s is gone, not kept", c.ID)
		case deletion.Refused, deletion.NotSent:
			require.False(o.t, c.InDoubt, "%s was in doubt", c.ID)
			require.NotContains(o.t, o.srv.applied, c.ID, "it was deleted")
		}
	}
}

// requireTrueJournal compares the journal with what the server has.
func (o *ordeal) requireTrueJournal(s *deletion.Summary) {
	if o.broken {
		return
	}
	require.NoError(o.t, s.JournalError)
	var done int
	for _, c := range o.conversations {
		states := o.states(c.ID)
		o.requireNoDoubtForgotten(c, states)
		if len(states) == 0 {
			require.True(o.t, c.InDoubt, "%s is not in the journal", c.ID)
			continue
		}
		switch last := states[len(states)-1]; last {
		case journal.Sent:
			require.Fail(o.t, "no result in the journal", "%s", c.ID)
		case journal.Deleted:
			require.Contains(o.t, o.srv.applied, c.ID)
			done++
		case journal.Gone, journal.Absent:
			wasSeen := c.WasListed || slices.Contains(states, journal.Kept)
			require.Equal(o.t, wasSeen, last == journal.Gone, "%s is %s", c.ID, last)
			require.False(o.t, o.srv.has(c.ID))
			done++
		case journal.Kept:
			require.True(o.t, o.srv.has(c.ID))
		}
	}
	require.Equal(o.t, done, s.Deleted+s.Gone+s.Absent, "summary and journal differ")
}

// requireNoDoubtForgotten checks that an id in doubt is never said to be there
// because a later request did not delete it.
func (o *ordeal) requireNoDoubtForgotten(c deletion.Conversation, states []journal.State) {
	inDoubt := c.InDoubt
	for _, state := range states {
		inDoubt = inDoubt || state == journal.Unconfirmed
		if inDoubt {
			require.NotContains(o.t, []journal.State{journal.NotDeleted, journal.NotListed}, state, "%s: %v", c.ID, states)
		}
	}
}

// requireRecorded checks that what is done is in the journal, or named.
func (o *ordeal) requireRecorded(s *deletion.Summary) {
	if s.JournalError == nil {
		require.Empty(o.t, s.Unrecorded)
		return
	}
	isLost := errors.Is(s.JournalError, appendfile.ErrLost)
	require.Subset(o.t, idsOf(o.conversations), s.Unrecorded)
	if isLost {
		require.Len(o.t, s.Unrecorded, s.Deleted+s.Gone+s.Absent)
		return
	}
	var done []string
	for _, c := range o.conversations {
		if states := o.states(c.ID); len(states) > 0 && states[len(states)-1].IsDone() {
			done = append(done, c.ID)
		}
	}
	require.Len(o.t, append(done, s.Unrecorded...), s.Deleted+s.Gone+s.Absent)
	for _, id := range s.Unrecorded {
		require.NotContains(o.t, done, id, "it is recorded")
		require.False(o.t, o.srv.has(id))
	}
}

func idsOf(conversations []deletion.Conversation) []string {
	var ids []string
	for _, c := range conversations {
		ids = append(ids, c.ID)
	}
	return ids
}
