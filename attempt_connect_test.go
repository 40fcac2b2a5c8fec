package memoryplugin_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestARefusedConnectionIsRetriedAndDeletesNothing(t *testing.T) {
	client := newClient(t, "http://"+closedPort(t), memoryplugin.WithMaxRetries(2))

	result, err := deleteA(t.Context(), client)

	requireNotDeleted(t, result, err)
	assert.Equal(t, 3, result.Attempts)
	if runtime.GOOS != "windows" {
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}

func TestADialThatFailsDeletesNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		dials int32
	}{
		{"connection refused", syscall.ECONNREFUSED, 3},
		{"network unreachable", syscall.ENETUNREACH, 3},
		{"lost while connecting", io.EOF, 3},
		{"name server unreachable", &net.DNSError{Err: "connection refused", Name: "localhost", IsTemporary: true}, 3},
		{"name server slow", &net.DNSError{Err: "i/o timeout", Name: "localhost", IsTimeout: true}, 3},
		{"name server broken", &net.DNSError{Err: "server misbehaving", Name: "localhost"}, 3},
		{"no such host", &net.DNSError{Err: "no such host", Name: "localhost", IsNotFound: true}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var dials atomic.Int32
			tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: tt.err}
			}}
			client := newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(2))
			result, err := deleteA(t.Context(), client)

			requireNotDeleted(t, result, err)
			assert.ErrorIs(t, err, tt.err)
			assert.Equal(t, tt.dials, dials.Load())
			assert.EqualValues(t, tt.dials, result.Attempts)
		})
	}
}

func TestADialThatFailsAtFirstIsForgottenOnceTheServerAnswers(t *testing.T) {
	srv := listen(t, answer(ok(`{"deleted":[],"count":0}`)))
	var dialer net.Dialer
	var dials atomic.Int32
	tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) == 1 {
			return nil, syscall.ECONNREFUSED
		}
		return dialer.DialContext(ctx, network, addr)
	}}

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr)))

	require.NoError(t, err)
	assert.Equal(t, onlyA, result.NotListed)
	assert.Equal(t, 2, result.Attempts)
}

func TestADialThatFailsAfterALostReplyLeavesTheOutcomeUnknown(t *testing.T) {
	srv := listen(t, func(c *wireConn) { c.receive() })
	var dialer net.Dialer
	var dials atomic.Int32
	tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			return nil, syscall.ECONNREFUSED
		}
		return dialer.DialContext(ctx, network, addr)
	}}

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr), memoryplugin.WithMaxRetries(2)))

	requireUnconfirmed(t, result, err)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.ErrorIs(t, err, io.EOF, "why the outcome is unknown")
	assert.Equal(t, 3, result.Attempts)
}

func TestAContextThatIsDoneBeforeTheCallSendsNothing(t *testing.T) {
	srv := listen(t, answer(ok(onlyADeleted)))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errOperator)

	result, err := deleteA(ctx, newClient(t, srv.URL))

	requireNotDeleted(t, result, err)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, errOperator)
	assert.Zero(t, result.Attempts)
	assert.Zero(t, srv.accepted.Load())
}

func TestAContextThatIsCancelledWhileDialingDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := inMemoryWire(t, (*wireConn).stall)
		ctx, cancel := context.WithCancelCause(t.Context())
		connect := make(chan struct{})
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			cancel(errOperator)
			<-connect
			return srv.dial(ctx, network, addr)
		}

		result, err := deleteA(ctx, newClient(t, srv.URL, through(tr)))

		requireNotDeleted(t, result, err)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, errOperator)
		assert.Equal(t, 1, result.Attempts)

		// The transport keeps what it dialed for later: nothing may be sent on it.
		close(connect)
		synctest.Wait()
		assert.EqualValues(t, 1, srv.accepted.Load())
		assert.Zero(t, srv.requests.Load())
	})
}

func TestADeadlineThatEndsWhileDialingDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errOperator)
		defer cancel()
		tr := &http.Transport{DialContext: dialForever(t)}

		result, err := deleteA(ctx, newClient(t, "http://localhost", through(tr)))

		requireNotDeleted(t, result, err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, errOperator)
		assert.Equal(t, 1, result.Attempts)
	})
}

// dialForever dials until the test ends.
func dialForever(t testing.TB) func(context.Context, string, string) (net.Conn, error) {
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	return func(context.Context, string, string) (net.Conn, error) {
		<-ended
		return nil, net.ErrClosed
	}
}

func TestAContextThatEndsWhileWaitingForAFreeConnectionDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := inMemoryWire(t, func(c *wireConn) { c.receive(); c.stall() })
		tr.MaxConnsPerHost = 1
		client := newClient(t, srv.URL, through(tr))
		busy, release := context.WithCancel(t.Context())
		var first sync.WaitGroup
		first.Go(func() { _, _ = deleteA(busy, client) })
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		result, err := deleteA(ctx, client)

		requireNotDeleted(t, result, err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		release()
		first.Wait()
		assert.EqualValues(t, 1, srv.requests.Load())
	})
}

func TestAnAttemptThatTimesOutWhileDialingIsRetriedAndDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &http.Transport{DialContext: dialForever(t)}
		client := newClient(t, "http://localhost", through(tr),
			memoryplugin.WithMaxRetries(2), memoryplugin.WithAttemptTimeout(7*time.Second))

		result, err := deleteA(t.Context(), client)

		requireNotDeleted(t, result, err)
		assert.Equal(t, 3, result.Attempts)
		assertAttemptTimedOut(t, 7*time.Second, err)
	})
}

func TestAnAttemptThatTimesOutBeforeItConnectsDeletesNothing(t *testing.T) {
	srv := listen(t, answer(ok(onlyADeleted)))
	client := newClient(t, srv.URL, memoryplugin.WithMaxRetries(1), memoryplugin.WithAttemptTimeout(1))

	result, err := deleteA(t.Context(), client)

	requireNotDeleted(t, result, err)
	assert.Zero(t, srv.accepted.Load())
}

func TestADialTimeoutOfTheTransportIsRetriedAndDeletesNothing(t *testing.T) {
	dialer := net.Dialer{Timeout: time.Nanosecond}
	tr := &http.Transport{DialContext: dialer.DialContext}
	client := newClient(t, "http://127.0.0.1:9", through(tr), memoryplugin.WithMaxRetries(2))

	// Its error is context.DeadlineExceeded, as net has it, but no context ended.
	result, err := deleteA(t.Context(), client)

	requireNotDeleted(t, result, err)
	assert.Equal(t, 3, result.Attempts)
}
