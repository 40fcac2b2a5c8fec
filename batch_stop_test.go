package memoryplugin_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// A stoppedRun is stopped while all of it waits, or is on the wire.
type stoppedRun struct {
	step    batchStep
	options []memoryplugin.Option
	opts    memoryplugin.BatchOptions
	after   time.Duration // it is stopped, once nothing in it moves
	sent    int           // requests by then
	wire    time.Duration // how long the requests on the wire still take
	deleted []string      // in the end
	err     error         // what the server said before, if that is in the error of the run
}

// stoppedRuns wait in every way that a run can wait. They have eight ids in
// batches of two.
var stoppedRuns = map[string]stoppedRun{
	"all calls are held back by a Retry-After": {
		step:  takes(time.Second, always(reply(429, ``, "Retry-After", "30"))),
		after: 10 * time.Second,
		sent:  4,
		err:   memoryplugin.ErrRateLimited,
	},
	"a batch is held back before its first attempt": {
		step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			if ids[0] == "conv-00000" {
				takes(time.Second, always(reply(429, ``, "Retry-After", "30")))(w, r, ids)
				return
			}
			takes(2*time.Second, confirmDeleted)(w, r, ids)
		},
		opts:    memoryplugin.BatchOptions{Concurrency: 2},
		after:   10 * time.Second,
		sent:    2,
		deleted: numberedIDs(4)[2:],
		err:     memoryplugin.ErrRateLimited,
	},
	"the limiter": {
		step:    confirmDeleted,
		options: []memoryplugin.Option{memoryplugin.WithLimiter(limiterFunc(waitForEver))},
	},
	"a backoff": {
		step:    always(reply(429, ``)),
		options: []memoryplugin.Option{longBackoff},
		sent:    4,
		err:     memoryplugin.ErrRateLimited,
	},
	"the wait between batches sent one at a time": {
		step:    always(reply(429, ``)),
		options: []memoryplugin.Option{longBackoff, memoryplugin.WithMaxRetries(0)},
		opts:    memoryplugin.BatchOptions{Concurrency: 2},
		sent:    2,
		err:     memoryplugin.ErrRateLimited,
	},
	"batches wait for their turn": {
		step:    takes(time.Second, confirmDeleted),
		opts:    memoryplugin.BatchOptions{Concurrency: 2},
		sent:    2,
		wire:    time.Second,
		deleted: numberedIDs(4),
	},
	"the second half of a 413 waits for its turn": {
		step:    atMostOneID(takes(time.Second, confirmDeleted)),
		opts:    memoryplugin.BatchOptions{Concurrency: 1},
		sent:    2,
		wire:    time.Second,
		deleted: numberedIDs(1),
	},
	"a 413 is on the wire": {
		step: takes(time.Second, always(reply(413, ``))),
		sent: 4,
		wire: time.Second,
	},
	"a 429 is on the wire": {
		step: takes(time.Second, always(reply(429, ``))),
		sent: 4,
		wire: time.Second,
		err:  memoryplugin.ErrRateLimited,
	},
}

// longBackoff waits for hours, or at least for longer than no time at all.
var longBackoff = memoryplugin.WithBackoff(1000*time.Hour, 1000*time.Hour)

func waitForEver(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// atMostOneID refuses all larger batches.
func atMostOneID(step batchStep) batchStep {
	return func(w http.ResponseWriter, r *http.Request, ids []string) {
		if len(ids) > 1 {
			reply(413, ``)(w, r)
			return
		}
		step(w, r, ids)
	}
}

// run makes the run, and calls stop when it is time. It returns how many requests
// the server had received by then.
func (s stoppedRun) run(t *testing.T, ctx context.Context, srv *batchServer, stop func()) (*memoryplugin.DeleteConversationsResult, int, error) {
	client := newClient(t, "http://localhost", append(s.options, through(srv))...)
	s.opts.Size = 2
	var sent int
	go func() {
		<-time.After(s.after)
		synctest.Wait()
		sent = len(srv.received())
		stop()
	}()
	result, err := client.DeleteConversationsInBatches(ctx, numberedIDs(8), s.opts)
	return result, sent, err
}

func TestAStopSendsNothingMoreHoweverARunWaits(t *testing.T) {
	for name, test := range stoppedRuns {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &batchServer{step: test.step}
				stop := make(chan struct{})
				test.opts.Stop = stop
				start := time.Now()

				result, sent, err := test.run(t, t.Context(), srv, func() { close(stop) })

				assert.Equal(t, test.after+test.wire, time.Since(start), "the waits end at once, and what is on the wire is awaited")
				<-time.After(24 * time.Hour)
				assert.Equal(t, test.sent, sent)
				assert.Len(t, srv.received(), sent, "sent after the stop")
				assertAccounted(t, result, err, 8)
				assert.ErrorIs(t, err, memoryplugin.ErrStopped)
				assert.Empty(t, result.Unconfirmed)
				assert.ElementsMatch(t, test.deleted, result.Deleted)
				if test.err != nil {
					assert.ErrorIs(t, err, test.err)
				}
			})
		})
	}
}

func TestACancelledContextSendsNothingMoreHoweverARunWaits(t *testing.T) {
	for name, test := range stoppedRuns {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &batchServer{step: test.step}
				ctx, cancel := context.WithCancelCause(t.Context())
				start := time.Now()

				result, sent, err := test.run(t, ctx, srv, func() { cancel(errOperator) })

				assert.Equal(t, test.after, time.Since(start), "what is on the wire is cut off")
				<-time.After(24 * time.Hour)
				assert.Equal(t, test.sent, sent)
				assert.Len(t, srv.received(), sent, "sent after the end of the context")
				assertAccounted(t, result, err, 8)
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, errOperator)
				assert.Equal(t, test.wire > 0, len(result.Unconfirmed) > 0, "what was on the wire may be deleted")
				if test.err != nil && test.wire == 0 {
					assert.ErrorIs(t, err, test.err)
				}
			})
		})
	}
}

// Whoever closes it may be faster than the goroutine that watches it.
func TestStopIsLookedAtBeforeEveryAttempt(t *testing.T) {
	for name, test := range map[string]struct {
		stopAt   string
		opts     memoryplugin.BatchOptions
		requests int
	}{
		"closed before the run":        {"start", memoryplugin.BatchOptions{}, 0},
		"closed in the limiter":        {"limiter", memoryplugin.BatchOptions{}, 0},
		"closed before a retry":        {"server", memoryplugin.BatchOptions{Concurrency: 1}, 1},
		"closed before the next batch": {"server", memoryplugin.BatchOptions{Concurrency: 1, Size: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			var stopped atomic.Bool
			stopAt := func(where string) {
				if where == test.stopAt && stopped.CompareAndSwap(false, true) {
					close(stop)
				}
			}
			srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, _ []string) {
				stopAt("server")
				reply(429, ``)(w, r)
			})
			client := newClient(t, srv.URL, memoryplugin.WithBackoff(0, 0),
				memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
					stopAt("limiter")
					return nil
				})))
			test.opts.Stop = stop
			stopAt("start")

			result, err := client.DeleteConversationsInBatches(t.Context(), numberedIDs(3), test.opts)

			assert.Len(t, srv.received(), test.requests)
			assertAccounted(t, result, err, 3)
			assert.Equal(t, numberedIDs(3), result.NotDeleted)
			assert.ErrorIs(t, err, memoryplugin.ErrStopped)
		})
	}
}

func TestAStopThatKeepsNothingFromBeingSentIsNoErrStopped(t *testing.T) {
	for name, test := range map[string]struct {
		last http.HandlerFunc
		err  error
	}{
		"the last batch succeeds":         {reply(200, `{"deleted":["c"],"count":1}`), nil},
		"the last batch is not listed":    {reply(200, `{"deleted":[],"count":0}`), nil},
		"the last batch is never retried": {reply(403, ``), memoryplugin.ErrForbidden},
		"the last batch has no retry":     {reply(429, ``), memoryplugin.ErrRateLimited},
		"the last batch is one too large": {reply(413, ``), memoryplugin.ErrPayloadTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
				if ids[0] != "c" {
					confirmDeleted(w, r, ids)
					return
				}
				close(stop)
				test.last(w, r)
			})

			result, err := newClient(t, srv.URL, memoryplugin.WithMaxRetries(0)).DeleteConversationsInBatches(t.Context(),
				[]string{"a", "b", "c"}, memoryplugin.BatchOptions{Size: 1, Concurrency: 1, Stop: stop})

			assertAccounted(t, result, err, 3)
			assert.NotErrorIs(t, err, memoryplugin.ErrStopped)
			assert.ErrorIs(t, err, test.err)
		})
	}
}

func TestARunOfOneBatchIsErrStoppedIfItIsNotSentAgain(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		err    error
	}{
		"a 429 is not retried": {reply(429, ``), memoryplugin.ErrRateLimited},
		"a 503 is not retried": {reply(503, ``), memoryplugin.ErrUnconfirmed}, // Because of the 503.
		"a 413 is not halved":  {reply(413, ``), memoryplugin.ErrStopped},
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				close(stop)
				test.answer(w, r)
			})

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(2),
				memoryplugin.BatchOptions{Stop: stop})

			assert.Len(t, srv.received(), 1)
			assertAccounted(t, result, err, 2)
			assert.ErrorIs(t, err, memoryplugin.ErrStopped)
			assert.ErrorIs(t, err, test.err)
			assert.Equal(t, 1, result.Attempts)
		})
	}
}

func TestTheErrorOfAStoppedRunSaysHowFarItCame(t *testing.T) {
	stop := make(chan struct{})
	srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
		if ids[0] == "conv-00300" {
			close(stop)
		}
		confirmDeleted(w, r, ids)
	})

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(5000),
		memoryplugin.BatchOptions{Concurrency: 1, Stop: stop})

	assert.EqualError(t, err, "memoryplugin: delete conversations: 4600 of 5000 not deleted: stopped after 4 batches")
	assert.Equal(t, numberedIDs(400), result.Deleted)
	assert.Equal(t, numberedIDs(5000)[400:], result.NotDeleted)
}

func TestAStopBeforeTheRunIsReportedOnce(t *testing.T) {
	srv := serveBatches(t, confirmDeleted)
	stop := make(chan struct{})
	close(stop)
	var reported journal

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(500),
		memoryplugin.BatchOptions{Stop: stop, OnBatch: reported.add})

	assert.EqualError(t, err, "memoryplugin: delete conversations: 500 of 500 not deleted: stopped after 0 batches")
	assertAccounted(t, result, err, 500)
	require.Len(t, reported, 1)
	assert.Equal(t, numberedIDs(500), reported[0].NotDeleted)
	assert.ErrorIs(t, reported[0].err, memoryplugin.ErrStopped)
	assert.Empty(t, srv.received())
}

func TestOnBatchGetsWhatAStopKeptFromBeingSentOnceAndLast(t *testing.T) {
	stop := make(chan struct{})
	var reported journal
	srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
		if ids[0] == "conv-00002" {
			close(stop)
		}
		confirmDeleted(w, r, ids)
	})

	_, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(9),
		memoryplugin.BatchOptions{Size: 2, Concurrency: 1, Stop: stop, OnBatch: reported.add})

	require.ErrorIs(t, err, memoryplugin.ErrStopped)
	require.Len(t, reported, 3)
	assert.NoError(t, reported[0].err)
	assert.NoError(t, reported[1].err)
	unsent := reported[2]
	assertAccounted(t, unsent.DeleteConversationsResult, unsent.err, 5)
	assert.Equal(t, numberedIDs(9)[4:], unsent.NotDeleted)
	assert.Zero(t, unsent.Attempts)
	assert.ErrorIs(t, unsent.err, memoryplugin.ErrStopped)
}

// The first Ctrl-C closes Stop, the second one cancels.
func TestCancellingAfterAStopCutsOffWhatIsOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: takes(time.Minute, confirmDeleted)}
		stop := make(chan struct{})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Second, func() { close(stop) })
		time.AfterFunc(20*time.Second, func() { cancel(errOperator) })
		start := time.Now()

		result, err := srv.inMemory(t).DeleteConversationsInBatches(ctx, numberedIDs(9),
			memoryplugin.BatchOptions{Size: 2, Concurrency: 2, Stop: stop})

		assert.Equal(t, 20*time.Second, time.Since(start))
		assert.Len(t, srv.received(), 2)
		assertAccounted(t, result, err, 9)
		assert.Equal(t, numberedIDs(4), result.Unconfirmed)
		assert.Equal(t, numberedIDs(9)[4:], result.NotDeleted)
		assert.ErrorIs(t, err, memoryplugin.ErrStopped)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, errOperator)
	})
}

func TestADoneContextCutsOffWhatIsOnTheWireAndAccountsForTheRest(t *testing.T) {
	for name, test := range map[string]struct {
		ending func(context.Context) (context.Context, context.CancelFunc)
		err    error
	}{
		"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(errOperator) })
			return ctx, func() { cancel(nil) }
		}, context.Canceled},
		"expired": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, time.Second, errOperator)
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &batchServer{step: takes(time.Hour, confirmDeleted)}
				ctx, cancel := test.ending(t.Context())
				defer cancel()
				var reported journal

				result, err := srv.inMemory(t).DeleteConversationsInBatches(ctx, numberedIDs(20),
					memoryplugin.BatchOptions{Size: 2, Concurrency: 3, OnBatch: reported.add})

				assert.Len(t, srv.received(), 3)
				assertAccounted(t, result, err, 20)
				assert.Equal(t, numberedIDs(6), result.Unconfirmed)
				assert.Equal(t, numberedIDs(20)[6:], result.NotDeleted)
				require.Len(t, reported, 4)
				for _, err := range []error{err, reported[0].err, reported[3].err} {
					assert.ErrorIs(t, err, test.err)
					assert.ErrorIs(t, err, errOperator)
				}
			})
		})
	}
}

func TestAContextThatIsDoneBeforeTheRunSendsNothing(t *testing.T) {
	srv := serveBatches(t, confirmDeleted)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var reported journal

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(ctx, numberedIDs(500),
		memoryplugin.BatchOptions{OnBatch: reported.add})

	assert.Empty(t, srv.received())
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, numberedIDs(500), result.NotDeleted)
	require.Len(t, reported, 1)
	assert.Equal(t, numberedIDs(500), reported[0].NotDeleted)
}
