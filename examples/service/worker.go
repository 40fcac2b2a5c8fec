package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/riverqueue/river"
)

var errNoKey = errors.New("no usable API key for this account")

// eraseArgs is a job. It only wakes a worker; the rest is in the service's own tables.
type eraseArgs struct{ Erasure string }

func (eraseArgs) Kind() string { return "erase" }

type worker struct {
	river.WorkerDefaults[eraseArgs]
	settings
	store  store
	client *memoryplugin.Client // shared, so that all accounts share its retry budget
	stop   context.Context      // ends when the service shuts down
}

// NextRetry is for a job that failed outside of a run: its database did, or the process died.
func (w *worker) NextRetry(job *river.Job[eraseArgs]) time.Time {
	return time.Now().Add(backoff(int64(job.Attempt)))
}

// backoff is 1 s, 2 s, 4 s and so on, up to ten minutes.
func backoff(run int64) time.Duration {
	return min(time.Second<<min(max(run-1, 0), 10), 10*time.Minute)
}

// Work makes one run: until the erasure is done, something is in the way, or the job's time is nearly over.
func (w *worker) Work(ctx context.Context, job *river.Job[eraseArgs]) error {
	r, err := w.store.claim(ctx, job.Args.Erasure)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // It is done.
	} else if err != nil {
		return err
	}
	err = w.erase(ctx, r)
	state, reason, wait := w.next(err, r.number)
	w.log.InfoContext(ctx, "run ended", "erasure", r.erasure, "run", r.number, "state", state, "wait", wait, "error", err)
	if err := r.end(ctx, state, reason); errors.Is(err, errNotOwned) {
		wait = w.jobTimeout // The newer run does the rest. It has the same job, which nil would end.
	} else if err != nil || state == done {
		return err
	}
	return river.JobSnooze(wait) // Not an error: River would keep them all in the job's row.
}

// erase sends what is open, then verifies what is still in doubt.
func (w *worker) erase(ctx context.Context, r *run) error {
	key, keyErr := w.vault(ctx, r.account)
	client, err := w.client.WithAPIKey(key)
	if err := cmp.Or(keyErr, err); err != nil {
		return fmt.Errorf("%w: %w", errNoKey, err)
	}
	failure := w.send(ctx, r, client)
	e, err := w.store.find(ctx, r.erasure)
	reply, _ := errors.AsType[*memoryplugin.ErrorResponse](failure)
	notNow := reply != nil && (reply.RetryAfter > 0 || errors.Is(reply, memoryplugin.ErrUnauthorized))
	if err != nil || notNow || len(e.Conversations[unconfirmed]) == 0 {
		return cmp.Or(failure, err)
	}
	deadline, _ := ctx.Deadline()
	verifying, cancel := context.WithDeadline(w.stop, deadline.Add(-w.jobTimeout/10)) // It only reads, so it may be cut off.
	defer cancel()
	result, err := client.VerifyDeleted(verifying, e.Conversations[unconfirmed])
	if failure != nil {
		result.Present = nil // A later run may delete them.
	}
	return cmp.Or(r.settleVerified(ctx, result), err, failure)
}

// send deletes what is open, and settles each batch as it comes back.
func (w *worker) send(ctx context.Context, r *run, client *memoryplugin.Client) error {
	e, err := w.store.find(ctx, r.erasure)
	if err != nil {
		return err
	}
	ids := slices.Concat(e.Conversations[unconfirmed], e.Conversations[pending])
	if err := r.note(ctx, ids); err != nil {
		return err
	}
	// An id that the server refuses must not keep others back: run by run the batches are halved, and mixed anew.
	size := max(1, min(100, len(ids))>>((r.number-1)%10))
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	deadline, _ := ctx.Deadline()
	// The other half of the job's time is for what is on the wire by then, and for verifying.
	stop, cancel := context.WithDeadline(w.stop, deadline.Add(-w.jobTimeout/2))
	defer cancel()
	var unsettled, held error
	var longest time.Duration
	settle := func(result *memoryplugin.DeleteConversationsResult, err error) {
		if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok && reply.RetryAfter > longest {
			held, longest = err, reply.RetryAfter
		}
		if unsettled = cmp.Or(r.settle(ctx, result), unsettled); unsettled != nil {
			cancel() // Nothing more is deleted that can't be recorded.
		}
	}
	_, err = client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Size: size, Stop: stop.Done(), OnBatch: settle})
	return cmp.Or(unsettled, held, err)
}

// next returns the state of an erasure after a run, and how long it waits for the next one.
func (w *worker) next(err error, run int64) (state, reason string, wait time.Duration) {
	reply, _ := errors.AsType[*memoryplugin.ErrorResponse](err)
	switch {
	case err == nil:
		return done, "", 0
	case errors.Is(err, errNoKey):
		return waiting, errNoKey.Error(), w.keyWait // Keys are rotated.
	case errors.Is(err, memoryplugin.ErrUnauthorized):
		return waiting, err.Error(), w.keyWait
	case reply != nil && reply.RetryAfter > 0:
		return waiting, err.Error(), min(reply.RetryAfter, time.Hour)
	case w.stop.Err() != nil, errors.Is(err, memoryplugin.ErrStopped) && reply == nil && !errors.Is(err, memoryplugin.ErrUnconfirmed):
		return queued, "", 0 // Nothing failed: there was no time left.
	case !strings.HasPrefix(err.Error(), "memoryplugin: "):
		return waiting, "internal error", backoff(run) // The log has it. It is not for the caller to know.
	}
	return waiting, err.Error(), backoff(run)
}
