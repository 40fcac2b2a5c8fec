package patience_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/patience"
)

var errBusy = errors.New("busy")

// newPatience has made progress just now.
func newPatience(limit time.Duration) *patience.Patience {
	p := &patience.Patience{Limit: limit, OnWait: func(time.Time, error) {}}
	p.Progress()
	return p
}

// waits returns how long each wait takes, until there is none.
func waits(t *testing.T, p *patience.Patience, asked time.Duration) []time.Duration {
	t.Helper()
	var waits []time.Duration
	for {
		start := time.Now()
		if !p.Wait(t.Context(), asked, errBusy) {
			assert.Equal(t, start, time.Now(), "it waited for nothing")
			return waits
		}
		waits = append(waits, time.Since(start))
	}
}

func seconds(n ...int) []time.Duration {
	var waits []time.Duration
	for _, s := range n {
		waits = append(waits, time.Duration(s)*time.Second)
	}
	return waits
}

func TestWaitsDoubleUpToAMinuteUntilPatienceIsOver(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limit, asked time.Duration
		want         []time.Duration
	}{
		"five minutes":                     {5 * time.Minute, 0, seconds(5, 10, 20, 40, 60, 60, 60, 45)},
		"none":                             {0, 0, nil},
		"less than the first wait":         {3 * time.Second, 0, seconds(3)},
		"just the first wait":              {5 * time.Second, 0, seconds(5)},
		"the server asks for less":         {time.Minute, time.Second, seconds(5, 10, 20, 25)},
		"the server asks for more":         {time.Minute, 15 * time.Second, seconds(15, 15, 20)},
		"the server asks for all there is": {time.Minute, time.Minute, seconds(60)},
		"the server asks for too much":     {time.Minute, 61 * time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				assert.Equal(t, test.want, waits(t, newPatience(test.limit), test.asked))
			})
		})
	}
}

func TestProgressBeginsTheWaitsAndThePatienceAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(40 * time.Second)
		assert.Equal(t, seconds(5, 10, 20, 5), waits(t, p, 0))

		p.Progress()

		assert.Equal(t, seconds(5, 10, 20, 5), waits(t, p, 0))
	})
}

func TestTimeThatARoundTakesCountsAsPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(time.Minute)

		time.Sleep(52 * time.Second) // Of the bubble.

		assert.Equal(t, seconds(5, 3), waits(t, p, 0))
	})
}

func TestTheFirstWaitCanBeSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &patience.Patience{Limit: 10 * time.Second, First: time.Second, OnWait: func(time.Time, error) {}}
		p.Progress()

		assert.Equal(t, seconds(1, 2, 4, 3), waits(t, p, 0))
	})
}

func TestAWaitSaysUntilWhenAndWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(time.Minute)
		var until time.Time
		var why error
		p.OnWait = func(u time.Time, w error) { until, why = u, w }

		assert.True(t, p.Wait(t.Context(), 0, errBusy))

		assert.Equal(t, time.Now(), until)
		assert.Equal(t, errBusy, why)
	})
}

func TestTheEndOfAContextEndsAWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()

		assert.False(t, newPatience(time.Minute).Wait(ctx, 0, errBusy))

		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestAWaitAfterTheEndOfAContextIsNotAnnounced(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := newPatience(time.Minute)
	p.OnWait = func(time.Time, error) { t.Error("it was announced") }

	assert.False(t, p.Wait(ctx, 0, errBusy))
}

func TestMayPassForReplies(t *testing.T) {
	t.Parallel()
	for _, status := range []int{408, 425, 429, 460, 499, 500, 502, 503, 504, 599} {
		assert.True(t, patience.MayPass(fmt.Errorf("of a call: %w", &memoryplugin.ErrorResponse{StatusCode: status}), false), status)
	}
	for _, status := range []int{302, 307, 400, 401, 403, 404, 413, 422, 501, 505} {
		assert.False(t, patience.MayPass(fmt.Errorf("of a call: %w", &memoryplugin.ErrorResponse{StatusCode: status}), true), status)
	}
	limited := &memoryplugin.ErrorResponse{StatusCode: 403, RetryAfter: time.Second}
	assert.True(t, patience.MayPass(limited, false), "403 with a Retry-After")
}

func TestMayPassForOtherErrors(t *testing.T) {
	t.Parallel()
	unknownHost := &net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}
	badCertificate := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	for name, test := range map[string]struct {
		err                  error
		atFirst, onceItSpoke bool
	}{
		"none":                   {nil, false, false},
		"no connection":          {syscall.ECONNREFUSED, true, true},
		"a lost connection":      {io.EOF, true, true},
		"a busy name server":     {&net.DNSError{IsTemporary: true}, true, true},
		"an unknown host":        {unknownHost, false, true},
		"a bad certificate":      {badCertificate, false, true},
		"an unexpected response": {memoryplugin.ErrUnexpectedResponse, false, false},
		"an invalid argument":    {memoryplugin.ErrInvalidArgument, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrapped := test.err
			if wrapped != nil {
				wrapped = fmt.Errorf("of a call: %w", test.err)
			}
			assert.Equal(t, test.atFirst, patience.MayPass(wrapped, false), "before the server has answered")
			assert.Equal(t, test.onceItSpoke, patience.MayPass(wrapped, true), "after the server has answered")
		})
	}
}

func TestRetryAfterIsWhatTheReplyAsksFor(t *testing.T) {
	t.Parallel()
	asks := &memoryplugin.ErrorResponse{StatusCode: 429, RetryAfter: 7 * time.Second}
	assert.Equal(t, 7*time.Second, patience.RetryAfter(fmt.Errorf("of a call: %w", asks)))
	assert.Zero(t, patience.RetryAfter(errBusy))
	assert.Zero(t, patience.RetryAfter(nil))
}
