package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

const (
	// failuresInARow is the number of batches that stop a run.
	failuresInARow = 3
	// maxRetryAfter is the longest wait that a server can ask for. The SDK ends
	// the run where one asks for more.
	maxRetryAfter = time.Minute
	// mayBeDeleted ends the error of an id that an earlier run sent.
	mayBeDeleted = "; an earlier run may have deleted it"
)

// errInterrupted is the end of a run, or of a question, by a signal.
var errInterrupted = errors.New("interrupted")

// run deletes conversations and accounts for each. The SDK calls it back on the
// goroutine of deleteAll, so nothing in it needs a lock.
type run struct {
	*settings
	client   *memoryplugin.Client
	journal  *journal
	progress *progress
	summary  *summary

	interrupted context.Context // ends where nothing more is to be started
	aborted     context.Context // ends where what is in flight is to end too

	rest   []string // not yet handed to the SDK
	inARow int      // the last batches that failed
}

func (r *run) deleteAll(ids []string) {
	r.rest = ids
	start := time.Now()
	said := make(chan struct{})
	forget := context.AfterFunc(r.interrupted, func() {
		defer close(said)
		fmt.Fprintf(r.progress, "cleanup: %v: finishing what is in flight; a second signal stops at once\n", context.Cause(r.interrupted))
	})
	batches := memoryplugin.BatchOptions{Size: r.batchSize, Concurrency: r.concurrency}
	for result, err := range r.client.DeleteConversationsInBatches(r.aborted, r.handOver, batches) {
		r.judge(result, err)
		r.settle(r.outcomes(result, err))
		if err != nil && len(result.NotDeleted)+len(result.Unconfirmed) == 0 {
			fmt.Fprintf(r.progress, "cleanup: %s\n", errorText(err)) // No id of the summary has it.
		}
	}
	if !forget() {
		<-said // Before the program ends.
	}
	if r.aborted.Err() != nil {
		fmt.Fprintf(r.progress, "cleanup: %v\n", context.Cause(r.aborted))
	}
	r.summary.Interrupted = r.interrupted.Err() != nil
	if r.summary.Interrupted && !r.summary.complete() {
		r.summary.stopped = append(r.summary.stopped, context.Cause(r.interrupted))
	}
	r.closeUnsent()
	r.summary.Seconds = time.Since(start).Round(time.Millisecond).Seconds()
}

// handOver is the sequence of ids that the SDK reads. Ending it stops the SDK
// cleanly, so that is how a run stops.
func (r *run) handOver(yield func(string) bool) {
	for batch := range slices.Chunk(r.rest, r.batchSize) {
		if r.stops() {
			return
		}
		// From here on they may be gone, whatever becomes of this process.
		if !r.write(&record{State: sent, Host: r.summary.Host, IDs: batch}) {
			return
		}
		// The SDK may send the batch in parts, so that it can be stopped within
		// it. The id for which yield returns false has been taken too.
		for _, id := range batch {
			if r.stops() {
				return
			}
			r.rest = r.rest[1:]
			if !yield(id) {
				return
			}
		}
	}
}

func (r *run) stops() bool { return len(r.summary.stopped) > 0 || r.interrupted.Err() != nil }

// judge stops the run where a batch tells that the next ones would fail too.
func (r *run) judge(result *memoryplugin.DeleteConversationsResult, err error) {
	if err == nil || len(result.Deleted) > 0 {
		r.inARow = 0
	} else {
		r.inARow++
	}
	reply, _ := errors.AsType[*memoryplugin.ErrorResponse](err)
	switch {
	case errors.Is(err, memoryplugin.ErrUnauthorized):
		if !r.summary.keyRefused {
			r.summary.keyRefused = true
			r.stop(errors.New("the server refused the API key"))
		}
	case r.stops(): // One reason is enough.
	case reply != nil && reply.RetryAfter > maxRetryAfter && isRetried(reply.StatusCode):
		r.stop(fmt.Errorf("the server asks to be left alone for %v", reply.RetryAfter))
	case r.inARow == failuresInARow && !r.keepGoing:
		r.stop(fmt.Errorf("%d batches in a row failed (--keep-going goes on)", failuresInARow))
	}
}

// isRetried reports whether the SDK retries a status. It passes over the
// Retry-After of any other.
func isRetried(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500
}

func (r *run) stop(reason error) {
	r.summary.stopped = append(r.summary.stopped, reason)
	fmt.Fprintf(r.progress, "cleanup: stopping: %v\n", reason)
}

// outcomes says what became of the ids of a batch.
func (r *run) outcomes(result *memoryplugin.DeleteConversationsResult, err error) []outcome {
	text := errorText(err)
	outcomes := []outcome{
		{state: deleted, ids: result.Deleted, requestID: result.RequestID},
		{state: unconfirmed, ids: result.Unconfirmed, failure: mayBeGone, err: text},
	}
	switch {
	case err == nil:
		return append(outcomes, r.split(result.NotDeleted, outcome{failure: notListed, err: "the server answered, but did not list it"})...)
	case result.Attempts == 0 && errors.Is(err, memoryplugin.ErrPayloadTooLarge): // It was sent, in a larger batch.
		return append(outcomes, r.split(result.NotDeleted, outcome{failure: refused, status: http.StatusRequestEntityTooLarge, err: text})...)
	case result.Attempts == 0:
		return append(outcomes, r.split(result.NotDeleted, r.unsent())...)
	}
	refusal := outcome{failure: refused, err: text}
	if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
		refusal.status = reply.StatusCode
	}
	return append(outcomes, r.split(result.NotDeleted, refusal)...)
}

// split makes two outcomes of o, and sets apart the ids that an earlier run may
// have deleted: that this run did not delete them does not mean that they are there.
func (r *run) split(ids []string, o outcome) []outcome {
	sure, unsure := o, o
	sure.state, unsure.state = notDeleted, unconfirmed
	unsure.status = 0 // It says nothing of them.
	switch o.failure {
	case notListed:
		unsure.failure = goneAlready
		unsure.err = "an earlier run may have deleted it, and the server has now answered that it did not delete it: gone already, or never there"
	case refused:
		unsure.failure = mayBeGone
		unsure.err += mayBeDeleted
	case notSent:
		unsure.err += mayBeDeleted
	}
	for _, id := range ids {
		if r.journal.isUnsure(id) {
			unsure.ids = append(unsure.ids, id)
		} else {
			sure.ids = append(sure.ids, id)
		}
	}
	return []outcome{sure, unsure}
}

func (r *run) unsent() outcome {
	reason := context.Cause(r.interrupted)
	if len(r.summary.stopped) > 0 {
		reason = r.summary.stopped[0]
	}
	return outcome{failure: notSent, err: fmt.Sprintf("not sent: %v", reason)}
}

// settle puts outcomes on disk, and then counts them on the screen.
func (r *run) settle(outcomes []outcome) {
	var records []*record
	for _, o := range outcomes {
		// An id that this run has not put there as sent keeps the state that it has.
		if ids := r.journal.withoutState(slices.Values(o.ids)); len(ids) > 0 {
			records = append(records, &record{State: o.state, IDs: ids, RequestID: o.requestID, Error: o.err})
		}
	}
	r.write(records...)
	for _, o := range outcomes {
		r.summary.add(o)
		switch o.failure {
		case none:
			r.progress.add(len(o.ids), 0)
		case notSent:
		default:
			r.progress.add(len(o.ids), len(o.ids))
		}
	}
}

// closeUnsent accounts for what was not handed to the SDK, and leaves no id in
// the journal without a state, not even one that this run is not about.
func (r *run) closeUnsent() {
	r.settle(r.split(r.rest, r.unsent()))
	if ids := slices.Sorted(slices.Values(r.journal.withoutState(maps.Keys(r.journal.states)))); len(ids) > 0 {
		r.write(&record{State: unconfirmed, IDs: ids, Error: "not sent: not an id of this run" + mayBeDeleted})
	}
}

// write reports whether the records are on disk. Where they are not, the run
// stops, and the screen alone accounts for what is in flight.
func (r *run) write(records ...*record) bool {
	err := r.journal.append(records...)
	if err != nil && r.summary.journalError == nil {
		r.summary.journalError = err
		r.stop(fmt.Errorf("the journal can't be written: %w", err))
	}
	return err == nil
}

// errorText is an error of the SDK without what every one of them begins with.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(err.Error(), "memoryplugin: delete conversations: ")
}

// watchSignals returns contexts that end with the first and with the second
// signal that asks the program to stop. A third one ends it.
func watchSignals() (first, second context.Context) {
	first, interrupt := context.WithCancelCause(context.Background())
	second, abort := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // As nohup asks for.
			signal.Notify(signals, sig)
		}
	}
	gone := terminalGone()
	go func() {
		one := <-signals
		interrupt(fmt.Errorf("%w by a signal (%v)", errInterrupted, one))
		two := <-signals
		// Shell and kernel may each send one for the same terminal.
		for one == syscall.SIGHUP && two == syscall.SIGHUP && gone() {
			two = <-signals
		}
		abort(fmt.Errorf("stopped at once by a second signal (%v)", two))
		signal.Stop(signals)
	}()
	return first, second
}

// terminalGone returns a func that reports whether the program had a terminal
// and has lost it.
func terminalGone() func() bool {
	terminal, err := os.Open("/dev/tty") // Not there on Windows, and without a terminal.
	return func() bool { return err == nil && !isTerminal(terminal) }
}
