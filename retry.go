package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// repeat calls next, waits as long as it says, and calls it again, for as long
// as it says so. If ctx ends during a wait, repeat returns ctx's error.
//
// go-retryablehttp runs the loop. It wants to send an HTTP request and to judge
// the reply; but what an attempt came to is more than a reply can say, so next
// makes and judges the attempt, and the loop sees an empty 200 each time.
func repeat(ctx context.Context, next func() (wait time.Duration, again bool)) error {
	var wait time.Duration
	var again bool
	loop := retryablehttp.Client{
		HTTPClient: &http.Client{Transport: turn(func() { wait, again = next() })},
		RetryMax:   math.MaxInt, // The policy counts.
		CheckRetry: func(context.Context, *http.Response, error) (bool, error) { return again, nil },
		Backoff:    func(time.Duration, time.Duration, int, *http.Response) time.Duration { return wait },
	}
	_, err := loop.Do(&retryablehttp.Request{Request: noRequest.WithContext(ctx)})
	return err
}

var noRequest = &http.Request{URL: &url.URL{}, Header: http.Header{}}

// turn is one turn of the loop, in the place of a transport.
type turn func()

func (t turn) RoundTrip(*http.Request) (*http.Response, error) {
	t()
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// retryPolicy decides what follows an attempt. All calls of a Client share its
// budget and its hold.
type retryPolicy struct {
	maxRetries    int
	backoff       backoff
	maxRetryAfter time.Duration
	budget        *budget
	hold          *hold
}

// retryPlan is what follows an attempt: a wait and another attempt that takes
// cost from the budget, or the end. A reason says why it ends, if the outcome
// itself does not.
type retryPlan struct {
	again  bool
	wait   time.Duration
	cost   int
	reason error
}

// plan decides what follows the attempts-th attempt of a call, which took cost
// from the budget and came to o.
func (p *retryPolicy) plan(ctx context.Context, attempts, cost int, o outcome) retryPlan {
	switch {
	case o.verdict == answered:
		p.budget.give(max(cost, 1))
		return retryPlan{}
	case !o.retry:
		if o.status != 0 && !o.cut {
			p.budget.give(cost)
		}
		return retryPlan{}
	}
	wait := p.backoff.wait(attempts)
	if reply, ok := o.err.(*ErrorResponse); ok && reply.RetryAfter > 0 {
		if reply.RetryAfter > p.maxRetryAfter {
			return retryPlan{reason: &retryAfterTooLong{reply, p.maxRetryAfter}}
		}
		p.hold.extend(time.Now().Add(reply.RetryAfter), reply)
		wait = p.backoff.onTop(reply.RetryAfter)
	}
	if attempts > p.maxRetries {
		return retryPlan{}
	}
	held, _ := p.hold.remaining()
	if err := outlasts(ctx, max(wait, held)); err != nil {
		return retryPlan{reason: err}
	}
	cost = retryCost
	if errors.Is(o.err, ErrRateLimited) {
		cost = rateLimitedRetryCost
	}
	if !p.budget.take(cost) {
		return retryPlan{reason: errBudgetEmpty}
	}
	return retryPlan{again: true, wait: wait, cost: cost}
}

var errBudgetEmpty = errors.New("not retried: the Client's retry budget is used up")

// retryAfterTooLong is why a call ended with a reply that asks for more than
// the Client obeys. An earlier attempt would be refused anyway.
type retryAfterTooLong struct {
	reply *ErrorResponse
	most  time.Duration
}

func (e *retryAfterTooLong) Error() string {
	return fmt.Sprintf("the server's Retry-After of %v is above the limit of %v", e.reply.RetryAfter, e.most)
}

func (e *retryAfterTooLong) Unwrap() error { return e.reply }

// outlasts returns an error if ctx will end before a wait that begins now does.
func outlasts(ctx context.Context, wait time.Duration) error {
	deadline, ok := ctx.Deadline()
	if !ok || ctx.Err() != nil || time.Until(deadline) > wait {
		return nil
	}
	return fmt.Errorf("gave up: a wait of %v would outlast the context: %w", wait.Round(time.Millisecond), context.DeadlineExceeded)
}

// backoff is exponential, with full jitter.
type backoff struct{ min, max time.Duration }

// wait is the time before the n-th retry: random, from 0 to min·2ⁿ⁻¹ or max.
func (b backoff) wait(n int) time.Duration {
	ceiling := b.min
	for ; n > 1 && ceiling < b.max; n-- {
		ceiling += min(ceiling, b.max-ceiling) // Doubled, but without an overflow.
	}
	return random(ceiling)
}

// onTop adds jitter to a Retry-After, so that those it held back don't all
// return at once.
func (b backoff) onTop(d time.Duration) time.Duration {
	return max(d, d+random(b.min)) // d if the sum overflows.
}

func random(ceiling time.Duration) time.Duration {
	if ceiling <= 0 {
		return 0
	}
	return rand.N(ceiling)
}

// The numbers of the budget are those of the AWS SDK's standard mode.
const (
	budgetSize           = 500
	retryCost            = 14
	rateLimitedRetryCost = 5
)

// budget is the token bucket that keeps an outage from being multiplied by the
// retries of all who suffer from it. A token comes back every second, so one
// time says how many there are: the budget lacks a token for each second until
// it is whole.
type budget struct {
	mu    sync.Mutex
	whole time.Time
}

func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	whole := b.whole
	if whole.Before(now) {
		whole = now
	}
	whole = whole.Add(time.Duration(n) * time.Second)
	if whole.Sub(now) > budgetSize*time.Second {
		return false
	}
	b.whole = whole
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = b.whole.Add(-time.Duration(n) * time.Second)
}

// hold keeps every call of a Client back while a Retry-After lasts, since a
// server's limit counts by key and not by call.
type hold struct {
	mu    sync.Mutex
	until time.Time
	reply *ErrorResponse // the one that asked for it
}

// extend never cuts a longer hold.
func (h *hold) extend(until time.Time, reply *ErrorResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.until) {
		h.until, h.reply = until, reply
	}
}

// remaining returns what is left of the hold, and the reply that asked for it.
func (h *hold) remaining() (time.Duration, *ErrorResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reply == nil {
		return 0, nil
	}
	return time.Until(h.until), h.reply
}

// retryAfter reads the Retry-After of a reply that arrived at now: seconds, of
// which a fraction is rounded up, or a date, counted from the reply's own Date so
// that the two clocks need not agree. Nonsense, zero and the past are 0.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if isDecimal(value) {
		seconds, _ := strconv.ParseFloat(value, 64) // +Inf if it is too long.
		if seconds > math.MaxInt32 {
			return math.MaxInt64 // Above any limit.
		}
		return time.Duration(math.Ceil(seconds)) * time.Second
	}
	date, ok := httpDate(value)
	if !ok {
		return 0
	}
	if sent, ok := httpDate(h.Get("Date")); ok {
		now = sent
	}
	return max(0, date.Sub(now))
}

func isDecimal(value string) bool {
	digits := strings.Replace(value, ".", "", 1)
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// httpDate reads a date in any of the HTTP forms. http.ParseTime would take other
// zones than GMT too, without knowing their offsets.
func httpDate(value string) (time.Time, bool) {
	for _, layout := range []string{http.TimeFormat, "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
		if date, err := time.Parse(layout, value); err == nil {
			return date, true
		}
	}
	return time.Time{}, false
}
