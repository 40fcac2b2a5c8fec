package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// defaultBackoff is what a Client of a user has.
var defaultBackoff = memoryplugin.WithBackoff(500*time.Millisecond, 30*time.Second)

// inSeconds returns the whole seconds of times.
func inSeconds(times []time.Duration) []int {
	seconds := []int{}
	for _, d := range times {
		seconds = append(seconds, int(d/time.Second))
	}
	return seconds
}

func TestAnOutageWithoutEndCostsFewRequestsAndEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := remember(reply(503, `{"error":"busy"}`))
		ids := numberedIDs(20_000)
		var reported journal

		result, err := m.client(t).DeleteConversationsInBatches(t.Context(), ids,
			memoryplugin.BatchOptions{OnBatch: reported.add})

		assertAccounted(t, result, err, 20_000)
		assert.ErrorContains(t, err, "5 batches in a row failed, the last with 503")
		hasReply(t, 503, err)
		// Four batches are in flight when it begins, and five more follow. Each has five attempts at most.
		assert.LessOrEqual(t, len(m.arrived()), 9*5)
		assert.Equal(t, len(m.arrived()), result.Attempts)
		assert.Equal(t, ids[:900], result.Unconfirmed)
		assert.Equal(t, ids[900:], result.NotDeleted)
		require.Len(t, reported, 10)
		unsent := reported[9]
		assert.Equal(t, ids[900:], unsent.NotDeleted)
		assert.ErrorContains(t, unsent.err, "5 batches in a row failed, the last with 503")
		hasReply(t, 503, unsent.err)
	})
}

func TestARunOutlastsAnOutageOfTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			if time.Since(start) < 10*time.Second {
				reply(503, ``)(w, r)
				return
			}
			confirmDeleted(w, r, ids)
		}}
		client := newClient(t, "http://localhost", through(srv), defaultBackoff)

		result, err := client.DeleteConversationsInBatches(t.Context(), numberedIDs(5000), memoryplugin.BatchOptions{})

		assertAccounted(t, result, err, 5000)
		assert.Empty(t, result.NotDeleted)
		assert.GreaterOrEqual(t, len(result.Deleted), 4200, "all but the first batches")
	})
}

func TestAWrongBaseURLCostsTheRequestsInFlightAndFiveMore(t *testing.T) {
	for _, concurrency := range []int{1, 4, 16} {
		t.Run(fmt.Sprint(concurrency), func(t *testing.T) {
			srv := serve(t, reply(404, `<html>no such page</html>`))

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(20_000),
				memoryplugin.BatchOptions{Concurrency: concurrency})

			assert.Len(t, srv.received(), concurrency+5)
			assertAccounted(t, result, err, 20_000)
			assert.ErrorIs(t, err, memoryplugin.ErrNotFound)
			assert.Equal(t, numberedIDs(20_000), result.NotDeleted)
		})
	}
}

func TestAfterAFailureOneBatchAtATimeIsSentUntilOneSucceeds(t *testing.T) {
	for name, recovered := range map[string]batchStep{
		"and is deleted":    confirmDeleted,
		"and is not listed": always(reply(200, `{"deleted":[],"count":0}`)),
		"or deletes something": func(w http.ResponseWriter, r *http.Request, ids []string) {
			reply(200, contradiction(ids[:1]))(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var arrived []time.Duration
				var failures atomic.Int32
				srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
					step := recovered
					if failures.Add(1) <= 6 {
						step = always(reply(403, ``))
					}
					takes(time.Second, step)(w, r, ids)
				}}
				note := transport(func(r *http.Request) (*http.Response, error) {
					srv.mu.Lock()
					arrived = append(arrived, time.Since(start))
					srv.mu.Unlock()
					return srv.RoundTrip(r)
				})

				result, err := newClient(t, "http://localhost", through(note)).DeleteConversationsInBatches(t.Context(),
					numberedIDs(30), memoryplugin.BatchOptions{Size: 2})

				assertAccounted(t, result, err, 30)
				// Four fail, two of those that are sent alone too, the third one succeeds.
				assert.Equal(t, []int{0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 4, 5, 5, 5, 5}, inSeconds(arrived))
			})
		})
	}
}

func TestOnlyFiveFailuresInARowEndARun(t *testing.T) {
	var requests atomic.Int32
	srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
		if requests.Add(1)%5 == 0 {
			confirmDeleted(w, r, ids)
			return
		}
		reply(403, ``)(w, r)
	})

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(100),
		memoryplugin.BatchOptions{Size: 1, Concurrency: 1})

	assert.Len(t, srv.received(), 100)
	assertAccounted(t, result, err, 100)
	assert.Len(t, result.Deleted, 20)
}

func TestBatchesSentOneAtATimeWaitAsRetriesDoIfTheFailureMayPass(t *testing.T) {
	for name, test := range map[string]struct {
		failure http.HandlerFunc
		waits   bool
	}{
		"503":                   {reply(503, ``), true},
		"429":                   {reply(429, ``), true},
		"no reply":              {drop, true},
		"403":                   {reply(403, ``), false},
		"302":                   {reply(302, ``, "Location", "/login"), false},
		"an undocumented reply": {reply(200, `[]`), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := remember(test.failure)

				_, err := m.client(t, memoryplugin.WithMaxRetries(0)).DeleteConversationsInBatches(t.Context(),
					numberedIDs(50), memoryplugin.BatchOptions{Size: 1, Concurrency: 1})

				require.Error(t, err)
				waits := m.waits()
				require.Len(t, waits, 5)
				for i, wait := range waits {
					if !test.waits {
						assert.Zero(t, wait)
						continue
					}
					assert.Positive(t, wait)
					assert.LessOrEqual(t, wait, 500*time.Millisecond<<i)
				}
			})
		})
	}
}

// It would be sent while the server is known to be down.
// The fifth wait is a random one of up to 8 seconds. That none of fifty is longer
// than 2 happens once in 10^30 runs.
func TestTheWaitsBetweenBatchesSentOneAtATimeGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var longest time.Duration
		for range 50 {
			m := remember(reply(503, ``))
			_, err := m.client(t, defaultBackoff, memoryplugin.WithMaxRetries(0)).DeleteConversationsInBatches(t.Context(),
				numberedIDs(50), memoryplugin.BatchOptions{Size: 1, Concurrency: 1})
			require.Error(t, err)
			longest = max(longest, m.waits()[4])
		}
		assert.Greater(t, longest, 2*time.Second)
	})
}

func TestABatchIsNotSentWithoutTheWaitThatOutlastsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := remember(reply(503, ``))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()

		result, err := m.client(t, longBackoff, memoryplugin.WithMaxRetries(0)).DeleteConversationsInBatches(ctx,
			numberedIDs(50), memoryplugin.BatchOptions{Size: 1, Concurrency: 1})

		assert.Len(t, m.arrived(), 1)
		assert.Zero(t, time.Since(start))
		assertAccounted(t, result, err, 50)
		assert.Equal(t, numberedIDs(50)[1:], result.NotDeleted)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		hasReply(t, 503, err)
	})
}

func TestARunThatWouldOutlastItsContextInAHoldEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := remember(slow(time.Millisecond, reply(429, ``, "Retry-After", "30")))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var reported journal
		start := time.Now()

		result, err := m.client(t).DeleteConversationsInBatches(ctx, numberedIDs(20_000),
			memoryplugin.BatchOptions{OnBatch: reported.add})

		assert.Len(t, m.arrived(), 4)
		assert.Equal(t, time.Millisecond, time.Since(start))
		assertAccounted(t, result, err, 20_000)
		assert.Len(t, result.NotDeleted, 20_000)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, memoryplugin.ErrRateLimited)
		assert.LessOrEqual(t, len(reported), 10)
	})
}

func TestALimiterThatFailsEndsTheRunSoon(t *testing.T) {
	srv := serveBatches(t, confirmDeleted)
	errLimiter := errors.New("no more today")
	var asked atomic.Int32
	limiter := limiterFunc(func(context.Context) error {
		asked.Add(1)
		return errLimiter
	})

	result, err := newClient(t, srv.URL, memoryplugin.WithLimiter(limiter)).DeleteConversationsInBatches(t.Context(),
		numberedIDs(20_000), memoryplugin.BatchOptions{})

	assert.Empty(t, srv.received())
	assert.EqualValues(t, 4+5, asked.Load())
	assertAccounted(t, result, err, 20_000)
	assert.ErrorIs(t, err, errLimiter)
}

func TestARetryAfterToOneBatchHoldsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int32
		start := time.Now()
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			if requests.Add(1) == 2 {
				reply(429, ``, "Retry-After", "10")(w, r)
				return
			}
			if at := time.Since(start); at > 0 {
				assert.GreaterOrEqual(t, at, 10*time.Second)
			}
			<-time.After(time.Second)
			confirmDeleted(w, r, ids)
		}}

		result, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(12),
			memoryplugin.BatchOptions{Size: 1})

		require.NoError(t, err)
		assert.Equal(t, numberedIDs(12), result.Deleted)
	})
}

// endingReplies are those that every further batch would get.
var endingReplies = map[string]endingReply{
	"a 401":                             {reply(401, `{"error":"revoked"}`), "401"},
	"a 401 with a Retry-After":          {reply(401, ``, "Retry-After", "1"), "401"},
	"a 429 with a Retry-After too long": {reply(429, ``, "Retry-After", "61"), "Retry-After of 1m1s"},
	"a 403 with a Retry-After too long": {reply(403, ``, "Retry-After", "61"), "Retry-After of 1m1s"},
	"a 503 with a Retry-After too long": {reply(503, ``, "Retry-After", "61"), "Retry-After of 1m1s"},
}

type endingReply struct {
	step   http.HandlerFunc
	reason string // in the error of the run
}

func TestAReplyThatEndsARunEndsItAtOnce(t *testing.T) {
	for name, ending := range endingReplies {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
					if ids[0] == "conv-00000" {
						takes(time.Second, always(ending.step))(w, r, ids)
						return
					}
					takes(30*time.Second, confirmDeleted)(w, r, ids)
				}}
				var reported journal
				start := time.Now()

				result, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(20),
					memoryplugin.BatchOptions{Size: 2, Concurrency: 3, OnBatch: reported.add})

				assert.Len(t, srv.received(), 3, "nothing more is sent")
				assert.Equal(t, 30*time.Second, time.Since(start), "what is on the wire is awaited")
				assertAccounted(t, result, err, 20)
				assert.Equal(t, numberedIDs(6)[2:], result.Deleted)
				require.Len(t, reported, 4)
				unsent := reported[3]
				assert.Equal(t, numberedIDs(20)[6:], unsent.NotDeleted)
				assert.Zero(t, unsent.Attempts)
				for _, err := range []error{err, unsent.err} {
					assertSameReply(t, reported[0].err, err)
				}
			})
		})
	}
}

// While the caller is busy with a batch, others must not go on into a refused key.
func TestAReplyThatEndsARunEndsItWhileOnBatchTakesItsTime(t *testing.T) {
	for name, ending := range endingReplies {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sentSince atomic.Int32 // the reply that ends the run
				var over atomic.Bool
				srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
					if over.Load() {
						sentSince.Add(1)
					}
					switch ids[0] {
					case "conv-00000":
						confirmDeleted(w, r, ids)
					case "conv-00001":
						takes(time.Second, always(ending.step))(w, r, ids)
						over.Store(true)
					default:
						takes(2*time.Second, always(reply(503, ``)))(w, r, ids)
					}
				}}
				busy := func(*memoryplugin.DeleteConversationsResult, error) { <-time.After(time.Minute) }

				result, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(20),
					memoryplugin.BatchOptions{Size: 1, Concurrency: 4, OnBatch: busy})

				assertAccounted(t, result, err, 20)
				assert.Zero(t, sentSince.Load())
			})
		})
	}
}

// assertSameReply checks that both errors come from one reply.
func assertSameReply(t *testing.T, want, got error) {
	t.Helper()
	var wanted, found *memoryplugin.ErrorResponse
	require.ErrorAs(t, want, &wanted)
	require.ErrorAs(t, got, &found)
	assert.Same(t, wanted, found)
}

// The first batch waits when the second one gets the reply that ends the run.
func TestACallThatWaitsMakesNoFurtherAttemptOnceARunHasEnded(t *testing.T) {
	for waits, test := range map[string]struct {
		first  http.HandlerFunc
		option func() memoryplugin.Option
		sent   int
	}{
		"in a backoff":                       {reply(429, ``), func() memoryplugin.Option { return longBackoff }, 2},
		"in a backoff, and may be deleted":   {reply(503, ``), func() memoryplugin.Option { return longBackoff }, 2},
		"for the end of a hold":              {reply(429, ``, "Retry-After", "60"), func() memoryplugin.Option { return defaultBackoff }, 2},
		"for the limiter before a retry":     {reply(429, ``), func() memoryplugin.Option { return limitedTo(2) }, 2},
		"for the limiter before any attempt": {nil, func() memoryplugin.Option { return limitedTo(1) }, 1},
	} {
		for name, ending := range endingReplies {
			t.Run(waits+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
						if ids[0] == "conv-00000" && test.first != nil {
							slow(time.Millisecond, test.first)(w, r)
							return
						}
						slow(time.Second, ending.step)(w, r)
					}}
					start := time.Now()

					result, err := newClient(t, "http://localhost", through(srv), test.option()).DeleteConversationsInBatches(t.Context(),
						numberedIDs(20), memoryplugin.BatchOptions{Size: 2, Concurrency: 2})

					assert.Equal(t, time.Second, time.Since(start), "the wait ends at once")
					assert.Len(t, srv.received(), test.sent)
					assertAccounted(t, result, err, 20)
					assert.Empty(t, result.Deleted)
					assert.ErrorContains(t, err, ending.reason)
				})
			})
		}
	}
}

// limitedTo lets n attempts pass.
func limitedTo(n int32) memoryplugin.Option {
	var passed atomic.Int32
	return memoryplugin.WithLimiter(limiterFunc(func(ctx context.Context) error {
		if passed.Add(1) <= n {
			return nil
		}
		return waitForEver(ctx)
	}))
}

// Every batch has been sent when the run ends, but the second one was about to be
// sent again.
func TestARunSaysWhyItEndedEvenIfOnlyARetryWasPrevented(t *testing.T) {
	for name, test := range map[string]struct {
		third func(stop, cancel func()) http.HandlerFunc
		err   error
	}{
		"by a 401": {
			third: func(_, _ func()) http.HandlerFunc { return reply(401, ``) },
			err:   memoryplugin.ErrUnauthorized,
		},
		"by Stop": {
			third: func(stop, _ func()) http.HandlerFunc { return func(http.ResponseWriter, *http.Request) { stop() } },
			err:   memoryplugin.ErrStopped,
		},
		"by the context": {
			third: func(_, cancel func()) http.HandlerFunc { return func(http.ResponseWriter, *http.Request) { cancel() } },
			err:   errOperator,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				stop := make(chan struct{})
				third := test.third(func() { close(stop) }, func() { cancel(errOperator) })
				srv := &batchServer{step: byFirstID(map[string]http.HandlerFunc{
					"conv-00000": slow(1*time.Second, reply(403, ``)),
					"conv-00001": slow(2*time.Second, reply(503, ``)),
					"conv-00002": slow(3*time.Second, third),
				})}
				client := newClient(t, "http://localhost", through(srv), longBackoff)

				result, err := client.DeleteConversationsInBatches(ctx, numberedIDs(3),
					memoryplugin.BatchOptions{Size: 1, Stop: stop})

				assert.Len(t, srv.received(), 3)
				assertAccounted(t, result, err, 3)
				assert.ErrorIs(t, err, memoryplugin.ErrForbidden, "the first failure")
				assert.ErrorIs(t, err, test.err, "the reason")
			})
		})
	}
}
