package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// fullBudget is the number of retries that 500 tokens pay, at 14 each.
const fullBudget = 35

// account is a server whose answer a test changes as it goes. Its clients retry
// without a wait while their budget lasts.
type account struct{ answer http.HandlerFunc }

func (a *account) client(t *testing.T, opts ...memoryplugin.Option) *memoryplugin.Client {
	t.Helper()
	srv := remember(func(w http.ResponseWriter, r *http.Request) { a.answer(w, r) })
	return srv.client(t, append([]memoryplugin.Option{memoryplugin.WithMaxRetries(1000), memoryplugin.WithBackoff(0, 0)}, opts...)...)
}

// retriesUntilEmpty makes a call that is answered by step until the budget is
// empty, and returns the number of its retries.
func (a *account) retriesUntilEmpty(t *testing.T, client *memoryplugin.Client, step http.HandlerFunc) int {
	t.Helper()
	a.answer = step
	result, err := client.DeleteConversations(t.Context(), onlyA)
	require.Error(t, err)
	return result.Attempts - 1
}

// inTurn answers by each of steps in turn, again and again.
func inTurn(steps ...http.HandlerFunc) http.HandlerFunc {
	n := -1
	return func(w http.ResponseWriter, r *http.Request) {
		n++
		steps[n%len(steps)](w, r)
	}
}

func TestTheBudgetIsSharedByAllCallsOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, ""))
		client := srv.client(t)
		const calls = 20

		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				_, err := client.DeleteConversations(t.Context(), onlyA)
				hasReply(t, 503, err)
			})
		}
		wg.Wait()

		assert.Len(t, srv.arrived(), calls+fullBudget)
	})
}

func TestARetryTakesTokensByTheFailureBeforeIt(t *testing.T) {
	for name, test := range map[string]struct {
		step    http.HandlerFunc
		retries int
	}{
		"429":          {reply(429, ""), 100},
		"503":          {reply(503, ""), 35},
		"499":          {reply(499, ""), 35},
		"408":          {reply(408, ""), 35},
		"a lost reply": {drop, 35},
		"in turn":      {inTurn(reply(503, ""), reply(429, "")), 52}, // 26 times 14 + 5 are 494.
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &account{}
				client := srv.client(t)

				assert.Equal(t, test.retries, srv.retriesUntilEmpty(t, client, test.step))
				assert.Zero(t, srv.retriesUntilEmpty(t, client, reply(503, "")))
			})
		})
	}
}

func TestABudgetIsOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &account{}
		srv.retriesUntilEmpty(t, srv.client(t), reply(503, ""))

		assert.Equal(t, fullBudget, srv.retriesUntilEmpty(t, srv.client(t), reply(503, "")))
	})
}

func TestARetryThatGetsADefiniteAnswerGivesBackWhatItTook(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"200":               aDeleted,
		"a 200 of no sense": reply(200, `[]`),
		"204":               reply(204, ""),
		"301":               reply(301, ""),
		"401":               reply(401, ""),
		"413":               reply(413, ""),
		"501":               reply(501, ""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &account{answer: inTurn(reply(503, ""), answer, reply(429, ""), answer)}
				client := srv.client(t)

				for range 200 {
					result, _ := client.DeleteConversations(t.Context(), onlyA)
					require.Equal(t, 2, result.Attempts)
				}

				assert.Equal(t, fullBudget, srv.retriesUntilEmpty(t, client, reply(503, "")))
			})
		})
	}
}

func TestOnlyTheRetryThatGetsAnAnswerGivesBackAndNoMoreThanItTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &account{answer: inTurn(reply(503, ""), reply(503, ""), aDeleted)}
		client := srv.client(t)

		for range 34 { // Each leaves 14 tokens less, of 500.
			_, err := client.DeleteConversations(t.Context(), onlyA)
			require.NoError(t, err)
		}

		// 24 tokens are left.
		assert.Equal(t, 4, srv.retriesUntilEmpty(t, client, reply(429, "")))
	})
}

func TestASuccessAtFirstTryGivesOneToken(t *testing.T) {
	for _, test := range []struct{ successes, retries int }{{13, 0}, {14, 1}, {27, 1}, {28, 2}} {
		t.Run(fmt.Sprint(test.successes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &account{}
				client := srv.client(t)
				require.Equal(t, 100, srv.retriesUntilEmpty(t, client, reply(429, "")))

				srv.answer = aDeleted
				for range test.successes {
					_, err := client.DeleteConversations(t.Context(), onlyA)
					require.NoError(t, err)
				}

				assert.Equal(t, test.retries, srv.retriesUntilEmpty(t, client, reply(503, "")))
			})
		})
	}
}

func TestEverySecondGivesOneToken(t *testing.T) {
	for _, test := range []struct {
		passed  time.Duration
		retries int
	}{
		{13 * time.Second, 0}, {14 * time.Second, 1}, {27 * time.Second, 1}, {28 * time.Second, 2},
		{489 * time.Second, 34}, {490 * time.Second, 35}, {24 * time.Hour, fullBudget},
	} {
		t.Run(test.passed.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &account{}
				client := srv.client(t)
				require.Equal(t, 100, srv.retriesUntilEmpty(t, client, reply(429, "")))

				<-time.After(test.passed)

				assert.Equal(t, test.retries, srv.retriesUntilEmpty(t, client, reply(503, "")))
			})
		})
	}
}

func TestAClientThatIsSeldomUsedHasItsRetriesAgainAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, ""))
		client := srv.client(t)
		for range 100 { // The outage.
			_, err := client.DeleteConversations(t.Context(), onlyA)
			require.Error(t, err)
		}

		for range 3 { // Of the ten calls a day.
			<-time.After(144 * time.Minute)
			result, err := client.DeleteConversations(t.Context(), onlyA)
			require.Error(t, err)
			assert.Equal(t, 5, result.Attempts)
		}
	})
}

func TestARefusalAtFirstTryGivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &account{}
		client := srv.client(t)
		require.Equal(t, 100, srv.retriesUntilEmpty(t, client, reply(429, "")))

		srv.answer = reply(401, "")
		for range 50 {
			_, err := client.DeleteConversations(t.Context(), onlyA)
			require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
		}

		assert.Zero(t, srv.retriesUntilEmpty(t, client, reply(503, "")))
	})
}

func TestTheBudgetIsNeverMoreThan500(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &account{answer: aDeleted}
		client := srv.client(t)

		for range 100 {
			_, err := client.DeleteConversations(t.Context(), onlyA)
			require.NoError(t, err)
		}

		assert.Equal(t, fullBudget, srv.retriesUntilEmpty(t, client, reply(503, "")))
	})
}

func TestARetryThatTheContextPreventedGivesBackWhatItTook(t *testing.T) {
	for name, header := range map[string][]string{
		"before its wait": nil,
		"in its wait":     {"Retry-After", "60"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				srv := &account{answer: func(w http.ResponseWriter, r *http.Request) {
					if header == nil {
						cancel()
					}
					reply(503, "", header...)(w, r)
				}}
				client := srv.client(t)
				var wg sync.WaitGroup
				wg.Go(func() {
					result, err := client.DeleteConversations(ctx, onlyA)
					assert.ErrorIs(t, err, context.Canceled)
					assert.Equal(t, 1, result.Attempts)
				})
				synctest.Wait() // It has ended, or has taken its tokens and waits.
				cancel()
				wg.Wait()

				assert.Equal(t, fullBudget, srv.retriesUntilEmpty(t, forAccount(t, client, otherKey), reply(503, "")))
			})
		})
	}
}

func TestARetryThatAHoldPreventedGivesBackWhatItTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &account{answer: slow(500*time.Millisecond, reply(429, "", "Retry-After", "60"))}
		client := srv.client(t)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		go func() { _, _ = client.DeleteConversations(ctx, onlyA) }()
		synctest.Wait() // It is sent, and not answered yet.

		srv.answer = reply(503, "", "Retry-After", "1")
		result, err := client.DeleteConversations(ctx, onlyA)

		hasReply(t, 503, err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, result.Attempts)
		assert.Equal(t, fullBudget, srv.retriesUntilEmpty(t, forAccount(t, client, otherKey), reply(503, "")))
	})
}

func TestARetryThatTheLimiterPreventedGivesBackWhatItTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &account{answer: reply(503, "")}
		turns, closed := 0, false
		client := srv.client(t, memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
			if turns++; turns%2 == 0 && !closed {
				return errors.New("no more")
			}
			return nil
		})))

		for range 50 {
			result, err := client.DeleteConversations(t.Context(), onlyA)
			require.ErrorContains(t, err, "no more")
			require.Equal(t, 1, result.Attempts)
		}

		closed = true
		assert.Equal(t, fullBudget, srv.retriesUntilEmpty(t, client, reply(503, "")))
	})
}

func TestWithoutTokensAFailureIsReturnedAtOnceAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, lines := newLog()
		srv := &account{}
		client := srv.client(t, memoryplugin.WithBackoff(time.Second, time.Second), logger)
		srv.retriesUntilEmpty(t, client, reply(503, ""))
		before := time.Now()
		logged := len(lines())

		srv.answer = reply(503, `{"error":"busy"}`)
		result, err := client.DeleteConversations(t.Context(), onlyA)

		hasReply(t, 503, err)
		assert.ErrorContains(t, err, "busy")
		assert.ErrorContains(t, err, "retry budget is used up")
		assert.Equal(t, 1, result.Attempts)
		assert.Zero(t, time.Since(before))
		last := lines()[logged:]
		assert.Equal(t, "WARN", last[len(last)-1].Level)
		assert.Contains(t, last[len(last)-1].Reason, "retry budget is used up")
	})
}
