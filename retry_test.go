package memoryplugin_test

import (
	"context"
	"fmt"
	"math"
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

func TestACallIsRetriedFourTimesByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, `{"error":"busy"}`))

		result, err := srv.client(t).DeleteConversations(t.Context(), onlyA)

		assert.EqualError(t, err, `memoryplugin: delete conversations: 1 of 1 unconfirmed: 503 Service Unavailable: "busy" (5 attempts)`)
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
		"a decimal of whole seconds":      {[]string{"Retry-After", "7.0"}, 7 * time.Second},
		"a decimal, rounded up":           {[]string{"Retry-After", "6.1"}, 7 * time.Second},
		"as much as the cap":              {[]string{"Retry-After", "60"}, time.Minute},
		"an IMF-fixdate":                  {[]string{"Retry-After", "Sat, 01 Jan 2000 00:00:07 GMT"}, 7 * time.Second},
		"an RFC 850 date":                 {[]string{"Retry-After", "Saturday, 01-Jan-00 00:00:07 GMT"}, 7 * time.Second},
		"an asctime date":                 {[]string{"Retry-After", "Sat Jan  1 00:00:07 2000"}, 7 * time.Second},
		"a date by a clock that is ahead": {[]string{"Retry-After", "Sun, 01 Nov 2026 10:00:07 GMT", "Date", "Sun, 01 Nov 2026 10:00:00 GMT"}, 7 * time.Second},
		"a date by a clock that is late":  {[]string{"Retry-After", "Thu, 01 Jan 1998 10:00:07 GMT", "Date", "Thu, 01 Jan 1998 10:00:00 GMT"}, 7 * time.Second},
		"a date, and Date is nonsense":    {[]string{"Retry-After", "Sat, 01 Jan 2000 00:00:07 GMT", "Date", "today"}, 7 * time.Second},
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
		"", "0", "000", "0.0", "-5", "+5", "1.2.3", "5s", "5, 6", "1e3", "0x10", "٥", "soon",
		"Fri, 31 Dec 1999 23:59:59 GMT",
		"Sat, 01 Jan 2000 00:00:00 GMT",
		"Sat, 01 Jan 2000 00:00:07",
		"Saturday, 01-Jan-00 00:00:07 EST", // Which is no HTTP date.
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
		"60.5",
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
		"the longest one":             {math.MaxInt64, "2000000000", 2},
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

func TestManyCallsOfOneClientAccountForWhatTheServerDid(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	const calls = 60
	ids := numberedIDs(calls)
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
		assertAccounted(t, results[i], errs[i], 1)
		if len(results[i].Deleted) > 0 {
			assert.NotContains(t, left, id)
		}
		if len(results[i].NotDeleted) > 0 {
			assert.Contains(t, left, id)
		}
	}
}
