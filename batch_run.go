package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"math"
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

	size    int // of the next batch
	unsent  []span
	started bool

	failures int  // in a row: since the last success, of batches that were sent alone, and one before them
	mayPass  bool // what the last batch failed with

	completed int
	failed    int
	failure   error // of the first batch that failed
	cutShort  bool  // a batch was kept from another attempt
	neverSent int   // ids
	count     int
	attempts  int
	requestID string
	crashed   *batch
}

// span is a number of ids that are in no batch.
type span struct {
	position, n int
	earlier     error // nil, or of an attempt that may have deleted them
}

// batch is what one call deletes.
type batch struct {
	*deletion
	span
	alone    bool // no other was in flight when it was sent
	returned bool // its call did, and did not panic
	panicked any
}

func newBatchRun(ctx context.Context, c *Client, ids []string, opts BatchOptions) *batchRun {
	r := &batchRun{
		client: c, ids: ids, fates: make([]fate, len(ids)),
		size: opts.Size, concurrency: opts.Concurrency, stop: opts.Stop, onBatch: opts.OnBatch,
		done: make(chan *batch), unsent: []span{{n: len(ids)}},
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
		r.end(ownReason{ErrStopped})
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
	for r.inFlight < most {
		// If the run is over before it begins, its first batch says why.
		if len(r.unsent) == 0 || r.started && r.ended() != nil {
			return
		}
		b := r.take()
		r.started = true
		r.inFlight++
		r.goroutines.Go(func() { r.delete(b) })
	}
}

// ended returns why nothing more is sent, or nil.
func (r *batchRun) ended() error {
	select {
	case <-r.stop: // Whoever closes it may be faster than watchStop.
		r.end(ownReason{ErrStopped})
	default:
	}
	return contextError(r.waits, r.client.secret)
}

// take makes the next batch.
func (r *batchRun) take() *batch {
	first := &r.unsent[0]
	b := &batch{span: *first, alone: r.failures > 0}
	b.n = min(b.n, r.size)
	first.position, first.n = first.position+b.n, first.n-b.n
	if first.n == 0 {
		r.unsent = r.unsent[1:]
	}
	b.deletion = r.client.newDeletion(r.ctx, r.ids[b.position:b.position+b.n])
	b.waits, b.stop, b.unknown = r.waits, r.stop, b.earlier
	if b.alone && r.mayPass {
		b.delay = r.client.retries.backoff.wait(r.failures)
	}
	return b
}

// delete makes the call of b, and hands b back whatever happens. What ends the
// run ends it here: the caller's goroutine may be busy with OnBatch.
func (r *batchRun) delete(b *batch) {
	defer func() {
		if !b.returned {
			b.panicked = recover()
			r.cancel()
		}
		r.done <- b
	}()
	b.run()
	b.returned = true
	if reason := b.endsRun(); reason != nil {
		r.end(ownReason{reason})
	}
}

// endsRun returns the reply after which every further batch would fail, or nil.
func (b *batch) endsRun() error {
	if _, tooLong := b.reason.(*retryAfterTooLong); tooLong {
		return b.reason
	}
	if b.answer == nil && errors.Is(b.failure, ErrUnauthorized) {
		return b.failure
	}
	return nil
}

// receive takes a batch back.
func (r *batchRun) receive(b *batch) {
	r.inFlight--
	if !b.returned {
		r.crashed = b
		return
	}
	if b.attempts == 0 && r.ended() != nil && len(b.ids) < len(r.ids) {
		r.unsent = append(r.unsent, b.span)
		return
	}
	r.attempts += b.attempts
	if b.n > 1 && b.answer == nil && errors.Is(b.failure, ErrPayloadTooLarge) {
		r.halve(b)
		return
	}
	r.book(b)
	r.send() // Before OnBatch, which may take its time.
	r.report(b.result(), b.err)
}

// halve makes the batches that follow b half as large, and puts its ids before all others.
func (r *batchRun) halve(b *batch) {
	r.size = min(r.size, (b.n+1)/2)
	if b.unknown != nil {
		b.setAll(unconfirmed)
		copy(r.fates[b.position:], b.fates) // Unless they are sent and more is known.
	}
	r.unsent = append([]span{{b.position, b.n, b.unknown}}, r.unsent...)
}

// book adds up what b came to, and decides how the run goes on.
func (r *batchRun) book(b *batch) {
	copy(r.fates[b.position:], b.fates)
	r.completed++
	if r.count += b.count; b.count > 0 && r.count < 0 {
		r.count = math.MaxInt // Some server counts without end.
	}
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
	if r.failures > maxFailuresInRow {
		cause := b.err.(*callError).wrapped[0] // Not b.err, which may be ErrUnconfirmed.
		r.end(ownReason{fmt.Errorf("%d batches in a row failed, the last with %w", maxFailuresInRow, cause)})
	}
}
