package memoryplugin_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestTheLimiterIsWaitedOnBeforeEveryAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		srv := remember(inTurn(reply(503, ""), drop, reply(429, ""), aDeleted))
		client := newClient(t, "http://localhost",
			memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
				events = append(events, "wait")
				return nil
			})),
			through(transport(func(r *http.Request) (*http.Response, error) {
				events = append(events, "attempt")
				return srv.RoundTrip(r)
			})))

		_, err := client.DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, []string{"wait", "attempt", "wait", "attempt", "wait", "attempt", "wait", "attempt"}, events)
	})
}

func TestTheLimitersWaitIsOutsideTheAttemptTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
				drop(w, r)
			case <-time.After(900 * time.Millisecond):
				aDeleted(w, r)
			}
		})
		client := srv.client(t,
			memoryplugin.WithAttemptTimeout(time.Second),
			memoryplugin.WithLimiter(limiterFunc(func(ctx context.Context) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(time.Hour):
					return nil
				}
			})))

		result, err := client.DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, 1, result.Attempts)
	})
}

func TestAnErrorOfTheLimiterEndsTheCallBeforeItsFirstAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noMore := errors.New("no more for today")
		srv := remember(aDeleted)
		client := srv.client(t, memoryplugin.WithLimiter(limiterFunc(func(context.Context) error { return noMore })))

		result, err := client.DeleteConversations(t.Context(), onlyA)

		assert.ErrorIs(t, err, noMore)
		assert.ErrorContains(t, err, "no more for today")
		assert.NotErrorIs(t, err, memoryplugin.ErrUnconfirmed)
		assert.Equal(t, onlyA, result.NotDeleted)
		assert.Zero(t, result.Attempts)
		assert.Empty(t, srv.arrived())
		assert.Zero(t, time.Since(srv.start))
	})
}

func TestAnErrorOfTheLimiterBeforeARetryKeepsTheLastFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noMore := errors.New("no more for today")
		srv := remember(reply(503, `{"error":"busy"}`))
		client := srv.client(t, memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
			if len(srv.arrived()) == 2 {
				return noMore
			}
			return nil
		})))

		result, err := client.DeleteConversations(t.Context(), onlyA)

		assert.ErrorIs(t, err, noMore)
		assert.ErrorIs(t, err, memoryplugin.ErrUnconfirmed)
		hasReply(t, 503, err)
		assert.ErrorContains(t, err, "busy")
		assert.Equal(t, 2, result.Attempts)
		assert.Len(t, srv.arrived(), 2)
	})
}

func TestAContextThatEndsWhileTheLimiterWaitsEndsTheCall(t *testing.T) {
	for name, result := range map[string]func(context.Context) error{
		"the limiter returns the context's error": context.Context.Err,
		"the limiter returns the context's cause": context.Cause,
		"the limiter returns nil":                 func(context.Context) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shutdown := errors.New("shutting down")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(shutdown) })
				srv := remember(reply(429, `{"error":"slow down"}`), aDeleted)
				client := srv.client(t, memoryplugin.WithBackoff(0, 0), memoryplugin.WithLimiter(limiterFunc(func(ctx context.Context) error {
					if len(srv.arrived()) == 0 {
						return nil
					}
					<-ctx.Done()
					return result(ctx)
				})))

				result, err := client.DeleteConversations(ctx, onlyA)

				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, shutdown)
				assert.ErrorIs(t, err, memoryplugin.ErrRateLimited)
				assert.Equal(t, onlyA, result.NotDeleted)
				assert.Equal(t, 1, result.Attempts)
				assert.Len(t, srv.arrived(), 1)
			})
		})
	}
}

func TestALimitersOwnTimeoutEndsTheCallWhileTheContextGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(aDeleted)
		client := srv.client(t, memoryplugin.WithLimiter(limiterFunc(func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		})))

		result, err := client.DeleteConversations(t.Context(), onlyA)

		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "limiter")
		assert.Zero(t, result.Attempts)
		assert.Empty(t, srv.arrived())
	})
}

func TestAHoldThatStartsWhileTheLimiterWaitsIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(slow(time.Second, reply(429, "", "Retry-After", "10")), aDeleted)
		turns := 0
		client := once(t, srv, memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
			if turns++; turns == 2 {
				<-time.After(2 * time.Second)
			}
			return nil
		})))
		go func() { _, _ = client.DeleteConversations(t.Context(), onlyA) }()
		synctest.Wait() // It is sent, and not answered yet.

		_, err := client.DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, []time.Duration{11 * time.Second}, srv.waits())
		assert.Equal(t, 3, turns, "the limiter is asked again, so that not all come at once after a hold")
	})
}

func TestADeadlineBeforeTheEndOfAHoldThatStartedWhileTheLimiterWaitedEndsTheCallAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(slow(time.Second, reply(429, "", "Retry-After", "10")), aDeleted)
		client := once(t, srv, memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
			if len(srv.arrived()) > 0 {
				<-time.After(2 * time.Second)
			}
			return nil
		})))
		go func() { _, _ = client.DeleteConversations(t.Context(), onlyA) }()
		synctest.Wait() // It is sent, and not answered yet.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()

		result, err := client.DeleteConversations(ctx, onlyA)

		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, memoryplugin.ErrRateLimited)
		assert.Equal(t, onlyA, result.NotDeleted)
		assert.Equal(t, 2*time.Second, time.Since(srv.start))
	})
}

func TestAHoldThatIsOverIsNotInTheErrorOfALimiterAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(429, "", "Retry-After", "5"))
		failing := false
		client := once(t, srv, memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
			if failing {
				return errors.New("no permit")
			}
			return nil
		})))
		_, err := client.DeleteConversations(t.Context(), onlyA)
		require.Error(t, err)
		failing = true

		_, err = client.DeleteConversations(t.Context(), onlyA)

		assert.ErrorContains(t, err, "no permit")
		assert.NotErrorIs(t, err, memoryplugin.ErrRateLimited)
	})
}
