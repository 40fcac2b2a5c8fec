package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/riverqueue/river"
)

var errNoKey = errors.New("no usable API key for this account")

// eraseArgs is a job. It only wakes a worker; the rest is in the service's own tables.
type eraseArgs struct {
	Erasure string `json:"erasure"`
}

func (eraseArgs) Kind() string { return "erase" }

// worker works off erasures, a run at a time.
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

// Work makes one run: until the erasure is done, something is in the way, or half the job's time is over.
func (w *worker) Work(ctx context.Context, job *river.Job[eraseArgs]) error {
	r, err := w.store.claim(ctx, job.Args.Erasure)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // It is done.
	} else if err != nil {
		return err
	}
	// The other half is for what is on the wire by then, and to commit it.
	stop, cancel := context.WithTimeout(w.stop, w.jobTimeout/2)
	defer cancel()
	state, reason, wait := w.next(w.erase(ctx, stop, r), r.number)
	w.log.InfoContext(ctx, "run ended", "erasure", r.erasure, "run", r.number, "state", state, "reason", reason, "wait", wait)
	if err := r.end(ctx, state, reason); errors.Is(err, errNotOwned) {
		wait = w.jobTimeout // The newer run does the rest. It has the same job, which nil would end.
	} else if err != nil || state == done {
		return err
	}
	return river.JobSnooze(wait) // Not an error: River would keep them all in the job's row.
}

// erase sends what is open, then verifies what is still in doubt. It sends nothing more once stop has ended.
func (w *worker) erase(ctx, stop context.Context, r *run) error {
	key, keyErr := w.vault(ctx, r.account)
	client, err := w.client.WithAPIKey(key)
	if err := cmp.Or(keyErr, err); err != nil {
		w.log.WarnContext(ctx, "no usable key", "account", r.account, "error", err) // Not for the caller to know.
		return errNoKey
	}
	failure := w.send(ctx, stop, r, client)
	// A batch that is refused keeps no others back.
	if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](failure); failure != nil && (!ok || reply.Retryable()) {
		return failure
	}
	e, err := w.store.find(ctx, r.erasure)
	if err != nil || len(e.Conversations[unconfirmed]) == 0 {
		return cmp.Or(failure, err)
	}
	result, err := client.VerifyDeleted(stop, e.Conversations[unconfirmed]) // It only reads, so it may be cut off.
	if stop.Err() != nil {
		err = memoryplugin.ErrStopped
	}
	return cmp.Or(r.settleVerified(ctx, result), failure, err)
}

// send deletes what is open, and settles each batch as it comes back.
func (w *worker) send(ctx, stop context.Context, r *run, client *memoryplugin.Client) error {
	e, err := w.store.find(ctx, r.erasure)
	if err != nil {
		return err
	}
	ids := slices.Concat(e.Conversations[unconfirmed], e.Conversations[pending])
	if err := r.note(ctx, ids); err != nil {
		return err
	}
	size := 100
	if r.number > 1 {
		size = min(size, len(ids)/10+1) // One that the server refuses keeps few others back.
	}
	stop, cancel := context.WithCancel(stop)
	defer cancel()
	var unsettled error
	settle := func(result *memoryplugin.DeleteConversationsResult, _ error) {
		if unsettled = cmp.Or(r.settle(ctx, result), unsettled); unsettled != nil {
			cancel() // Nothing more is deleted that can't be recorded.
		}
	}
	_, err = client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Size: size, Stop: stop.Done(), OnBatch: settle})
	return cmp.Or(unsettled, err)
}

// next returns the state of an erasure after a run, and how long it waits for the next one.
func (w *worker) next(err error, run int64) (state, reason string, wait time.Duration) {
	reply, _ := errors.AsType[*memoryplugin.ErrorResponse](err)
	switch {
	case err == nil:
		return done, "", 0
	case w.stop.Err() != nil, errors.Is(err, memoryplugin.ErrStopped) && reply == nil && !errors.Is(err, memoryplugin.ErrUnconfirmed):
		return queued, "", 0 // Nothing failed: there was no time left.
	case errors.Is(err, errNoKey), errors.Is(err, memoryplugin.ErrUnauthorized):
		return waiting, err.Error(), w.keyWait // Keys are rotated.
	case reply != nil && reply.RetryAfter > 0:
		return waiting, err.Error(), min(reply.RetryAfter, time.Hour)
	}
	return waiting, err.Error(), backoff(run)
}
