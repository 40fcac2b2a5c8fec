package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// odometer goes through every way in which choices can fall.
type odometer struct {
	chosen, options []int
	next            int
}

// choose returns a number below n.
func (o *odometer) choose(n int) int {
	if o.next == len(o.chosen) {
		o.chosen, o.options = append(o.chosen, 0), append(o.options, n)
	}
	if o.options[o.next] != n {
		panic("the same choices have led to another place")
	}
	o.next++
	return o.chosen[o.next-1]
}

// advance goes on to the next way. It returns false if there is none.
func (o *odometer) advance() bool {
	o.next = 0
	for last := len(o.chosen) - 1; last >= 0; last-- {
		if o.chosen[last]++; o.chosen[last] < o.options[last] {
			return true
		}
		o.chosen, o.options = o.chosen[:last], o.options[:last]
	}
	return false
}

// everyWay calls try until the choices have fallen in every way. What try
// returns is what is wrong.
func everyWay(t *testing.T, try func(ctx context.Context, o *odometer) string) {
	t.Helper()
	start, tried := time.Now(), 0
	synctest.Test(t, func(t *testing.T) {
		for o := (&odometer{}); tried == 0 || o.advance(); tried++ {
			require.Empty(t, try(t.Context(), o), "after %d that were right", tried)
		}
	})
	t.Logf("tried %d sequences in %v", tried, time.Since(start).Round(time.Millisecond))
}

// modelIDs have lengths that tell a request by its length, even if nobody reads it.
var modelIDs = []string{"a", "bb", "cccc", "dddddddd"}

func modelOf(ids []string) *model {
	m := &model{there: map[string]bool{}}
	for _, id := range ids {
		m.there[id] = true
	}
	return m
}

// modelClient makes a Client that waits only as long as a server tells it to.
func modelClient(m *model, retries int) *memoryplugin.Client {
	client, err := memoryplugin.NewClient(testKey, through(m),
		memoryplugin.WithMaxRetries(retries), memoryplugin.WithBackoff(0, 0))
	if err != nil {
		panic(err)
	}
	return client
}

// exhaustively is a script that follows o for a number of requests. All others
// get the first option. Of two in flight the shorter is answered first, or the
// longer.
func exhaustively(o *odometer, requests int, longerFirst bool) modelScript {
	return func(r *http.Request) (time.Duration, func(int) int) {
		latency := time.Duration(r.ContentLength) * time.Millisecond
		if longerFirst {
			latency = 100*time.Millisecond - latency
		}
		choose := sync.OnceValue(func() func(int) int {
			if requests--; requests < 0 {
				return func(int) int { return 0 }
			}
			return o.choose
		})
		return latency, func(n int) int { return choose()(n) }
	}
}

// beginOrEnd lets the call be over before it begins.
func (c *modelCall) beginOrEnd(o *odometer) {
	if o.choose(2) == 0 {
		return
	}
	c.over = true
	if c.stop == nil {
		c.cancel()
	} else {
		c.endGently()
	}
}

// kindsFor returns those that are tried in calls of so many attempts. In the
// longest ones a kind stands for others that mean the same.
func kindsFor(attempts int) []*kind {
	if attempts < *modelDepth {
		return everyKind
	}
	return distinctKinds
}

// depth is -model.depth, if that is enough to try anything.
func depth(t *testing.T) int {
	t.Helper()
	require.Positive(t, *modelDepth, "-model.depth: nothing would be tried")
	return *modelDepth
}

// eachDepth tests calls of one attempt, of two, and so on.
func eachDepth(t *testing.T, test func(t *testing.T, attempts int)) {
	for attempts := 1; attempts <= depth(t); attempts++ {
		t.Run(fmt.Sprint("attempts=", attempts), func(t *testing.T) {
			t.Parallel()
			test(t, attempts)
		})
	}
}

func TestEveryCallTellsTheTruth(t *testing.T) {
	ids := modelIDs[:2]
	eachDepth(t, func(t *testing.T, attempts int) {
		kinds := kindsFor(attempts)
		everyWay(t, func(ctx context.Context, o *odometer) string {
			m := modelOf(ids)
			ctx, c := m.begin(ctx, ids, &modelCall{single: true, script: exhaustively(o, attempts, false), kinds: kinds, events: cancels})
			defer c.cancel()
			c.beginOrEnd(o)

			result, err := modelClient(m, attempts-1).DeleteConversations(ctx, ids)

			c.judge(result, err)
			c.judgeSingle(attempts, err)
			return c.report()
		})
	})
}

func TestEveryCallThatMayBeStoppedTellsTheTruth(t *testing.T) {
	ids := modelIDs[:2]
	eachDepth(t, func(t *testing.T, attempts int) {
		kinds := slices.DeleteFunc(slices.Clone(kindsFor(attempts)), func(k *kind) bool {
			// A 413 would be halved, and before others there is nothing to be stopped.
			return k == tooLarge || attempts == *modelDepth && !k.retried && k != everyKind[0]
		})
		everyWay(t, func(ctx context.Context, o *odometer) string {
			m := modelOf(ids)
			stop := make(chan struct{})
			ctx, c := m.begin(ctx, ids, &modelCall{single: true, script: exhaustively(o, attempts, false), kinds: kinds, events: stops, stop: stop})
			defer c.cancel()
			c.beginOrEnd(o)

			result, err := modelClient(m, attempts-1).DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Stop: stop})

			c.judge(result, err)
			c.judgeSingle(attempts, err)
			return c.report()
		})
	})
}

// judgeSingle complains of what holds only if all ids are in one request.
func (c *modelCall) judgeSingle(most int, err error) {
	c.expect(c.attempts == most || !c.mayGoOn, "no further attempt after", c.attempts)
	c.expect(c.unexpected == errors.Is(err, memoryplugin.ErrUnexpectedResponse), "ErrUnexpectedResponse", err)
}

// modelRun is how a run of batches is made.
type modelRun struct {
	ids, size, concurrency, retries int
	longerFirst                     bool
}

func TestEveryRunOfBatchesTellsTheTruth(t *testing.T) {
	requests := depth(t) + 1
	for _, run := range []modelRun{
		{ids: 4, size: 2, concurrency: 1},
		{ids: 4, size: 4, concurrency: 1},
		{ids: 3, size: 3, concurrency: 1},
		{ids: 3, size: 2, concurrency: 1, retries: 1},
		{ids: 4, size: 2, concurrency: 2},
		{ids: 4, size: 2, concurrency: 2, longerFirst: true},
		{ids: 3, size: 2, concurrency: 2, retries: 1},
	} {
		t.Run(fmt.Sprintf("%+v", run), func(t *testing.T) {
			t.Parallel()
			kinds := kindsInLongRuns(run.retries)
			everyWay(t, func(ctx context.Context, o *odometer) string {
				return run.try(ctx, &modelCall{script: exhaustively(o, requests, run.longerFirst), kinds: kinds, events: allEvents})
			})
		})
	}
}

func TestEveryRunOfBatchesOfAnyKindTellsTheTruth(t *testing.T) {
	requests := depth(t)
	for _, run := range []modelRun{
		{ids: 4, size: 2, concurrency: 1},
		{ids: 4, size: 4, concurrency: 1},
		{ids: 4, size: 2, concurrency: 2},
	} {
		t.Run(fmt.Sprintf("%+v", run), func(t *testing.T) {
			t.Parallel()
			everyWay(t, func(ctx context.Context, o *odometer) string {
				return run.try(ctx, &modelCall{script: exhaustively(o, requests, false), kinds: distinctKinds, events: noEvents})
			})
		})
	}
}

// kindsInLongRuns stand for all others: what a run makes of a batch follows from
// the verdict, and from whether it is tried again, halved, or ends the run.
func kindsInLongRuns(retries int) []*kind {
	names := []string{"a list and a count", "a reset", "401", "413", "503, Retry-After: 1h0m0s"}
	if retries > 0 {
		names = append(names, "no connection", "429")
	} else {
		names = append(names, "an empty list and a count of one", "400")
	}
	return slices.DeleteFunc(slices.Clone(distinctKinds), func(k *kind) bool { return !slices.Contains(names, k.name) })
}

// try makes the run that c decides about, and returns what is wrong.
func (run modelRun) try(ctx context.Context, c *modelCall) string {
	ids := modelIDs[:run.ids]
	m := modelOf(ids)
	c.stop, c.size, c.concurrency = make(chan struct{}), run.size, run.concurrency
	c.prompt, c.noRetries = true, run.retries == 0
	ctx, _ = m.begin(ctx, ids, c)
	defer c.cancel()
	var told journal

	result, err := modelClient(m, run.retries).DeleteConversationsInBatches(ctx, ids,
		memoryplugin.BatchOptions{Size: run.size, Concurrency: run.concurrency, Stop: c.stop, OnBatch: told.add})

	c.judge(result, err)
	c.judgeBatches(result, told, run.retries)
	c.judgeEnd(err)
	return c.report()
}

// judgeEnd complains of a run that ended for no reason, or does not say so.
func (c *modelCall) judgeEnd(err error) {
	unsent := slices.ContainsFunc(c.order, func(id string) bool { return c.histories[id].last == nil })
	if !unsent || c.unconnected {
		return
	}
	c.expect(c.over, "not all was sent", err)
	said := func(reason error) bool { return reason == nil || errors.Is(err, reason) }
	c.expect(slices.ContainsFunc(c.reasons, said), "the reason of the end", err)
}

func TestModelFindsOutWhoeverTrustsTheSecondAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := modelIDs[:2]
		m := modelOf(ids)
		script := exhaustively(&odometer{chosen: []int{0, 3, 0, 1, 0, 0}, options: []int{2, 4, 1, 2, 1, 1}}, 2, false)
		lostReply, list := lost("a lost reply", resetByPeer), everyKind[0]
		ctx, c := m.begin(t.Context(), ids, &modelCall{script: script, kinds: []*kind{lostReply, list}, events: noEvents})
		defer c.cancel()

		_, err := modelClient(m, 1).DeleteConversations(ctx, ids)
		c.judge(&memoryplugin.DeleteConversationsResult{
			Deleted: []string{}, NotListed: ids, NotDeleted: []string{}, Unconfirmed: []string{}, Attempts: 2,
		}, nil)

		require.ErrorIs(t, err, memoryplugin.ErrUnconfirmed)
		require.Contains(t, c.complaints, "a is NotListed, which is false")
		require.Contains(t, c.complaints, `bb is "NotListed", want "Unconfirmed"`)
	})
}
