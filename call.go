package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// call is one request to the API: its attempts, and what they add up to.
type call struct {
	client    *Client
	operation string // as errors name it
	request   request
	ctx       context.Context // ends what is on the wire
	waits     context.Context // ends the waits; ctx, or made from it
	stop      <-chan struct{} // nil, or closed once no further attempt may be made
	delay     time.Duration   // before the first attempt

	cost int     // of the coming retry, in tokens
	last outcome // of the last attempt
	held error   // nil, or what a hold that is waited for began with
	sum
}

// sum is what the attempts of a call add up to.
type sum struct {
	answer    []byte // the body of a complete 200; nil if there was none
	attempts  int
	requestID string // of the last reply
	failure   error  // of the last attempt that failed by itself
	unknown   error  // of the last attempt after which the request may have been applied
	reason    error  // why the call ended, if failure does not say it
	mayPass   bool   // a later call may do better
}

// newCall returns a call to path.
func (c *Client) newCall(ctx context.Context, operation, method, path string, body []byte) *call {
	u := *c.baseURL
	if u.RawPath != "" {
		u.RawPath += path
	}
	u.Path += path
	return &call{client: c, operation: operation, ctx: ctx, waits: ctx, request: request{method: method, url: &u, body: body}}
}

// do makes as many attempts as the retry policy allows.
func (c *call) do() {
	if err := repeat(c.waits, c.next); err != nil {
		c.prevent(c.ended())
	}
	notThere := c.request.read && errors.Is(c.failure, ErrNotFound) // Which is an answer, too.
	if c.answer == nil && !notThere {
		c.log(slog.LevelWarn, "memoryplugin: giving up", errorAttr("error", c.failure), errorAttr("reason", c.reason))
	}
}

// next makes an attempt, or says how long to wait for one.
func (c *call) next() (wait time.Duration, again bool) {
	wait, err := c.ready()
	if err != nil {
		c.prevent(err)
		return 0, false
	}
	if wait > 0 {
		c.log(slog.LevelWarn, "memoryplugin: waiting", slog.Duration("wait", wait))
		return wait, true
	}
	start := time.Now()
	o := c.client.attempt(c.ctx, c.request)
	c.add(o)
	c.log(slog.LevelDebug, "memoryplugin: attempt", slog.Duration("duration", time.Since(start)), errorAttr("error", o.err))
	return c.plan(o)
}

// ready returns how long to wait before the next attempt can be made, or why
// there will be none.
func (c *call) ready() (wait time.Duration, err error) {
	wait, err = c.waitForHold()
	if c.delay > wait {
		wait, err = c.delay, outlasts(c.waits, c.delay)
	}
	c.delay = 0
	if limiter := c.client.limiter; limiter != nil && wait == 0 {
		if err = limiter.Wait(c.waits); err != nil {
			err = newForeignError("limiter", err, c.client.secret)
		} else {
			// Another call may have been told to hold back meanwhile. The limiter is
			// asked again after it, so that those it held don't all come at once.
			wait, err = c.waitForHold()
		}
	}
	if reason := c.ended(); reason != nil {
		return 0, reason
	}
	return wait, err
}

// waitForHold returns how long a Retry-After still holds the Client back.
func (c *call) waitForHold() (time.Duration, error) {
	remaining, reply := c.client.retries.hold.remaining()
	if remaining <= 0 {
		c.held = nil
		return 0, nil
	}
	c.held = fmt.Errorf("held back by an earlier reply: %w", reply)
	wait := c.client.retries.backoff.onTop(remaining)
	return wait, outlasts(c.waits, wait)
}

// ended returns why no further attempt may be made, or nil.
func (c *call) ended() error {
	if err := contextError(c.waits, c.client.secret); err != nil {
		return err
	}
	select {
	case <-c.stop: // Whoever closes it may be faster than whoever ends waits then.
		return ErrStopped
	default:
		return nil
	}
}

// prevent ends the call without another attempt.
func (c *call) prevent(err error) {
	c.client.retries.budget.give(c.cost)
	c.reason = err
	if c.attempts == 0 && c.held != nil {
		c.failure = c.held
	}
}

// add takes the outcome of an attempt.
func (c *call) add(o outcome) {
	c.attempts++
	c.last = o
	c.mayPass = o.retry
	if o.status != 0 {
		c.requestID = o.requestID
	}
	switch {
	case o.verdict == answered:
		c.answer = o.body
	case o.cut:
		c.reason = o.err
	default:
		c.failure = o.err
	}
	switch {
	case c.request.read: // It can't have changed anything.
	case o.verdict == unknown:
		c.unknown = o.err
	case o.repeated:
		c.unknown = errRepeated
	}
}

var errRepeated = errors.New("the http.Client's transport sent the request more than once")

// plan decides what follows o.
func (c *call) plan(o outcome) (wait time.Duration, again bool) {
	plan := c.client.retries.plan(c.waits, c.attempts, c.cost, o)
	c.cost = plan.cost
	if !o.cut {
		c.reason = plan.reason
	}
	if reason := c.ended(); reason != nil && plan.again {
		c.prevent(reason)
		return 0, false
	}
	if plan.again {
		c.log(slog.LevelWarn, "memoryplugin: retrying", errorAttr("error", o.err), slog.Duration("wait", plan.wait))
	}
	return plan.wait, plan.again
}

// newError returns the error of the call. A doubt says how many ids are unconfirmed.
func (c *call) newError(doubt, happened string, wrapped ...error) error {
	suffix := " (" + plural(c.attempts, "attempt", "attempts")
	if c.requestID != "" {
		suffix += ", request id " + quote(c.requestID)
	}
	return &callError{asked: c.operation + doubt, happened: happened, suffix: suffix + ")", unconfirmed: doubt != "", wrapped: wrapped}
}

// unanswered returns the error of a call that was not answered.
func (c *call) unanswered(doubt string) error {
	var texts []string
	var wrapped []error
	for _, err := range []error{c.failure, c.reason} {
		if err != nil {
			texts, wrapped = append(texts, err.Error()), append(wrapped, err)
		}
	}
	if c.unknown != nil && c.unknown != c.failure && c.unknown != c.reason {
		err := earlierAttempt(c.unknown)
		texts, wrapped = append(texts, err.Error()), append(wrapped, err)
	}
	return c.newError(doubt, strings.Join(texts, "; "), wrapped...)
}

// earlierAttempt is why the last attempt does not settle a call's outcome.
func earlierAttempt(err error) error {
	return fmt.Errorf("an earlier attempt may have been applied: %w", err)
}

// plural says how many there are of something.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// log tells of the last attempt.
func (c *call) log(level slog.Level, message string, attrs ...slog.Attr) {
	logger := c.client.logger
	if logger == nil || !logger.Enabled(c.ctx, level) {
		return
	}
	about := []slog.Attr{
		slog.String("method", c.request.method),
		slog.String("path", c.request.url.Path),
		slog.Int("attempt", c.attempts),
	}
	if c.last.status != 0 {
		about = append(about, slog.Int("status", c.last.status))
	}
	if c.last.requestID != "" {
		about = append(about, slog.String("request_id", c.last.requestID))
	}
	logger.LogAttrs(c.ctx, level, message, append(about, attrs...)...)
}

// errorAttr is empty if there is no error, and for a reply: its status says
// enough, and its words may name ids. Handlers leave out an empty Attr, and
// quote the others.
func errorAttr(key string, err error) slog.Attr {
	switch err := err.(type) {
	case nil:
		return slog.Attr{}
	case *foreignError:
		return slog.String(key, err.say(err.text))
	case *retryAfterTooLong: // It wraps a reply, but does not quote it.
		return slog.String(key, err.Error())
	}
	if _, isReply := errors.AsType[*ErrorResponse](err); isReply || errors.Is(err, ErrUnexpectedResponse) {
		return slog.Attr{}
	}
	return slog.String(key, err.Error())
}
