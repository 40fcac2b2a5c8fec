package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// retryPolicy decides what follows a failed attempt. Its budget and its hold
// are shared by all calls of a Client.
type retryPolicy struct {
	maxRetries    int
	backoff       backoff
	maxRetryAfter time.Duration
	budget        *budget
	hold          *hold
	secret        secret
}

// retryPlan is what follows a failed attempt: a wait and another attempt that
// takes cost from the budget, or none. A reason says why there is none where
// the failure itself does not.
type retryPlan struct {
	again  bool
	wait   time.Duration
	cost   int
	reason error
}

// plan decides what follows f, the failure of the attempts-th attempt.
func (p *retryPolicy) plan(ctx context.Context, attempts int, f *failure) retryPlan {
	if !f.retry {
		return retryPlan{}
	}
	wait := p.backoff.wait(attempts)
	if reply, ok := errors.AsType[*ErrorResponse](f.err); ok && reply.RetryAfter > 0 {
		if reply.RetryAfter > p.maxRetryAfter {
			return retryPlan{reason: retryAfterTooLong{reply.RetryAfter, p.maxRetryAfter}}
		}
		p.hold.extend(time.Now().Add(reply.RetryAfter), reply)
		wait = p.backoff.onTop(reply.RetryAfter)
	}
	held, _ := p.hold.remaining()
	if err := p.futile(ctx, max(wait, held)); err != nil && (ctx.Err() != nil || attempts <= p.maxRetries) {
		return retryPlan{reason: err}
	}
	if attempts > p.maxRetries {
		return retryPlan{}
	}
	cost := retryCost
	if errors.Is(f.err, ErrRateLimited) {
		cost = rateLimitedRetryCost
	}
	if !p.budget.take(cost) {
		return retryPlan{reason: errBudgetEmpty}
	}
	return retryPlan{again: true, wait: wait, cost: cost}
}

var errBudgetEmpty = errors.New("not retried: the Client's retry budget is used up")

// retryAfterTooLong is why a call ended with a reply that asks for more than
// the Client obeys. An earlier try would be refused anyway.
type retryAfterTooLong struct{ asked, most time.Duration }

func (e retryAfterTooLong) Error() string {
	return fmt.Sprintf("not retried: Retry-After of %v is above the limit of %v", e.asked, e.most)
}

// futile returns an error when ctx has ended, or will before a wait that begins now.
func (p *retryPolicy) futile(ctx context.Context, wait time.Duration) error {
	if err := contextError(ctx, p.secret); err != nil {
		return err
	}
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) > wait {
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
		if ceiling > math.MaxInt64/2 {
			ceiling = b.max
			break
		}
		ceiling *= 2
	}
	return random(min(ceiling, b.max))
}

// onTop adds jitter to a Retry-After, so that those it held back don't all
// return at once.
func (b backoff) onTop(d time.Duration) time.Duration {
	return max(d, d+random(b.min)) // d where the sum overflows.
}

func random(ceiling time.Duration) time.Duration {
	if ceiling <= 0 {
		return 0
	}
	return rand.N(ceiling)
}

// The budget's numbers are those of the AWS SDK's standard mode.
const (
	budgetSize           = 500
	retryCost            = 14
	rateLimitedRetryCost = 5
	firstTryGift         = 1
)

// budget is the token bucket that keeps an outage from being multiplied by the
// retries of all who suffer from it.
type budget struct {
	mu     sync.Mutex
	tokens int
}

func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+n, budgetSize)
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

func (h *hold) remaining() (time.Duration, *ErrorResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Until(h.until), h.reply
}

// retryAfter reads the Retry-After of a reply that arrived at now: seconds, or
// a date in any of the HTTP forms, counted from the reply's own Date so that
// the two clocks need not agree. Nonsense, zero and the past are 0.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(math.MaxInt64/time.Second) {
			return math.MaxInt64 // Longer than can be counted, and so than any limit.
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return max(0, date.Sub(now))
}
