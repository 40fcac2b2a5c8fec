// Package patience says which failures may pass, and how long to wait for that.
package patience

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

const (
	firstWait   = 5 * time.Second
	longestWait = time.Minute
)

// MayPass reports whether what failed with err may work later: the server says so,
// or no connection was obtained. An unknown host and a bad certificate are
// mistakes, unless the server has answered before.
func MayPass(err error, hasAnswered bool) bool {
	if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
		return reply.Retryable()
	}
	if err == nil || errors.Is(err, memoryplugin.ErrInvalidArgument) || errors.Is(err, memoryplugin.ErrUnexpectedResponse) {
		return false
	}
	host, _ := errors.AsType[*net.DNSError](err)
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	mistake := badCertificate || host != nil && host.IsNotFound
	return !mistake || hasAnswered
}

// RetryAfter returns how long the server asked to wait, or 0.
func RetryAfter(err error) time.Duration {
	if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
		return reply.RetryAfter
	}
	return 0
}

// Patience waits between rounds, as long as there is progress now and then.
type Patience struct {
	// Limit is how long to go on without progress.
	Limit time.Duration
	// First is the first wait. 0 means 5 seconds.
	First time.Duration
	// OnWait is called before each wait.
	OnWait func(until time.Time, why error)

	next     time.Duration
	progress time.Time   // the last one
	over     *time.Timer // of the Context, if there is one
}

// ErrOver is the cause with which a [Patience.Context] ends.
var ErrOver = errors.New("patience is over: nothing was achieved for too long")

// Progress says that something was achieved.
func (p *Patience) Progress() {
	p.next = cmp.Or(p.First, firstWait)
	p.progress = time.Now()
	if p.over != nil {
		p.over.Reset(p.Limit)
	}
}

// Context returns a context for a round. It ends with ctx, or once Limit has gone by
// without progress in this round. With a Limit of 0 it is ctx: one round is made in
// any case.
func (p *Patience) Context(ctx context.Context) (context.Context, func()) {
	if p.Limit <= 0 {
		return ctx, func() {}
	}
	ctx, end := context.WithCancelCause(ctx)
	p.over = time.AfterFunc(p.Limit, func() { end(ErrOver) })
	return ctx, func() {
		p.over.Stop()
		p.over = nil
		end(nil)
	}
}

// Wait waits before another round: First, doubled each time up to a minute, or
// what the server asked for. It reports whether to make that round: not if ctx
// ends, or if patience would.
func (p *Patience) Wait(ctx context.Context, asked time.Duration, why error) bool {
	left := time.Until(p.progress.Add(p.Limit))
	wait := max(asked, min(p.next, left))
	if wait > left || left <= 0 || ctx.Err() != nil {
		return false
	}
	p.next = min(2*p.next, longestWait)
	p.OnWait(time.Now().Add(wait), why)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
