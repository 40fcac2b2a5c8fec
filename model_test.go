package memoryplugin_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

var (
	modelDepth = flag.Int("model.depth", 2, "the attempts of a call that are tried in every way; a run of batches has one more")
	modelSeeds = flag.Uint64("model.seeds", 1000, "the number of random runs")
	modelSeed  = flag.Uint64("model.seed", 0, "the only random run, unless it is 0")
)

// model is a server in memory, in the place of a transport. It knows what it has
// deleted, for whom, and what it has told them. So it can judge what a call says.
type model struct {
	mu        sync.Mutex
	there     map[string]bool // a conversation that is not deleted
	afterward []func()        // deletions that come when the client has given up
	heldFrom  time.Time
	heldUntil time.Time // by a Retry-After
}

// modelCall is one call, or one run of batches, as the model sees it.
type modelCall struct {
	*model
	script modelScript
	kinds  []*kind       // that an attempt can end in
	events []event       // that can happen meanwhile
	cancel func()        // ends the call's context
	stop   chan struct{} // its BatchOptions.Stop; nil if it has none

	single      bool // all ids are in one request, which is never halved
	size        int  // the most ids of a request
	prompt      bool // a request is sent as soon as it is made: no limiter holds it back
	noRetries   bool
	concurrency int // 0 means 1

	order       []string // of the ids
	histories   map[string]*history
	attempts    int
	inFlight    int
	finished    time.Time // the last one
	oneByOne    bool      // the last batch failed and deleted nothing
	over        bool      // no further attempt may be made
	reasons     []error   // for that
	mayGoOn     bool      // the last attempt calls for another one
	unexpected  bool      // a reply is not documented, or contradicts itself
	unconnected bool      // an attempt obtained no connection, so nobody knows its ids
	trace       []step    // for whoever reads about a failure
	complaints  []string
}

// modelScript decides what becomes of a request: how long it takes, and then one
// of n ways as often as it is asked.
type modelScript func(r *http.Request) (latency time.Duration, choose func(n int) int)

// history is what became of one id in one call.
type history struct {
	deleted   bool  // by a request of this call
	confirmed bool  // a complete answer lists it
	left      bool  // a complete answer that can be trusted leaves it out
	doubtful  bool  // a request that carried it did not tell what came of it
	last      *kind // of the requests that carried it
}

// step is one attempt.
type step struct {
	kind    *kind
	ids     []string
	applied []string
	event   event
}

func (s step) String() string {
	return fmt.Sprintf("%s %v of %v%s", s.kind.name, s.applied, s.ids, s.event)
}

type modelKey struct{}

// begin returns the model's view of a call for ids, and the context to make it with.
func (m *model) begin(ctx context.Context, ids []string, c *modelCall) (context.Context, *modelCall) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.model, c.order, c.histories = m, ids, make(map[string]*history, len(ids))
	c.size = cmp.Or(c.size, len(ids))
	for _, id := range ids {
		c.histories[id] = &history{}
	}
	return context.WithValue(ctx, modelKey{}, c), c
}

func (m *model) RoundTrip(r *http.Request) (*http.Response, error) {
	x := r.Context().Value(modelKey{}).(*modelCall).start(r)
	defer x.finish()
	kinds := x.kinds
	select {
	case <-time.After(x.latency):
	case <-r.Context().Done():
		kinds = cutOff
	}
	x.decide(kinds)
	return x.kind.play(x)
}

// exchange is one attempt while it is under way.
type exchange struct {
	*modelCall
	step
	request *http.Request
	latency time.Duration
	choose  func(n int) int
	mostIDs int // of a request, when this one was sent
}

// start checks that an attempt may be made now.
func (c *modelCall) start(r *http.Request) *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
	c.inFlight++
	now := time.Now()
	c.expect(!c.over && r.Context().Err() == nil, "an attempt after the end", c.attempts)
	c.expect(!now.After(c.heldFrom) || !now.Before(c.heldUntil), "an attempt while a Retry-After holds it back", c.attempts)
	c.expect(!c.single || c.attempts == 1 || c.mayGoOn, "an attempt after one that should be the last", c.attempts)
	c.expect(!c.oneByOne || c.inFlight == 1, "requests in flight after a failure", c.inFlight)
	c.expect(c.inFlight <= max(1, c.concurrency), "requests in flight", c.inFlight)
	x := &exchange{modelCall: c, request: r, mostIDs: c.size}
	x.latency, x.choose = c.script(r)
	return x
}

// finish notes when x ended, and whether the run has to slow down.
func (x *exchange) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.inFlight--
	x.finished = time.Now()
	if x.kind == tooLarge && len(x.ids) > 1 {
		return // It is halved, which is no failure.
	}
	certain, some := len(x.ids) > 0, false
	for _, id := range x.ids {
		h := x.histories[id]
		certain = certain && (h.confirmed || h.left)
		some = some || h.confirmed
	}
	x.oneByOne = x.noRetries && !certain && !some
}

// decide chooses what x comes to, what it applies, and what happens to the call
// meanwhile.
func (x *exchange) decide(kinds []*kind) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kind = kinds[x.choose(len(kinds))]
	if x.kind.connects {
		x.connect()
	}
	if x.kind.connects || x.kind.verdict == unknown {
		x.read()
	}
	if x.kind.verdict != refused {
		x.apply()
	}
	events := x.possible()
	x.happen(events[x.choose(len(events))])
	if x.kind.endsRun {
		x.end(x.kind.reason)
	}
	x.mayGoOn = x.kind.retried && !x.over
	x.unconnected = x.unconnected || x.ids == nil
	if x.kind.verdict == unknown {
		x.tell(nil, false)
	}
	x.unexpected = x.unexpected || x.kind.unexpected
	x.trace = append(x.trace, x.step)
}

// end notes that no further attempt may be made.
func (c *modelCall) end(reason error) {
	c.over, c.reasons = true, append(c.reasons, reason)
}

// connect tells the SDK that the request is on the wire.
func (x *exchange) connect() {
	hooks := httptrace.ContextClientTrace(x.request.Context())
	hooks.GetConn("memory:443")
	hooks.GotConn(httptrace.GotConnInfo{Conn: memoryConn{}})
	hooks.WroteHeaders()
}

// read finds out which ids the request carries, and whether it may carry them.
func (x *exchange) read() {
	body, _ := io.ReadAll(x.request.Body)
	start, end := `{"ids":["`, `"]}`
	x.ids = strings.Split(string(body[len(start):len(body)-len(end)]), `","`)
	for _, id := range x.ids {
		h := x.histories[id]
		switch last := h.last; {
		case last == nil && !x.unconnected && len(x.ids) > x.mostIDs:
			x.complain("%d ids were sent in one request", len(x.ids))
		case last != nil && !last.retried && last != tooLarge:
			x.complain("%s was sent again after: %s", id, last.name)
		}
		h.last = x.kind
	}
	if x.kind == tooLarge && x.prompt {
		x.size = min(x.size, (len(x.ids)+1)/2)
	}
}

// apply deletes any part of what is there.
func (x *exchange) apply() {
	there := slices.DeleteFunc(slices.Clone(x.ids), func(id string) bool { return !x.there[id] })
	part := x.choose(1 << len(there))
	for i, id := range there {
		if part>>i&1 == 1 {
			x.applied = append(x.applied, id)
		}
	}
	deletion := func() {
		for _, id := range x.applied {
			x.histories[id].deleted = x.histories[id].deleted || x.there[id]
			x.there[id] = false
		}
	}
	if x.kind.late {
		x.afterward = append(x.afterward, deletion)
		return
	}
	deletion()
}

// tell notes what the client now knows of the ids: that those listed are deleted,
// and that the others are not if the answer is the whole truth.
func (x *exchange) tell(listed []string, whole bool) {
	for _, id := range x.ids {
		h := x.histories[id]
		switch {
		case slices.Contains(listed, id):
			h.confirmed = true
		case whole:
			h.left = true
		default:
			h.doubtful = true
		}
	}
}

// hold keeps everybody back.
func (m *model) hold(d time.Duration) {
	now := time.Now()
	if now.After(m.heldUntil) {
		m.heldFrom = now
	}
	if until := now.Add(d); until.After(m.heldUntil) {
		m.heldUntil = until
	}
}

// verdict is what the SDK promises to say of an id with this history.
func (h *history) verdict() string {
	switch {
	case h.confirmed:
		return "Deleted"
	case h.doubtful:
		return "Unconfirmed"
	case h.left:
		return "NotListed"
	}
	return "NotDeleted"
}

// belies reports whether a verdict is false, whatever the client could know.
func (h *history) belies(verdict string) bool {
	switch verdict {
	case "Deleted":
		return !h.deleted
	case "NotListed", "NotDeleted":
		return h.deleted
	}
	return verdict != "Unconfirmed"
}

// judge complains of everything that a call should not have said.
func (c *modelCall) judge(result *memoryplugin.DeleteConversationsResult, err error) {
	for _, deletion := range c.afterward {
		deletion()
	}
	verdicts := c.divide(result)
	certain := true
	for _, id := range c.order {
		got, want := verdicts[id], c.histories[id].verdict()
		certain = certain && (got == "Deleted" || got == "NotListed")
		if c.histories[id].belies(got) {
			c.complain("%s is %s, which is false", id, got)
		}
		if got != want {
			c.complain("%s is %q, want %q", id, got, want)
		}
	}
	c.expect((err == nil) == (certain && !c.unexpected), "a nil error", err)
	c.expect(errors.Is(err, memoryplugin.ErrUnconfirmed) == (len(result.Unconfirmed) > 0), "ErrUnconfirmed", err)
	c.expect(!errors.Is(err, memoryplugin.ErrUnexpectedResponse) || c.unexpected, "ErrUnexpectedResponse", err)
	c.expect(c.unexpected || result.Count == len(result.Deleted), "the count", result.Count)
	c.expect(result.Attempts == c.attempts, "the number of attempts", result.Attempts)
}

// judgeBatches complains if what OnBatch was told does not add up to the result.
func (c *modelCall) judgeBatches(result *memoryplugin.DeleteConversationsResult, told journal, retries int) {
	verdicts, seen, count, streak := c.divide(result), 0, 0, 0
	for _, batch := range told {
		if streak++; batch.err == nil || len(batch.Deleted) > 0 {
			streak = 0
		}
		c.expect(streak <= max(1, c.concurrency)+5+1, "batches that failed in a row", streak) // The last may be what was not sent.
		count += batch.Count
		for name, list := range listsOf(batch.DeleteConversationsResult) {
			for _, id := range list {
				seen++
				c.expect(verdicts[id] == name, id+" in OnBatch", name)
			}
		}
		c.expect(errors.Is(batch.err, memoryplugin.ErrUnconfirmed) == (len(batch.Unconfirmed) > 0), "ErrUnconfirmed in OnBatch", batch.err)
		c.expect(batch.Attempts <= 1+retries, "too many attempts", batch.Attempts)
	}
	c.expect(seen == len(c.order), "the number of ids in OnBatch", seen)
	c.expect(c.unexpected || count == result.Count, "the sum of the counts", count)
}

func (c *modelCall) expect(right bool, what string, got any) {
	if !right {
		c.complain("%s: %v", what, got)
	}
}

func (c *modelCall) complain(format string, args ...any) {
	c.complaints = append(c.complaints, fmt.Sprintf(format, args...))
}

// divide returns the list that each id is in. An id must be in one of them, once,
// and in its order.
func (c *modelCall) divide(result *memoryplugin.DeleteConversationsResult) map[string]string {
	verdicts := make(map[string]string, len(c.order))
	total := 0
	for name, list := range listsOf(result) {
		c.expect(list != nil, "a list is nil", name)
		total += len(list)
		rest := c.order
		for _, id := range list {
			verdicts[id] = name
			at := slices.Index(rest, id)
			c.expect(at >= 0, "an id in the wrong place", id)
			rest = rest[at+1:]
		}
	}
	c.expect(total == len(c.order), "the number of ids", total)
	return verdicts
}

func listsOf(result *memoryplugin.DeleteConversationsResult) map[string][]string {
	return map[string][]string{
		"Deleted": result.Deleted, "NotListed": result.NotListed,
		"NotDeleted": result.NotDeleted, "Unconfirmed": result.Unconfirmed,
	}
}

// report says what is wrong, and how it came about; or nothing.
func (c *modelCall) report() string {
	if len(c.complaints) == 0 {
		return ""
	}
	var text strings.Builder
	for _, complaint := range c.complaints {
		fmt.Fprintln(&text, complaint)
	}
	for i, s := range c.trace {
		fmt.Fprintf(&text, "    %d. %v\n", i+1, s)
	}
	return text.String()
}
