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

// chunkSize is how many ids are noted together, and in doubt if the process dies: those of four requests.
const chunkSize, maxWait = 400, 10 * time.Minute

// errNoKey says that there is no key to ask the API with.
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

// NextRetry waits 1 s, 2 s, 4 s and so on, up to maxWait.
func (w *worker) NextRetry(job *river.Job[eraseArgs]) time.Time {
	return time.Now().Add(min(time.Second<<min(max(job.Attempt-1, 0), 10), maxWait))
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
	verifying, cancelVerifying := context.WithTimeout(w.stop, w.jobTimeout*9/10)
	defer cancelVerifying()
	err = w.erase(ctx, stop, verifying, r)
	state, reason, next := w.next(err)
	w.log.InfoContext(ctx, "run ended", "erasure", r.erasure, "run", r.number, "state", state, "reason", reason)
	if err := r.end(ctx, state, reason); !errors.Is(err, errNotOwned) {
		return cmp.Or(err, next)
	}
	return river.JobSnooze(w.jobTimeout) // The newer run does the rest. It has the same job, which nil would end.
}

// erase sends what is open, then verifies what is still in doubt.
func (w *worker) erase(ctx, stop, verifying context.Context, r *run) error {
	key, keyErr := w.vault(ctx, r.account)
	client, err := w.client.WithAPIKey(key)
	if err := cmp.Or(keyErr, err); err != nil {
		w.log.WarnContext(ctx, "no usable key", "account", r.account, "error", err) // Not for the caller to know.
		return errNoKey
	}
	before, err := w.store.find(ctx, r.erasure)
	if err != nil {
		return err
	}
	open := slices.Concat(before.Conversations[unconfirmed], before.Conversations[pending])
	if err := w.send(ctx, stop, r, client, open); err != nil {
		return err
	}
	// The server has left these out of its answer, but an earlier request may have deleted them.
	after, err := w.store.find(ctx, r.erasure)
	if err != nil || len(after.Conversations[unconfirmed]) == 0 {
		return err
	}
	result, err := client.VerifyDeleted(verifying, after.Conversations[unconfirmed]) // It only reads, so it may be cut off.
	if w.stop.Err() != nil {
		err = memoryplugin.ErrStopped
	}
	return cmp.Or(r.settleVerified(ctx, result), err)
}

// send deletes ids in chunks and returns the first failure. It goes on after one if part of the chunk came through.
func (w *worker) send(ctx, stop context.Context, r *run, client *memoryplugin.Client, ids []string) error {
	var first error
	for chunk := range slices.Chunk(ids, chunkSize) {
		if stop.Err() != nil {
			return cmp.Or(first, memoryplugin.ErrStopped)
		}
		if err := r.note(ctx, chunk); err != nil {
			return err
		}
		result, err := client.DeleteConversationsInBatches(ctx, chunk, memoryplugin.BatchOptions{Stop: stop.Done()})
		if err := r.settle(ctx, result); err != nil {
			return err
		}
		first = cmp.Or(first, err)
		if err != nil && len(result.Deleted)+len(result.NotListed) == 0 {
			break
		}
	}
	return first
}

// next returns the state of an erasure after a run, and what River is to do.
func (w *worker) next(err error) (state, reason string, next error) {
	reply, _ := errors.AsType[*memoryplugin.ErrorResponse](err)
	switch {
	case err == nil:
		return done, "", nil
	case w.stop.Err() != nil, errors.Is(err, memoryplugin.ErrStopped) && reply == nil && !errors.Is(err, memoryplugin.ErrUnconfirmed):
		return queued, "", river.JobSnooze(0) // Nothing failed: there was no time left.
	case errors.Is(err, errNoKey), errors.Is(err, memoryplugin.ErrUnauthorized):
		return waiting, err.Error(), river.JobSnooze(w.keyWait) // Keys are rotated.
	case reply != nil && reply.RetryAfter > 0:
		return waiting, err.Error(), river.JobSnooze(min(reply.RetryAfter, time.Hour))
	}
	return waiting, err.Error(), err
}
