package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// memory is a script without a socket, which would keep the clock of a bubble
// from moving.
type memory struct {
	steps []http.HandlerFunc
	start time.Time

	mu       sync.Mutex
	arrivals []time.Duration
}

// remember starts a memory, whose clock begins now.
func remember(steps ...http.HandlerFunc) *memory {
	return &memory{steps: steps, start: time.Now()}
}

func (m *memory) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			resp, err = nil, io.EOF
			if r.Context().Err() != nil {
				err = context.Cause(r.Context()) // As a http.Transport does.
			}
		} else if p != nil {
			panic(p)
		}
	}()
	m.mu.Lock()
	step := m.steps[min(len(m.arrivals), len(m.steps)-1)]
	m.arrivals = append(m.arrivals, time.Since(m.start))
	m.mu.Unlock()
	w := httptest.NewRecorder()
	step(w, r)
	return w.Result(), nil
}

// arrived returns when each request came, from the start.
func (m *memory) arrived() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.arrivals)
}

// waits returns the times between the requests.
func (m *memory) waits() []time.Duration {
	arrived := m.arrived()
	waits := make([]time.Duration, len(arrived)-1)
	for i := range waits {
		waits[i] = arrived[i+1] - arrived[i]
	}
	return waits
}

// client makes a Client with the default policy, but for opts.
func (m *memory) client(t testing.TB, opts ...memoryplugin.Option) *memoryplugin.Client {
	t.Helper()
	own := memoryplugin.WithHTTPClient(&http.Client{Transport: m})
	client, err := memoryplugin.NewClient(testKey, append([]memoryplugin.Option{own}, opts...)...)
	require.NoError(t, err)
	return client
}

var (
	onlyA    = []string{"a"}
	aDeleted = reply(200, `{"deleted":["a"],"count":1}`)
)

// slow answers by step after a time, even if the attempt was given up.
func slow(d time.Duration, step http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		<-time.After(d)
		step(w, r)
	}
}

// mute gives no reply until the attempt is given up.
func mute(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// hasReply asserts that err has a reply with a status.
func hasReply(t *testing.T, status int, err error) {
	t.Helper()
	var resp *memoryplugin.ErrorResponse
	if assert.ErrorAs(t, err, &resp) {
		assert.Equal(t, status, resp.StatusCode)
	}
}

func TestACallIsRetriedFourTimesByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, `{"error":"busy"}`))

		result, err := srv.client(t).DeleteConversations(t.Context(), onlyA)

		assert.EqualError(t, err, `memoryplugin: delete conversations: 503 Service Unavailable: "busy" (5 attempts)`)
		assert.Equal(t, 5, result.Attempts)
		assert.Len(t, srv.arrived(), 5)
	})
}

func TestWithMaxRetriesSetsTheNumberOfRetries(t *testing.T) {
	for _, retries := range []int{0, 1, 7} {
		t.Run(fmt.Sprint(retries), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(503, ""))

				result, err := srv.client(t, memoryplugin.WithMaxRetries(retries)).DeleteConversations(t.Context(), onlyA)

				hasReply(t, 503, err)
				assert.Equal(t, retries+1, result.Attempts)
				assert.Len(t, srv.arrived(), retries+1)
			})
		})
	}
}

func TestACallWithoutRetriesLeftEndsAtOnce(t *testing.T) {
	for name, header := range map[string][]string{
		"after a plain failure": nil,
		"after a Retry-After":   {"Retry-After", "5"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(503, "", header...))
				client := srv.client(t, memoryplugin.WithMaxRetries(0), memoryplugin.WithBackoff(1000*time.Hour, 1000*time.Hour))
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()

				_, err := client.DeleteConversations(ctx, onlyA)

				hasReply(t, 503, err)
				assert.NotErrorIs(t, err, context.DeadlineExceeded, "no wait was cut short")
				assert.Zero(t, time.Since(srv.start))
			})
		})
	}
}

func TestWaitsAreExponentialWithFullJitterUpToAMaximum(t *testing.T) {
	for name, test := range map[string]struct {
		opts     []memoryplugin.Option
		ceilings []time.Duration
	}{
		"default": {
			nil,
			[]time.Duration{
				500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
				16 * time.Second, 30 * time.Second, 30 * time.Second,
			},
		},
		"a maximum between two powers": {
			[]memoryplugin.Option{memoryplugin.WithBackoff(time.Second, 3*time.Second)},
			[]time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second},
		},
		"a maximum as the minimum": {
			[]memoryplugin.Option{memoryplugin.WithBackoff(time.Second, time.Second)},
			[]time.Duration{time.Second, time.Second, time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			const calls = 100
			waits := make([][]time.Duration, len(test.ceilings))
			synctest.Test(t, func(t *testing.T) {
				for range calls {
					srv := remember(reply(503, ""))
					client := srv.client(t, append(test.opts, memoryplugin.WithMaxRetries(len(test.ceilings)))...)
					_, err := client.DeleteConversations(t.Context(), onlyA)
					require.Error(t, err)
					for n, wait := range srv.waits() {
						waits[n] = append(waits[n], wait)
					}
				}
			})
			for n, ceiling := range test.ceilings {
				require.Len(t, waits[n], calls)
				assert.GreaterOrEqual(t, slices.Min(waits[n]), time.Duration(0))
				assert.LessOrEqual(t, slices.Max(waits[n]), ceiling, "wait %d", n)
				// Chance fails one of these once in 10^8 runs.
				assert.Less(t, slices.Min(waits[n]), ceiling/5, "wait %d", n)
				assert.Greater(t, slices.Max(waits[n]), ceiling*4/5, "wait %d", n)
			}
		})
	}
}

func TestABackoffOfZeroRetriesWithoutAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, ""))

		result, err := srv.client(t, memoryplugin.WithBackoff(0, 0)).DeleteConversations(t.Context(), onlyA)

		require.Error(t, err)
		assert.Equal(t, 5, result.Attempts)
		assert.Zero(t, time.Since(srv.start))
	})
}

// The clock of a bubble begins at midnight UTC, 1 January 2000.
func TestRetryAfterIsObeyed(t *testing.T) {
	for name, test := range map[string]struct {
		header []string
		want   time.Duration
	}{
		"seconds":                         {[]string{"Retry-After", "7"}, 7 * time.Second},
		"seconds with leading zeros":      {[]string{"Retry-After", "007"}, 7 * time.Second},
		"as much as the cap":              {[]string{"Retry-After", "60"}, time.Minute},
		"an IMF-fixdate":                  {[]string{"Retry-After", "Sat, 01 Jan 2000 00:00:07 GMT"}, 7 * time.Second},
		"an RFC 850 date":                 {[]string{"Retry-After", "Saturday, 01-Jan-00 00:00:07 GMT"}, 7 * time.Second},
		"an asctime date":                 {[]string{"Retry-After", "Sat Jan  1 00:00:07 2000"}, 7 * time.Second},
		"a date by a clock that is ahead": {[]string{"Retry-After", "Sun, 01 Nov 2026 10:00:07 GMT", "Date", "Sun, 01 Nov 2026 10:00:00 GMT"}, 7 * time.Second},
		"a date by a clock that is late":  {[]string{"Retry-After", "Thu, 01 Jan 1998 10:00:07 GMT", "Date", "Thu, 01 Jan 1998 10:00:00 GMT"}, 7 * time.Second},
		"a date where Date is nonsense":   {[]string{"Retry-After", "Sat, 01 Jan 2000 00:00:07 GMT", "Date", "today"}, 7 * time.Second},
		"seconds whatever Date is":        {[]string{"Retry-After", "7", "Date", "Sun, 01 Nov 2026 10:00:00 GMT"}, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(429, "", test.header...), aDeleted)

				result, err := srv.client(t, memoryplugin.WithBackoff(0, 0)).DeleteConversations(t.Context(), onlyA)

				require.NoError(t, err)
				assert.Equal(t, 2, result.Attempts)
				assert.Equal(t, []time.Duration{test.want}, srv.waits())
			})
		})
	}
}

func TestARetryAfterThatNamesNoTimeToComeIsIgnored(t *testing.T) {
	for _, value := range []string{
		"", "0", "000", "-5", "+5", "1.5", "5s", "5, 6", "1e3", "0x10", "٥", "soon",
		"Fri, 31 Dec 1999 23:59:59 GMT",
		"Sat, 01 Jan 2000 00:00:00 GMT",
		"Sat, 01 Jan 2000 00:00:07",
		"2000-01-01T00:00:07Z",
	} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(429, "", "Retry-After", value), aDeleted)

				_, err := srv.client(t, memoryplugin.WithBackoff(0, 0)).DeleteConversations(t.Context(), onlyA)

				require.NoError(t, err)
				assert.Equal(t, []time.Duration{0}, srv.waits())
			})
		})
	}
}

func TestUpToMinOfJitterComesOnTopOfARetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		for range 100 {
			srv := remember(reply(429, "", "Retry-After", "7"), aDeleted)
			client := srv.client(t, memoryplugin.WithBackoff(time.Second, time.Minute))
			_, err := client.DeleteConversations(t.Context(), onlyA)
			require.NoError(t, err)
			waits = append(waits, srv.waits()...)
		}

		require.Len(t, waits, 100)
		assert.GreaterOrEqual(t, slices.Min(waits), 7*time.Second)
		assert.LessOrEqual(t, slices.Max(waits), 8*time.Second)
		// Chance fails one of these once in 2^100 runs.
		assert.Less(t, slices.Min(waits), 7500*time.Millisecond)
		assert.Greater(t, slices.Max(waits), 7500*time.Millisecond)
	})
}

func TestARetryAfterAboveTheCapEndsTheCallAtOnce(t *testing.T) {
	for _, value := range []string{
		"61",
		"9223372036",           // The most whole seconds of a Duration.
		"9223372037",           // More than a Duration holds.
		"18446744074",          // Times 10^9 it is 290 ms, modulo 2^64.
		"99999999999999999999", // More than an int64 holds.
		"Sat, 01 Jan 2000 00:01:01 GMT",
		"Fri, 31 Dec 9999 23:59:59 GMT",
	} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(429, `{"error":"slow down"}`, "Retry-After", value))

				result, err := srv.client(t).DeleteConversations(t.Context(), onlyA)

				var resp *memoryplugin.ErrorResponse
				require.ErrorAs(t, err, &resp)
				assert.Equal(t, 429, resp.StatusCode)
				assert.Greater(t, resp.RetryAfter, time.Minute)
				assert.ErrorContains(t, err, "slow down")
				assert.ErrorContains(t, err, "Retry-After of "+resp.RetryAfter.String())
				assert.Equal(t, 1, result.Attempts)
				assert.Equal(t, onlyA, result.NotDeleted)
				assert.Zero(t, time.Since(srv.start))
			})
		})
	}
}

func TestWithMaxRetryAfterSetsTheCap(t *testing.T) {
	for name, test := range map[string]struct {
		most     time.Duration
		asked    string
		attempts int
	}{
		"a shorter one":               {2 * time.Second, "3", 1},
		"a shorter one that suffices": {3 * time.Second, "3", 2},
		"a longer one":                {time.Hour, "3600", 2},
		"zero":                        {0, "1", 1},
		"the longest one":             {math.MaxInt64, "3153600000", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(429, "", "Retry-After", test.asked), aDeleted)
				client := srv.client(t, memoryplugin.WithMaxRetryAfter(test.most), memoryplugin.WithBackoff(0, 0))

				result, _ := client.DeleteConversations(t.Context(), onlyA)

				assert.Equal(t, test.attempts, result.Attempts)
			})
		})
	}
}

func TestARetryAfterAboveAnyCapIsNotCutByItsJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(429, "", "Retry-After", "99999999999999999999"))
		logger, lines := newLog()
		client := srv.client(t,
			memoryplugin.WithMaxRetryAfter(math.MaxInt64),
			memoryplugin.WithBackoff(time.Microsecond, time.Microsecond),
			logger)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)

		result, err := client.DeleteConversations(ctx, onlyA)

		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 1, result.Attempts)
		assert.Equal(t, time.Hour, time.Since(srv.start))
		for _, line := range lines() {
			assert.GreaterOrEqual(t, line.Wait, time.Duration(0))
		}
	})
}

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

		result, err := srv.client(t, memoryplugin.WithBackoff(0, 0)).DeleteConversations(ctx, onlyA)

		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, shutdown)
		hasReply(t, 503, err)
		assert.Equal(t, 1, result.Attempts)
		assert.Len(t, srv.arrived(), 1)
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
				client := newClient(t, "http://localhost",
					memoryplugin.WithAttemptTimeout(1234*time.Millisecond),
					memoryplugin.WithMaxRetries(0),
					memoryplugin.WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
						<-r.Context().Done()
						return nil, fail(r.Context())
					})}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()

				result, err := client.DeleteConversations(ctx, onlyA)

				assert.NotErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, memoryplugin.ErrOutcomeUnknown)
				assert.ErrorContains(t, err, "1.234s")
				assert.Equal(t, onlyA, result.Unconfirmed)
				assert.Equal(t, 1234*time.Millisecond, time.Since(start))
			})
		})
	}
}

func TestATimeoutBelowTheAttemptIsNotTheContextsEnd(t *testing.T) {
	for _, end := range []error{context.DeadlineExceeded, context.Canceled} {
		t.Run(end.Error(), func(t *testing.T) {
			client := newClient(t, "http://localhost", memoryplugin.WithHTTPClient(&http.Client{
				Transport: transport(func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("the proxy: %w", end) }),
			}))

			result, err := client.DeleteConversations(t.Context(), onlyA)

			assert.NotErrorIs(t, err, end)
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

func TestManyCallsOfOneClientAccountForWhatTheServerDid(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	const calls = 60
	ids := make([]string, calls)
	for i := range ids {
		ids[i] = fmt.Sprintf("conv-%d", i)
	}
	srv.AddConversations(ids...)
	for range calls / 2 {
		srv.FailNext(
			memoryplugintest.Fault{Status: 503},
			memoryplugintest.Fault{Status: 429},
			memoryplugintest.Fault{Status: 400},
			memoryplugintest.Fault{Drop: true},
			memoryplugintest.Fault{Drop: true, Applied: true},
			memoryplugintest.Fault{CutReply: true},
			memoryplugintest.Fault{Status: 500, Applied: true},
		)
	}
	client := srv.Client()
	results := make([]*memoryplugin.DeleteConversationsResult, calls)
	errs := make([]error, calls)

	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { results[i], errs[i] = client.DeleteConversations(t.Context(), []string{id}) })
	}
	wg.Wait()

	left := srv.Conversations()
	for i, id := range ids {
		result := results[i]
		assert.Equal(t, []string{id}, slices.Concat(result.Deleted, result.NotDeleted, result.Unconfirmed))
		if len(result.Deleted) > 0 {
			assert.NotContains(t, left, id)
		}
		if len(result.NotDeleted) > 0 {
			assert.Contains(t, left, id)
		}
		assert.Equal(t, len(result.Unconfirmed) > 0, errors.Is(errs[i], memoryplugin.ErrOutcomeUnknown), errs[i])
	}
}
