package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestARetryAfterHoldsBackTheNextCallOfTheClient(t *testing.T) {
	for _, status := range []int{403, 408, 425, 429, 460, 499, 500, 502, 503, 504, 507, 520, 599} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(status, "", "Retry-After", "5"), aDeleted)
				client := once(t, srv)

				_, err := client.DeleteConversations(t.Context(), onlyA)
				hasReply(t, status, err)
				_, err = client.DeleteConversations(t.Context(), onlyA)

				require.NoError(t, err)
				assert.Equal(t, []time.Duration{5 * time.Second}, srv.waits())
			})
		})
	}
}

func TestARetryAfterOnAStatusThatIsNotRetriedHoldsNobodyBack(t *testing.T) {
	for _, status := range []int{200, 201, 204, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 413, 422, 501, 505, 600} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(status, "", "Retry-After", "5"), aDeleted)
				client := srv.client(t)

				result, err := client.DeleteConversations(t.Context(), onlyA)
				require.Error(t, err)
				require.Equal(t, 1, result.Attempts)
				_, err = client.DeleteConversations(t.Context(), onlyA)

				require.NoError(t, err)
				assert.Equal(t, []time.Duration{0}, srv.waits())
			})
		})
	}
}

func TestARetryAfterAboveTheCapHoldsNobodyBack(t *testing.T) {
	for _, value := range []string{"61", "60.5", "99999999999999999999"} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(429, "", "Retry-After", value), aDeleted)
				client := srv.client(t)

				_, err := client.DeleteConversations(t.Context(), onlyA)
				require.Error(t, err)
				_, err = client.DeleteConversations(t.Context(), onlyA)

				require.NoError(t, err)
				assert.Equal(t, []time.Duration{0}, srv.waits())
			})
		})
	}
}

func TestAHoldIsSetByACallThatCannotRetryItself(t *testing.T) {
	slowDown := reply(429, "", "Retry-After", "5")
	for name, test := range map[string]struct {
		steps   []http.HandlerFunc
		retries int
		timeout time.Duration
	}{
		"its retries are used up": {[]http.HandlerFunc{reply(429, ""), slowDown}, 1, time.Hour},
		"its deadline is near":    {[]http.HandlerFunc{slowDown}, 4, time.Second},
		// 100 retries after a 429 take all tokens.
		"the budget is empty": {append(slices.Repeat([]http.HandlerFunc{reply(429, "")}, 100), slowDown), 1000, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(append(test.steps, aDeleted)...)
				client := srv.client(t, memoryplugin.WithMaxRetries(test.retries), memoryplugin.WithBackoff(0, 0))
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()

				_, err := client.DeleteConversations(ctx, onlyA)
				require.ErrorIs(t, err, memoryplugin.ErrRateLimited)
				require.Zero(t, time.Since(srv.start))
				_, err = client.DeleteConversations(t.Context(), onlyA)

				require.NoError(t, err)
				assert.Equal(t, 5*time.Second, time.Since(srv.start))
			})
		})
	}
}

func TestAHoldIsOverWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(429, "", "Retry-After", "5"), aDeleted)
		client := srv.client(t, memoryplugin.WithMaxRetries(0)) // With its jitter.
		_, err := client.DeleteConversations(t.Context(), onlyA)
		require.Error(t, err)

		<-time.After(5 * time.Second)
		_, err = client.DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, []time.Duration{5 * time.Second}, srv.waits())
	})
}

func TestAHoldDelaysACallThatWaitsInItsOwnBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, ""), reply(429, "", "Retry-After", "5"), aDeleted)
		client := srv.client(t, memoryplugin.WithBackoff(time.Second, time.Second))
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := client.DeleteConversations(t.Context(), onlyA)
			assert.NoError(t, err)
		})
		synctest.Wait() // Now it waits for a second at most.

		_, err := client.DeleteConversations(t.Context(), onlyA)

		wg.Wait()
		require.NoError(t, err)
		arrived := srv.arrived()
		require.Len(t, arrived, 4)
		assert.GreaterOrEqual(t, arrived[2], 5*time.Second)
	})
}

func TestAHoldDelaysARetryWhoseOwnRetryAfterIsShorter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(
			slow(time.Second, reply(429, "", "Retry-After", "10")),
			slow(2*time.Second, reply(429, "", "Retry-After", "2")),
			aDeleted)
		client := srv.client(t, memoryplugin.WithBackoff(0, 0))

		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := client.DeleteConversations(t.Context(), onlyA)
				assert.NoError(t, err)
			})
		}
		wg.Wait()

		assert.Equal(t, []time.Duration{0, 0, 11 * time.Second, 11 * time.Second}, srv.arrived())
	})
}

func TestNothingCutsAHold(t *testing.T) {
	for name, later := range map[string]http.HandlerFunc{
		"a shorter one":          reply(429, "", "Retry-After", "2"),
		"a Retry-After of zero":  reply(429, "", "Retry-After", "0"),
		"one above the cap":      reply(429, "", "Retry-After", "61"),
		"a failure without one":  reply(503, ""),
		"a success":              aDeleted,
		"one that is refused":    reply(401, "", "Retry-After", "1"),
		"an attempt without any": drop,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(slow(time.Second, reply(429, "", "Retry-After", "10")), slow(2*time.Second, later), aDeleted)
				client := once(t, srv)
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() { _, _ = client.DeleteConversations(t.Context(), onlyA) })
				}
				wg.Wait()

				_, err := client.DeleteConversations(t.Context(), onlyA)

				require.NoError(t, err)
				assert.Equal(t, 11*time.Second, srv.arrived()[2])
			})
		})
	}
}

func TestAHoldThatIsExtendedWhileACallWaitsIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(
			slow(time.Second, reply(429, "", "Retry-After", "5")),
			slow(3*time.Second, reply(429, "", "Retry-After", "10")),
			aDeleted)
		client := once(t, srv)
		for range 2 {
			go func() { _, _ = client.DeleteConversations(t.Context(), onlyA) }()
		}
		<-time.After(2 * time.Second)

		_, err := client.DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, 13*time.Second, srv.arrived()[2])
	})
}

func TestCallsThatWereHeldBackReturnSpreadOverMin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(429, "", "Retry-After", "5"), aDeleted)
		client := srv.client(t, memoryplugin.WithMaxRetries(0), memoryplugin.WithBackoff(time.Second, time.Minute))
		_, err := client.DeleteConversations(t.Context(), onlyA)
		require.Error(t, err)

		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := client.DeleteConversations(t.Context(), onlyA)
				assert.NoError(t, err)
			})
		}
		wg.Wait()

		held := srv.arrived()[1:]
		assert.GreaterOrEqual(t, slices.Min(held), 5*time.Second)
		assert.LessOrEqual(t, slices.Max(held), 6*time.Second)
		// Chance fails one of these once in 2^100 runs.
		assert.Less(t, slices.Min(held), 5500*time.Millisecond)
		assert.Greater(t, slices.Max(held), 5500*time.Millisecond)
	})
}

func TestAHoldIsOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(429, "", "Retry-After", "5"), aDeleted)
		_, err := once(t, srv).DeleteConversations(t.Context(), onlyA)
		require.Error(t, err)

		_, err = once(t, srv).DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, []time.Duration{0}, srv.waits())
	})
}

func TestACallThatAHoldEndedBeforeItsFirstAttemptHasTheReplyThatSetIt(t *testing.T) {
	shutdown := errors.New("shutting down")
	for name, test := range map[string]struct {
		end    func(context.Context) (context.Context, context.CancelFunc)
		is     []error
		lasted time.Duration
	}{
		"its deadline is before the end of the hold": {
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 4*time.Second)
			},
			[]error{context.DeadlineExceeded}, 0,
		},
		"it is cancelled in the hold": {
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				time.AfterFunc(3*time.Second, func() { cancel(shutdown) })
				return ctx, func() { cancel(nil) }
			},
			[]error{context.Canceled, shutdown}, 3 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(429, `{"error":"slow down"}`, "Retry-After", "5"))
				client := once(t, srv)
				_, err := client.DeleteConversations(t.Context(), onlyA)
				require.Error(t, err)
				ctx, cancel := test.end(t.Context())
				defer cancel()

				result, err := client.DeleteConversations(ctx, []string{"b", "c"})

				for _, target := range test.is {
					assert.ErrorIs(t, err, target)
				}
				assert.ErrorIs(t, err, memoryplugin.ErrRateLimited)
				assert.ErrorContains(t, err, "slow down")
				assert.NotErrorIs(t, err, memoryplugin.ErrUnconfirmed)
				assert.Zero(t, result.Attempts)
				assert.Equal(t, []string{"b", "c"}, result.NotDeleted)
				assert.Len(t, srv.arrived(), 1)
				assert.Equal(t, test.lasted, time.Since(srv.start))
			})
		})
	}
}

// The reply that set the hold leaves its own ids in doubt, not those of others.
func TestACallThatAHoldOfAnUnknownOutcomeEndedHasDeletedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := once(t, remember(reply(503, `{"error":"busy"}`, "Retry-After", "5")))
		result, err := client.DeleteConversations(t.Context(), onlyA)
		requireUnconfirmed(t, result, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		result, err = client.DeleteConversations(ctx, onlyA)

		requireNotDeleted(t, result, err)
		hasReply(t, 503, err)
		assert.ErrorContains(t, err, "held back by an earlier reply")
	})
}

func TestAContextThatEndedBeforeAHoldKeepsItsErrorAndItsCause(t *testing.T) {
	for name, test := range map[string]struct {
		cancel bool
		want   error
	}{
		"cancelled, with a deadline before the end of the hold": {true, context.Canceled},
		"expired": {false, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := once(t, remember(reply(429, "", "Retry-After", "5")))
				_, err := client.DeleteConversations(t.Context(), onlyA)
				require.Error(t, err)
				why := errors.New("why it ended")
				timed, stop := context.WithTimeoutCause(t.Context(), time.Second, why)
				defer stop()
				ctx, cancel := context.WithCancelCause(timed)
				defer cancel(nil)
				if test.cancel {
					cancel(why)
				} else {
					<-time.After(2 * time.Second)
				}

				_, err = client.DeleteConversations(ctx, onlyA)

				assert.ErrorIs(t, err, test.want)
				assert.ErrorIs(t, err, why)
				assert.ErrorIs(t, err, memoryplugin.ErrRateLimited)
			})
		})
	}
}

func TestARetryThatAHoldEndedKeepsItsOwnFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, `{"error":"busy"}`), reply(429, "", "Retry-After", "30"))
		client := srv.client(t, memoryplugin.WithBackoff(time.Second, time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			result, err := client.DeleteConversations(ctx, onlyA)

			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, memoryplugin.ErrUnconfirmed)
			hasReply(t, 503, err)
			assert.Equal(t, 1, result.Attempts)
			assert.Less(t, time.Since(srv.start), 10*time.Second, "it ends before its deadline")
		})
		synctest.Wait() // Now it waits for a second at most.

		_, err := client.DeleteConversations(ctx, onlyA)

		assert.ErrorIs(t, err, memoryplugin.ErrRateLimited)
		wg.Wait()
	})
}

func TestADeadlineBeforeTheEndOfAHoldEndsARetryAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(
			slow(time.Second, reply(429, "", "Retry-After", "30")),
			slow(2*time.Second, reply(503, "", "Retry-After", "3")))
		client := srv.client(t, memoryplugin.WithBackoff(0, 0))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := client.DeleteConversations(ctx, onlyA)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		wg.Wait()

		assert.Equal(t, 2*time.Second, time.Since(srv.start))
	})
}

func TestNoneOfManyCallsIsSentInsideAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 50
		var mu sync.Mutex
		var requests int
		var held [][2]time.Time
		var sent []time.Time
		client := newClient(t, "http://localhost", through(transport(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			requests++
			sent = append(sent, time.Now())
			if requests%7 == 0 {
				held = append(held, [2]time.Time{time.Now(), time.Now().Add(5 * time.Second)})
				return remember(reply(429, "", "Retry-After", "5")).RoundTrip(r)
			}
			return remember(aDeleted).RoundTrip(r)
		})))

		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				for range 10 {
					_, _ = client.DeleteConversations(t.Context(), onlyA)
				}
			})
		}
		wg.Wait()

		require.NotEmpty(t, held)
		for _, hold := range held {
			for _, at := range sent {
				assert.False(t, at.After(hold[0]) && at.Before(hold[1]), "sent at %v inside %v", at, hold)
			}
		}
	})
}
