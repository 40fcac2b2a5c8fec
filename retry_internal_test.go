package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tokens returns how many tokens are left.
func (b *budget) tokens() int {
	return budgetSize - int(max(0, time.Until(b.whole))/time.Second)
}

// got is the outcome of an attempt that was answered with an error.
func got(status int, retryAfter time.Duration) outcome {
	verdict, retry := judge(status, retryAfter)
	reply := &ErrorResponse{StatusCode: status, RetryAfter: retryAfter}
	return outcome{verdict: verdict, retry: retry, status: status, err: reply}
}

// The outcomes of attempts that the policy is given in the tests below.
var (
	answer    = outcome{verdict: answered, status: 200}
	undefined = outcome{verdict: unknown, status: 200, err: errors.New("still encoded")}
	lost      = outcome{verdict: unknown, retry: true, err: errors.New("EOF")}
	undialled = outcome{verdict: refused, retry: true, err: errors.New("connection refused")}
	noHost    = outcome{verdict: refused, err: errors.New("no such host")}
	cancelled = outcome{verdict: unknown, cut: true, err: context.Canceled}
)

// planTest gives the policy one outcome after the other. After one that ends a
// call the next begins another. There is no jitter; the clock is that of the bubble.
type planTest struct {
	spent    int           // tokens, before the first step
	deadline time.Duration // of the context, if it has one
	steps    []planStep
}

// planStep is an outcome, and the plan that has to follow.
type planStep struct {
	after   time.Duration // since what happened before
	outcome outcome
	again   bool
	tokens  int // that are left
	wait    time.Duration
	reason  string // a part of it
}

func TestPlanCountsAttemptsAndTokens(t *testing.T) {
	for name, test := range map[string]planTest{
		"a success at first try gives one token": {spent: 10, steps: []planStep{
			{outcome: answer, tokens: 491},
			{outcome: answer, tokens: 492},
		}},
		"there are never more than 500 tokens": {steps: []planStep{
			{outcome: answer, tokens: 500},
			{after: time.Hour, outcome: answer, tokens: 500},
			{outcome: got(503, 0), again: true, tokens: 486},
		}},
		"a call has four retries, and what they took is gone": {steps: []planStep{
			{outcome: got(503, 0), again: true, tokens: 486},
			{outcome: lost, again: true, tokens: 472},
			{outcome: undialled, again: true, tokens: 458},
			{outcome: got(408, 0), again: true, tokens: 444},
			{outcome: got(503, 0), tokens: 444},
			{outcome: got(503, 0), again: true, tokens: 430},
		}},
		"an answer gives back what its own retry took": {steps: []planStep{
			{outcome: got(503, 0), again: true, tokens: 486},
			{outcome: got(429, 0), again: true, tokens: 481},
			{outcome: answer, tokens: 486},
		}},
		"so does a status that is not retried": {steps: []planStep{
			{outcome: got(429, 0), again: true, tokens: 495},
			{outcome: got(401, 0), tokens: 500},
			{outcome: got(503, 0), again: true, tokens: 486},
			{outcome: got(301, 0), tokens: 500},
			{outcome: got(503, 0), again: true, tokens: 486},
			{outcome: undefined, tokens: 500},
		}},
		"a refusal at first try gives nothing": {spent: 10, steps: []planStep{
			{outcome: got(401, 0), tokens: 490},
		}},
		"an end without an answer gives nothing": {steps: []planStep{
			{outcome: got(503, 0), again: true, tokens: 486},
			{outcome: noHost, tokens: 486},
			{outcome: got(503, 0), again: true, tokens: 472},
			{outcome: cancelled, tokens: 472},
			{outcome: got(503, 0), again: true, tokens: 458},
			{outcome: outcome{verdict: unknown, cut: true, status: 200, err: context.Canceled}, tokens: 458},
		}},
	} {
		t.Run(name, test.run)
	}
}

func TestPlanHasNoRetryWithoutTokens(t *testing.T) {
	for name, test := range map[string]planTest{
		"a retry without tokens is not made": {spent: 487, steps: []planStep{
			{outcome: got(503, 0), tokens: 13, reason: "retry budget is used up"},
			{outcome: got(429, 0), again: true, tokens: 8},
			{outcome: got(429, 0), again: true, tokens: 3},
			{outcome: got(429, 0), tokens: 3, reason: "retry budget is used up"},
		}},
		"a token comes back every second": {spent: 500, steps: []planStep{
			{outcome: got(429, 0), tokens: 0, reason: "retry budget is used up"},
			{after: 13 * time.Second, outcome: got(503, 0), tokens: 13, reason: "retry budget is used up"},
			{after: time.Second, outcome: got(503, 0), again: true, tokens: 0},
		}},
		"some minutes after an outage the budget is whole": {spent: 500, steps: []planStep{
			{after: 499 * time.Second, outcome: got(401, 0), tokens: 499},
			{after: time.Second, outcome: got(401, 0), tokens: 500},
			{after: 24 * time.Hour, outcome: got(503, 0), again: true, tokens: 486},
		}},
	} {
		t.Run(name, test.run)
	}
}

func TestPlanObeysARetryAfterAndADeadline(t *testing.T) {
	for name, test := range map[string]planTest{
		"a Retry-After is waited for": {steps: []planStep{
			{outcome: got(429, 7*time.Second), again: true, tokens: 495, wait: 7 * time.Second},
			{after: 7 * time.Second, outcome: got(503, time.Minute), again: true, tokens: 486, wait: time.Minute},
		}},
		"a 403 is retried with a Retry-After alone": {steps: []planStep{
			{outcome: got(403, 3*time.Second), again: true, tokens: 486, wait: 3 * time.Second},
			{after: 3 * time.Second, outcome: got(403, 0), tokens: 500},
		}},
		"a Retry-After above the cap ends the call": {steps: []planStep{
			{outcome: got(429, time.Minute+1), tokens: 500, reason: "above the limit of 1m0s"},
			{outcome: got(403, math.MaxInt64), tokens: 500, reason: "above the limit of 1m0s"},
		}},
		"a Retry-After of a status that is not retried means nothing": {steps: []planStep{
			{outcome: got(400, time.Hour), tokens: 500},
		}},
		"a wait beyond the deadline ends the call": {deadline: 10 * time.Second, steps: []planStep{
			{outcome: got(429, 11*time.Second), tokens: 500, reason: "would outlast the context"},
		}},
		"so does the hold of another call": {deadline: 10 * time.Second, steps: []planStep{
			{outcome: got(503, 20*time.Second), tokens: 500, reason: "would outlast the context"},
			{outcome: got(503, time.Second), tokens: 500, reason: "would outlast the context"},
			{outcome: lost, tokens: 500, reason: "would outlast the context"},
		}},
		"a wait within the deadline does not": {deadline: 10 * time.Second, steps: []planStep{
			{outcome: got(429, 9*time.Second), again: true, tokens: 495, wait: 9 * time.Second},
		}},
	} {
		t.Run(name, test.run)
	}
}

func (test planTest) run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := &retryPolicy{maxRetries: 4, maxRetryAfter: time.Minute, budget: &budget{}, hold: &hold{}}
		require.True(t, policy.budget.take(test.spent))
		ctx := t.Context()
		if test.deadline > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, test.deadline)
			defer cancel()
		}
		attempts, cost := 0, 0
		for n, step := range test.steps {
			<-time.After(step.after)
			attempts++

			plan := policy.plan(ctx, attempts, cost, step.outcome)

			assert.Equal(t, step.again, plan.again, "step %d", n)
			assert.Equal(t, step.tokens, policy.budget.tokens(), "step %d", n)
			assert.Equal(t, step.wait, plan.wait, "step %d", n)
			if step.reason == "" {
				assert.NoError(t, plan.reason, "step %d", n)
			} else {
				assert.ErrorContains(t, plan.reason, step.reason, "step %d", n)
			}
			if cost = plan.cost; !plan.again {
				attempts, cost = 0, 0
			}
		}
	})
}

func TestABudgetThatIsGivenBackLateHasNoMoreThanItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{}
		require.True(t, b.take(14))
		<-time.After(time.Hour) // The drip has long given it back.

		b.give(14)

		require.Equal(t, 500, b.tokens())
		assert.False(t, b.take(501))
		assert.True(t, b.take(500))
	})
}

func TestBackoffIsRandomUpToItsCeiling(t *testing.T) {
	for _, test := range []struct {
		min, max time.Duration
		n        int
		ceiling  time.Duration
	}{
		{500 * time.Millisecond, 30 * time.Second, 1, 500 * time.Millisecond},
		{500 * time.Millisecond, 30 * time.Second, 4, 4 * time.Second},
		{500 * time.Millisecond, 30 * time.Second, 7, 30 * time.Second},
		{500 * time.Millisecond, 30 * time.Second, math.MaxInt, 30 * time.Second},
		{time.Second, time.Second, 5, time.Second},
		{1 << 20, math.MaxInt64, 43, 1 << 62},
		{1 << 20, math.MaxInt64, 44, math.MaxInt64},
		{1 << 20, math.MaxInt64, 1000, math.MaxInt64},
		{math.MaxInt64/2 + 1, math.MaxInt64, 2, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, 3, math.MaxInt64},
		{0, 0, 5, 0},
	} {
		t.Run(fmt.Sprintf("%v to %v, retry %d", test.min, test.max, test.n), func(t *testing.T) {
			shortest, longest := time.Duration(math.MaxInt64), time.Duration(-1)
			for range 100 {
				wait := backoff{test.min, test.max}.wait(test.n)
				shortest, longest = min(shortest, wait), max(longest, wait)
			}
			assert.GreaterOrEqual(t, shortest, time.Duration(0))
			assert.LessOrEqual(t, longest, test.ceiling)
			if test.ceiling > 0 { // Chance fails one of these once in 2^100 runs.
				assert.Less(t, shortest, test.ceiling/2)
				assert.Greater(t, longest, test.ceiling/2)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, time.November, 1, 10, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		value, date string
		want        time.Duration
	}{
		"seconds":                           {"120", "", 2 * time.Minute},
		"spaces around":                     {" 120\t", "", 2 * time.Minute},
		"leading zeros":                     {"007", "", 7 * time.Second},
		"a whole decimal":                   {"2.0", "", 2 * time.Second},
		"a decimal":                         {"1.5", "", 2 * time.Second},
		"a decimal of next to nothing":      {"0.001", "", time.Second},
		"a decimal without its zero":        {".5", "", time.Second},
		"a decimal point at the end":        {"5.", "", 5 * time.Second},
		"68 years":                          {"2147483647", "", math.MaxInt32 * time.Second},
		"more than 68 years":                {"2147483648", "", math.MaxInt64},
		"more than a Duration holds":        {"9223372037", "", math.MaxInt64},
		"more than an int64 holds":          {"99999999999999999999", "", math.MaxInt64},
		"more than a float64 holds":         {strings.Repeat("9", 400), "", math.MaxInt64},
		"IMF-fixdate":                       {"Sun, 01 Nov 2026 10:00:07 GMT", "", 7 * time.Second},
		"RFC 850":                           {"Sunday, 01-Nov-26 10:00:07 GMT", "", 7 * time.Second},
		"asctime":                           {"Sun Nov  1 10:00:07 2026", "", 7 * time.Second},
		"from a Date as IMF-fixdate":        {"Sun, 01 Nov 2026 09:00:07 GMT", "Sun, 01 Nov 2026 09:00:00 GMT", 7 * time.Second},
		"from a Date as RFC 850":            {"Sun, 01 Nov 2026 09:00:07 GMT", "Sunday, 01-Nov-26 09:00:00 GMT", 7 * time.Second},
		"from a Date as asctime":            {"Sun, 01 Nov 2026 09:00:07 GMT", "Sun Nov  1 09:00:00 2026", 7 * time.Second},
		"from a Date of nonsense":           {"Sun, 01 Nov 2026 10:00:07 GMT", "nonsense", 7 * time.Second},
		"from a Date in another zone":       {"Sun, 01 Nov 2026 10:00:07 GMT", "Sunday, 01-Nov-26 09:00:00 EST", 7 * time.Second},
		"past by Date, future by our clock": {"Sun, 01 Nov 2026 10:00:07 GMT", "Sun, 01 Nov 2026 10:00:08 GMT", 0},
		"a date beyond a Duration":          {"Fri, 31 Dec 9999 23:59:59 GMT", "", math.MaxInt64},
		"a date long ago":                   {"Mon, 01 Jan 0001 00:00:00 GMT", "", 0},
		"a date in another zone":            {"Thursday, 18-Aug-50 02:01:18 EST", "", 0},
		"a date in a zone by its offset":    {"Sunday, 01-Nov-26 10:00:07 GMT+3", "", 0},
		"none":                              {"", "", 0},
		"blank":                             {"  ", "", 0},
		"zero":                              {"0", "", 0},
		"zero as a decimal":                 {"0.0", "", 0},
		"a lone point":                      {".", "", 0},
		"two points":                        {"1.2.3", "", 0},
		"negative":                          {"-1", "", 0},
		"with a sign":                       {"+1", "", 0},
		"an exponent":                       {"1e3", "", 0},
		"hexadecimal":                       {"0x10", "", 0},
		"grouped":                           {"1_000", "", 0},
		"infinite":                          {"Inf", "", 0},
		"a unit":                            {"10s", "", 0},
		"a decimal comma":                   {"1,5", "", 0},
		"digits that are not ASCII":         {"１０", "", 0},
		"an RFC 3339 date":                  {"2026-11-01T10:00:07Z", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Retry-After": {test.value}, "Date": {test.date}}
			assert.Equal(t, test.want, retryAfter(header, now))
		})
	}
}

// In summer, London's clocks show BST, and time.Parse takes a GMT for local time.
func TestADateInGMTIsReadInLondonToo(t *testing.T) {
	if os.Getenv("TZ") != "Europe/London" { // It is read when a process starts.
		inLondon := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		inLondon.Env = append(os.Environ(), "TZ=Europe/London")
		output, err := inLondon.CombinedOutput()
		require.NoError(t, err, "%s", output)
		return
	}
	now := time.Date(2026, time.August, 2, 10, 0, 0, 0, time.UTC)
	for _, value := range []string{"Sun, 02 Aug 2026 10:00:07 GMT", "Sunday, 02-Aug-26 10:00:07 GMT", "Sun Aug  2 10:00:07 2026"} {
		assert.Equal(t, 7*time.Second, retryAfter(http.Header{"Retry-After": {value}}, now), value)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{
		"", "0", "7", "007", " 7 ", "-7", "+7", "1.5", "2.0", ".5", ".", "7s", "2147483648", "9223372037", "18446744074", "99999999999999999999",
		"Sun, 01 Nov 2026 10:00:07 GMT", "Sunday, 01-Nov-26 10:00:07 GMT", "Sunday, 01-Nov-26 10:00:07 EST", "Sunday, 01-Nov-26 10:00:07 MTGMT", "Sun Nov  1 10:00:07 2026", "Fri, 31 Dec 9999 23:59:59 GMT",
	} {
		f.Add(value, "Sun, 01 Nov 2026 10:00:00 GMT")
		f.Add(value, "")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		now := time.Date(2026, time.November, 1, 10, 0, 0, 0, time.UTC)
		wait := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, now)

		trimmed := strings.TrimSpace(value)
		at, isDate := dateInGMT(trimmed)
		switch seconds, isNumber := new(big.Rat).SetString(trimmed); {
		case isNumber && strings.Trim(trimmed, "0123456789.") == "":
			exact, _ := seconds.Float64()
			if exact <= math.MaxInt32 {
				assert.Equal(t, math.Ceil(exact), wait.Seconds())
			} else {
				assert.Equal(t, time.Duration(math.MaxInt64), wait)
			}
		case isDate:
			if sent, ok := dateInGMT(date); ok {
				now = sent
			}
			assert.Equal(t, at.After(now), wait > 0)
			assert.False(t, now.Add(wait).After(at) && wait > 0)
		default:
			assert.Zero(t, wait)
		}
	})
}

func dateInGMT(value string) (time.Time, bool) {
	at, err := http.ParseTime(value)
	_, asctime := time.Parse(time.ANSIC, value)
	return at, err == nil && (asctime == nil || strings.HasSuffix(value, " GMT"))
}
