package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
)

// BatchOptions are the settings of [Client.DeleteConversationsInBatches]. The
// zero value is a good choice.
type BatchOptions struct {
	// Size is the number of ids per request. 0 means 100.
	Size int
	// Concurrency is the number of requests in flight. 0 means 4.
	Concurrency int
}

// DeleteConversationsInBatches deletes any number of conversations, with one
// request for every opts.Size ids and opts.Concurrency requests at a time. It
// yields what [Client.DeleteConversations] returns for each batch, as it
// completes:
//
//	for result, err := range client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{}) {
//		deleted += len(result.Deleted)
//		...
//	}
//
// To stop cleanly, end the ids sequence: what is in flight is still yielded,
// and nothing is left Unconfirmed for the stop. Ending ctx, or leaving the loop
// by break, cancels what is in flight. Either way no request and no goroutine
// is left when the loop has returned.
//
// Every id that was read is in exactly one list of exactly one result, unless
// the loop is left early; an id that occurs in two batches is in a result of
// each. Within a batch duplicates are dropped. The result is never nil. An id
// that can't be sent, since it is blank or not valid UTF-8, is the NotDeleted of
// a result of its own, with [ErrInvalidArgument]. For bad options, a nil ctx or
// nil ids the loop gets one such error, with an empty result.
//
// A batch that fails does not stop the run. A 401, a Retry-After above
// [WithMaxRetryAfter] and the end of ctx do: nothing new is sent, not even a
// retry, what is in flight is yielded, and ids that were read but not sent are
// yielded as NotDeleted with that reply, or ctx's error, as the cause. A run
// that stops before all ids are read always yields an error. So does one whose
// ids end after ctx has ended: a sequence that watches ctx stops early then, and
// would look complete.
//
// A batch that the server refuses as too large (413) is halved and sent again,
// down to one id, and later batches keep the size that passed. The error of a
// half that is not sent any more is [ErrPayloadTooLarge] too.
//
// The ids are read, and the results yielded, on the caller's goroutine, so a
// result waits for the next id at most, and a panic in either reaches the
// caller. At most one batch is read ahead and opts.Concurrency results wait, so
// memory does not grow with the number of ids. A sequence that blocks can't be
// interrupted, not even by ctx: let it watch ctx itself. Nothing is sent until
// the loop begins, and every loop over the returned sequence is a run of its own.
//
//	DELETE /api/chat-history/chats
func (c *Client) DeleteConversationsInBatches(ctx context.Context, ids iter.Seq[string], opts BatchOptions) iter.Seq2[*DeleteConversationsResult, error] {
	return func(yield func(*DeleteConversationsResult, error) bool) {
		if err := c.checkBatches(ctx, ids, opts); err != nil {
			yield(newResult(), invalidArgument(deleteOperation, err))
			return
		}
		run := newBatchRun(c, opts, yield)
		var cancel context.CancelFunc
		run.ctx, cancel = context.WithCancel(ctx)
		run.halted, run.halt = context.WithCancelCause(context.Background())
		defer run.halt(nil)
		defer run.wait()
		defer cancel()
		run.deleteAll(ids)
	}
}

func (c *Client) checkBatches(ctx context.Context, ids iter.Seq[string], opts BatchOptions) error {
	switch {
	case ids == nil:
		return errors.New("the ids are nil")
	case opts.Size < 0:
		return fmt.Errorf("the batch size is negative: %d", opts.Size)
	case opts.Concurrency < 0:
		return fmt.Errorf("the concurrency is negative: %d", opts.Concurrency)
	}
	return c.check(ctx)
}

// batchRun is one run over a sequence of ids. Everything in it belongs to the
// caller's goroutine; the others make one call each and hand it back.
type batchRun struct {
	client      *Client
	ctx         context.Context
	size        int
	concurrency int
	yield       func(*DeleteConversationsResult, error) bool

	pending  []string            // read, but not yet in a batch
	seen     map[string]struct{} // those of them, to drop duplicates
	pieces   []*batch            // of batches that were too large, not yet sent
	inFlight int
	done     chan *batch

	ended  bool            // no more ids are read
	stop   error           // why nothing new is sent
	halted context.Context // done once there is a stop, for the other goroutines
	halt   context.CancelCauseFunc
	told   bool // a yielded error has said so
	left   bool // the caller has left the loop
}

// batch is what one call sends.
type batch struct {
	ids     []string
	earlier error          // an attempt of a larger batch may have deleted them
	halved  *ErrorResponse // nil, or the 413 that refused the larger batch
	larger  *batch         // of which it is a half
	halving *halving       // the halves of one batch share it
	excused bool           // its size may not be why it was too large
	result  *DeleteConversationsResult
	err     error
}

// halving is the search for the size that passes, within one batch.
type halving struct {
	open    int      // pieces that are not answered
	refused []*batch // as too large, of more than one id
}

func newBatchRun(c *Client, opts BatchOptions, yield func(*DeleteConversationsResult, error) bool) *batchRun {
	r := &batchRun{
		client: c, size: opts.Size, concurrency: opts.Concurrency, yield: yield,
		pending: []string{}, seen: map[string]struct{}{}, done: make(chan *batch),
	}
	if r.size == 0 {
		r.size = 100
	}
	if r.concurrency == 0 {
		r.concurrency = 4
	}
	return r
}

func (r *batchRun) deleteAll(ids iter.Seq[string]) {
	complete := false
	if r.goesOn() {
		complete = true
		for id := range ids {
			if complete = r.read(id); !complete {
				break
			}
		}
	}
	r.ended = true
	r.send()
	for r.inFlight > 0 && !r.left {
		r.receive(<-r.done)
	}
	r.deliverUnsent(complete)
}

// wait returns when no goroutine of the run is left.
func (r *batchRun) wait() {
	for ; r.inFlight > 0; r.inFlight-- {
		<-r.done
	}
}

// goesOn reports whether ids are still to be read and sent.
func (r *batchRun) goesOn() bool {
	if r.stop == nil {
		r.stop = contextError(r.ctx, r.client.secret)
	}
	return r.stop == nil && !r.left
}

// read takes an id, and returns when there is room for the next one. It returns
// false when there will be no next one.
func (r *batchRun) read(id string) bool {
	if err := checkID(id); err != nil {
		result := newResult()
		result.NotDeleted = append(result.NotDeleted, id)
		r.deliver(result, invalidArgument(deleteOperation, fmt.Errorf("the id %s %w", quote(id), err)))
	} else if _, ok := r.seen[id]; !ok {
		r.seen[id] = struct{}{}
		r.pending = append(r.pending, id)
	}
	for r.goesOn() {
		r.send()
		if len(r.pieces) > 0 || len(r.pending) >= r.size {
			r.receive(<-r.done)
			continue
		}
		select {
		case b := <-r.done:
			r.receive(b)
		default:
			return true
		}
	}
	return false
}

// send starts what can be in flight.
func (r *batchRun) send() {
	for r.inFlight < r.concurrency && r.goesOn() {
		b := r.next()
		if b == nil {
			return
		}
		r.inFlight++
		go func() {
			b.result, b.err = r.client.deleteConversations(r.ctx, b.ids, &call{unknown: b.earlier, halved: b.halved, halted: r.halted})
			r.done <- b
		}()
	}
}

// next takes the batch that is to be sent next, or nil where there is none yet.
func (r *batchRun) next() *batch {
	if len(r.pieces) > 0 {
		b := r.pieces[0]
		r.pieces = r.pieces[1:]
		return b
	}
	n := min(r.size, len(r.pending))
	if n == 0 || n < r.size && !r.ended {
		return nil
	}
	b := &batch{ids: r.pending[:n:n]}
	r.pending = r.pending[n:]
	for _, id := range b.ids {
		delete(r.seen, id)
	}
	if len(r.pending) == 0 {
		r.pending = make([]string, 0, n) // The old one belongs to the batches now.
	}
	return b
}

// receive takes a batch that is done. What can be sent in its place is sent
// before it is yielded, since the loop body may take its time.
func (r *batchRun) receive(b *batch) {
	r.inFlight--
	tooLarge := errors.Is(b.err, ErrPayloadTooLarge) && b.result.Attempts > 0
	if tooLarge && len(b.ids) > 1 && r.goesOn() {
		r.halve(b)
		r.send()
		return
	}
	r.learnSize(b)
	if r.stop == nil {
		if r.stop = stopsRun(b.err); r.stop != nil {
			r.told = true
			r.halt(r.stop) // For those that wait for a limiter, a hold or a retry.
		}
	}
	r.send()
	r.deliver(b.result, b.err)
}

// stopsRun returns the reply, if any, after which every further batch would fail.
func stopsRun(err error) error {
	reply, ok := errors.AsType[*ErrorResponse](err)
	if !ok {
		return nil
	}
	if tooLong, ok := errors.AsType[retryAfterTooLong](err); ok {
		return fmt.Errorf("%w; %w", reply, tooLong)
	}
	if errors.Is(reply, ErrUnauthorized) {
		return reply
	}
	return nil
}

// halve puts the halves of b before all that waits.
func (r *batchRun) halve(b *batch) {
	if b.halving == nil {
		b.halving = &halving{open: 1}
	}
	b.halving.open++ // Two halves for one batch.
	b.halving.refused = append(b.halving.refused, b)
	earlier := b.earlier
	if call, ok := errors.AsType[*callError](b.err); ok && call.unknown != nil {
		earlier = call.unknown
	}
	tooLarge, _ := errors.AsType[*ErrorResponse](b.err)
	middle := (len(b.ids) + 1) / 2
	r.pieces = append([]*batch{
		{ids: b.ids[:middle], earlier: earlier, halved: tooLarge, larger: b, halving: b.halving},
		{ids: b.ids[middle:], earlier: earlier, halved: tooLarge, larger: b, halving: b.halving},
	}, r.pieces...)
}

// learnSize keeps the size that passed, once the last piece of a halved batch
// is answered.
func (r *batchRun) learnSize(b *batch) {
	if b.halving == nil {
		return
	}
	// One id that is too large on its own, or a piece without an answer, tells
	// nothing of the size that passes.
	if b.err != nil && len(b.result.Deleted) == 0 {
		for larger := b.larger; larger != nil; larger = larger.larger {
			larger.excused = true
		}
	}
	if b.halving.open--; b.halving.open == 0 {
		r.size = min(r.size, b.halving.size())
	}
}

// size is that of the pieces of the smallest batch that was too large for its
// number of ids.
func (h *halving) size() int {
	smallest := math.MaxInt - 1
	for _, b := range h.refused {
		if !b.excused {
			smallest = min(smallest, len(b.ids))
		}
	}
	return (smallest + 1) / 2
}

func (r *batchRun) deliver(result *DeleteConversationsResult, err error) {
	if r.left {
		return
	}
	r.told = r.told || endedBy(r.ctx, err)
	r.left = !r.yield(result, err)
}

// deliverUnsent accounts for ids that were read but not sent. Where a stop kept
// further ids from being read, it says so even without any.
func (r *batchRun) deliverUnsent(complete bool) {
	if r.goesOn() || r.left {
		return
	}
	// A sequence that watches ctx ends with it, and only looks complete.
	complete = complete && r.ctx.Err() == nil
	for _, b := range r.pieces {
		r.deliver(r.unsent(b))
	}
	if len(r.pending) > 0 || !complete && !r.told {
		r.deliver(r.unsent(&batch{ids: r.pending}))
	}
}

func (r *batchRun) unsent(b *batch) (*DeleteConversationsResult, error) {
	call := &call{client: r.client, operation: deleteOperation, unknown: b.earlier, halved: b.halved}
	call.plan.reason = call.notSent(r.stop)
	return account(b.ids, call)
}
