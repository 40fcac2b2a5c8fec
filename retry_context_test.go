package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestADeadlineBeforeTheEndOfAWaitEndsTheCallAtOnce(t *testing.T) {
	for name, header := range map[string][]string{
		"a backoff":     nil, // 1,000 hours with full jitter is below 1 ms once in 10^9 runs.
		"a Retry-After": {"Retry-After", "5"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(503, `{"error":"busy"}`, header...))
				client := srv.client(t, memoryplugin.WithBackoff(1000*time.Hour, 1000*time.Hour))
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()

				result, err := client.DeleteConversations(ctx, onlyA)

				assert.ErrorIs(t, err, context.DeadlineExceeded)
				hasReply(t, 503, err)
				assert.ErrorContains(t, err, "busy")
				assert.Equal(t, 1, result.Attempts)
				assert.Zero(t, time.Since(srv.start))
			})
		})
	}
}

func TestADeadlineAfterTheEndOfAWaitDoesNotEndTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, "", "Retry-After", "5"), aDeleted)
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()

		_, err := srv.client(t, memoryplugin.WithBackoff(0, 0)).DeleteConversations(ctx, onlyA)

		assert.NoError(t, err)
	})
}

func TestACallCancelledBetweenAttemptsHasItsCauseAndItsLastFailure(t *testing.T) {
	for name, header := range map[string][]string{
		"in a backoff":     nil, // 100,000 hours with full jitter is below 1 s once in 10^8 runs.
		"in a Retry-After": {"Retry-After", "5"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(429, `{"error":"slow down"}`, header...))
				client := srv.client(t, memoryplugin.WithBackoff(100_000*time.Hour, 100_000*time.Hour))
				shutdown := errors.New("shutting down")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(shutdown) })

				result, err := client.DeleteConversations(ctx, onlyA)

				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, shutdown)
				assert.ErrorIs(t, err, memoryplugin.ErrRateLimited)
				assert.ErrorContains(t, err, "slow down")
				assert.ErrorContains(t, err, "shutting down")
				assert.Equal(t, onlyA, result.NotDeleted)
				assert.Equal(t, 1, result.Attempts)
				assert.Equal(t, time.Second, time.Since(srv.start))
			})
		})
	}
}

func TestAContextWithoutACauseIsNamedOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := newClient(t, "http://localhost").DeleteConversations(ctx, onlyA)

	assert.EqualError(t, err, "memoryplugin: delete conversations: context canceled (0 attempts)")
}

func TestARetryAfterTheContextEndedInAReplyIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shutdown := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		srv := remember(func(w http.ResponseWriter, r *http.Request) {
			cancel(shutdown)
			reply(503, "busy")(w, r)
		})
		logger, lines := newLog()

		result, err := srv.client(t, memoryplugin.WithBackoff(0, 0), logger).DeleteConversations(ctx, onlyA)

		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, shutdown)
		hasReply(t, 503, err)
		assert.Equal(t, 1, result.Attempts)
		assert.Len(t, srv.arrived(), 1)
		require.Len(t, lines(), 2, "the attempt and the end, but no retry")
	})
}

func TestACancelledContextIsCanceledEvenIfItsDeadlineIsBeforeTheEndOfAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shutdown := errors.New("shutting down")
		timed, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		ctx, cancel := context.WithCancelCause(timed)
		srv := remember(func(w http.ResponseWriter, r *http.Request) {
			cancel(shutdown)
			reply(503, "", "Retry-After", "5")(w, r)
		})

		_, err := srv.client(t).DeleteConversations(ctx, onlyA)

		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, shutdown)
		hasReply(t, 503, err)
	})
}

func TestADeadlineThatPassedInAReplyHasItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tooSlow := errors.New("the job's time is up")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, tooSlow)
		defer cancel()
		srv := remember(slow(2*time.Second, reply(503, "")))

		_, err := srv.client(t).DeleteConversations(ctx, onlyA)

		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, tooSlow)
		hasReply(t, 503, err)
	})
}

func TestADeadlineInsideAnAttemptKeepsTheLastFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tooSlow := errors.New("the job's time is up")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, tooSlow)
		defer cancel()
		srv := remember(reply(429, `{"error":"slow down"}`), mute)

		result, err := srv.client(t).DeleteConversations(ctx, onlyA)

		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, tooSlow)
		assert.ErrorIs(t, err, memoryplugin.ErrRateLimited)
		assert.ErrorContains(t, err, "slow down")
		assert.Equal(t, 2, result.Attempts)
		assert.Equal(t, 10*time.Second, time.Since(srv.start))
	})
}

func TestAnAttemptTimeoutIsNotTheContextsDeadline(t *testing.T) {
	for name, fail := range map[string]func(context.Context) error{
		"from a transport that returns the cause":        context.Cause,
		"from a transport that returns the bare error":   context.Context.Err,
		"from a transport that returns an error for all": func(context.Context) error { return errors.New("canceled") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				silent := transport(func(r *http.Request) (*http.Response, error) {
					<-r.Context().Done()
					return nil, fail(r.Context())
				})
				client := newClient(t, "http://localhost", through(silent),
					memoryplugin.WithAttemptTimeout(1234*time.Millisecond), memoryplugin.WithMaxRetries(0))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()

				result, err := deleteA(ctx, client)

				requireUnconfirmed(t, result, err)
				assertAttemptTimedOut(t, 1234*time.Millisecond, err)
				assert.NotErrorIs(t, err, context.Canceled)
				assert.Equal(t, 1234*time.Millisecond, time.Since(start))
			})
		})
	}
}

func TestAnAttemptIsBoundByTheContextsDeadlineIfThatComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(mute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		result, err := deleteA(ctx, srv.client(t, memoryplugin.WithAttemptTimeout(2*time.Second)))

		requireUnconfirmed(t, result, err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, 1, result.Attempts)
		assert.Equal(t, time.Second, time.Since(srv.start))
	})
}

// A transport may call its own timeout what it likes. The context goes on.
func TestATimeoutBelowTheAttemptIsRetried(t *testing.T) {
	for _, end := range []error{context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded} {
		t.Run(end.Error(), func(t *testing.T) {
			client := newClient(t, "http://localhost", through(transport(func(*http.Request) (*http.Response, error) {
				return nil, fmt.Errorf("the proxy: %w", end)
			})))

			result, err := deleteA(t.Context(), client)

			assert.ErrorContains(t, err, "the proxy")
			assert.Equal(t, 5, result.Attempts)
		})
	}
}

func TestAnAttemptThatTimedOutIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(mute, aDeleted)

		result, err := srv.client(t, memoryplugin.WithBackoff(0, 0)).DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, 2, result.Attempts)
		assert.Equal(t, []time.Duration{time.Minute}, srv.waits(), "the default is one minute")
	})
}

func TestWithoutAnAttemptTimeoutAnAttemptMayTakeAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
				drop(w, r)
			case <-time.After(24 * time.Hour):
				aDeleted(w, r)
			}
		})

		result, err := srv.client(t, memoryplugin.WithAttemptTimeout(0)).DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, 1, result.Attempts)
	})
}
