package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// maxFailuresInRow is how many batches, sent one at a time, may fail before the
// run ends.
const maxFailuresInRow = 5

// batchRun is one run over ids. It belongs to the caller's goroutine; the others
// make one call each and hand it back.
type batchRun struct {
	client      *Client
	ids         []string
	fates       []fate // by position in ids
	concurrency int
	stop        <-chan struct{}
	onBatch     func(*DeleteConversationsResult, error)

	ctx        context.Context // ends what is on the wire
	cancel     context.CancelFunc
	waits      context.Context // ends the waits, and so the run; made from ctx
	end        context.CancelCauseFunc
	goroutines sync.WaitGroup
	done       chan *batch
	inFlight   int

	size   int      // of the next batch
	next   int      // position of the first id that is in no batch yet
	unsent []*batch // taken, but not sent: halves of one that was too large, which go first

	failures int  // in a row: since the last success, of batches that were sent alone, and one before them
	mayPass  bool // what the last batch failed with

	completed int
	failed    int
	failure   error // of the first batch that failed
	cutShort  bool  // a batch was kept from another attempt
	left      int   // ids that were never sent
	count     int
	attempts  int
	requestID string
	crashed   *batch
}

// batch is what one call deletes.
type batch struct {
	*deletion
	position int  // of its first id
	alone    bool // no other was in flight when it was sent
	returned bool // its call did, and did not panic
	panicked any
}

func newBatchRun(ctx context.Context, c *Client, ids []string, opts BatchOptions) *batchRun {
	r := &batchRun{
		client: c, ids: ids, fates: make([]fate, len(ids)),
		size: opts.Size, concurrency: opts.Concurrency, stop: opts.Stop, onBatch: opts.OnBatch,
		done: make(chan *batch),
	}
	if r.size == 0 {
		r.size = 100
	}
	if r.concurrency == 0 {
		r.concurrency = 4
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.waits, r.end = context.WithCancelCause(r.ctx)
	if r.stop != nil {
		r.goroutines.Go(r.watchStop)
	}
	return r
}

// watchStop wakes all waits once Stop is closed.
func (r *batchRun) watchStop() {
	select {
	case <-r.stop:
		r.end(ended{ErrStopped})
	case <-r.waits.Done():
	}
}

// close returns when no goroutine of the run is left. If one has panicked, so
// does the caller's.
func (r *batchRun) close() {
	r.cancel()
	for ; r.inFlight > 0; r.inFlight-- {
		<-r.done
	}
	r.goroutines.Wait()
	r.end(nil)
	switch {
	case r.crashed == nil:
	case r.crashed.panicked != nil:
		panic(r.crashed.panicked)
	default:
		runtime.Goexit() // As a failed require does.
	}
}

func (r *batchRun) deleteAll() {
	for r.send(); r.inFlight > 0 && r.crashed == nil; r.send() {
		r.receive(<-r.done)
	}
	if r.crashed == nil {
		r.accountForUnsent()
	}
}

// send sends what can be in flight.
func (r *batchRun) send() {
	most := r.concurrency
	if r.failures > 0 {
		most = 1
	}
	for r.inFlight < most && r.crashed == nil {
		if r.next > 0 && r.ended() != nil {
			return // If the run is over before it begins, its first batch says why.
		}
		b := r.take()
		if b == nil {
			return
		}
		r.inFlight++
		r.goroutines.Go(func() { r.delete(b) })
	}
}

// ended returns why nothing more is sent, or nil.
func (r *batchRun) ended() error {
	select {
	case <-r.stop: // Whoever closes it may be faster than watchStop.
		r.end(ended{ErrStopped})
	default:
	}
	return contextError(r.waits, r.client.secret)
}

// take returns the next batch, or nil if there is none.
func (r *batchRun) take() *batch {
	var b *batch
	switch {
	case len(r.unsent) > 0:
		b, r.unsent = r.unsent[0], r.unsent[1:]
	case r.next < len(r.ids):
		b = r.newBatch(r.next, min(r.size, len(r.ids)-r.next), nil)
		r.next += len(b.ids)
	default:
		return nil
	}
	b.alone = r.failures > 0
	if b.alone && r.mayPass {
		b.delay = r.client.retries.backoff.wait(r.failures)
	}
	return b
}

// newBatch makes a batch of n ids. If unknown is not nil, an attempt that failed
// with it may have deleted them.
func (r *batchRun) newBatch(position, n int, unknown error) *batch {
	d := r.client.newDeletion(r.ctx, r.ids[position:position+n])
	d.waits, d.stop, d.unknown = r.waits, r.stop, unknown
	return &batch{deletion: d, position: position}
}

// delete makes the call of b, and hands b back whatever happens.
func (r *batchRun) delete(b *batch) {
	defer func() {
		b.panicked = recover()
		r.done <- b
	}()
	b.run()
	b.returned = true
}

// receive takes a batch back.
func (r *batchRun) receive(b *batch) {
	r.inFlight--
	if !b.returned {
		r.crashed = b
		return
	}
	if b.attempts == 0 && r.ended() != nil && len(b.ids) < len(r.ids) {
		r.unsent = append(r.unsent, b)
		return
	}
	r.attempts += b.attempts
	if b.tooLarge() && len(b.ids) > 1 {
		r.halve(b)
		return
	}
	r.book(b)
	r.send() // Before OnBatch, which may take its time.
	r.report(b.result(), b.err)
}

func (b *batch) tooLarge() bool { return b.answer == nil && errors.Is(b.failure, ErrPayloadTooLarge) }

func (r *batchRun) halve(b *batch) {
	middle := (len(b.ids) + 1) / 2
	r.size = min(r.size, middle)
	if b.unknown != nil {
		b.setAll(unconfirmed)
		copy(r.fates[b.position:], b.fates) // Unless the halves tell more.
	}
	r.unsent = append([]*batch{
		r.newBatch(b.position, middle, b.unknown),
		r.newBatch(b.position+middle, len(b.ids)-middle, b.unknown),
	}, r.unsent...)
}

// book adds up what b came to, and decides how the run goes on.
func (r *batchRun) book(b *batch) {
	copy(r.fates[b.position:], b.fates)
	r.completed++
	r.count += b.count
	r.requestID = b.requestID
	if b.attempts > 0 {
		r.mayPass = b.mayPass // Otherwise what it waited for has not passed.
	}
	switch {
	case b.err == nil:
		r.failures = 0
		return
	case slices.Contains(b.fates, deleted):
		r.failures = 0
	case b.alone || r.failures == 0:
		r.failures++
	}
	r.failed++
	if r.failure == nil {
		r.failure = b.err
	}
	end := r.ended()
	r.cutShort = r.cutShort || r.ctx.Err() != nil || end != nil && errors.Is(b.err, end)
	if reason := r.endedBy(b); reason != nil {
		r.end(ended{reason})
	}
}

// endedBy returns why b ends the run, or nil.
func (r *batchRun) endedBy(b *batch) error {
	_, tooLong := b.reason.(*retryAfterTooLong)
	switch {
	case tooLong:
		return fmt.Errorf("%w; %w", b.failure, b.reason)
	case b.answer == nil && errors.Is(b.failure, ErrUnauthorized):
		return b.failure
	case r.failures > maxFailuresInRow:
		cause := b.err.(*callError).wrapped[0] // Not b.err, which may be ErrUnconfirmed.
		return fmt.Errorf("%d batches in a row failed, the last with %w", maxFailuresInRow, cause)
	}
	return nil
}
