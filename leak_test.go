package memoryplugin_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// The attempt's timeout is an hour: whatever it holds would still be there.
func TestAThousandFailingCallsLeaveNothingBehind(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	own := &http.Transport{}
	client := srv.Client(memoryplugin.WithMaxRetries(0),
		memoryplugin.WithAttemptTimeout(time.Hour), memoryplugin.WithHTTPClient(&http.Client{Transport: own}))
	refused := newClient(t, "http://127.0.0.1:1", memoryplugin.WithMaxRetries(0), memoryplugin.WithAttemptTimeout(time.Hour))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	ids := []string{"a"}
	before := runtime.NumGoroutine()

	for i := range 200 {
		srv.FailNext(memoryplugintest.Fault{Status: 503}, memoryplugintest.Fault{Drop: true}, memoryplugintest.Fault{CutReply: true})
		for range 3 {
			_, err := client.DeleteConversations(t.Context(), ids)
			require.Error(t, err, i)
		}
		_, err := client.DeleteConversations(cancelled, ids)
		require.Error(t, err)
		_, err = refused.DeleteConversations(t.Context(), ids)
		require.Error(t, err)
	}

	own.CloseIdleConnections()
	const ofEventually = 1
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+ofEventually }, 10*time.Second, time.Millisecond)
}

func TestCallsThatEndInsideAReplyLeaveNothingBehind(t *testing.T) {
	var open atomic.Int32
	srv := listen(t, func(c *wireConn) {
		open.Add(1)
		defer open.Add(-1)
		c.receive()
		c.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 99\r\n\r\n{")
		c.stall()
	})
	tr := &http.Transport{}
	short := newClient(t, srv.URL, through(tr), memoryplugin.WithMaxRetries(1), memoryplugin.WithAttemptTimeout(time.Millisecond))
	long := newClient(t, srv.URL, through(tr), memoryplugin.WithAttemptTimeout(time.Hour))
	before := runtime.NumGoroutine()

	for range 200 {
		_, err := deleteA(t.Context(), short)
		require.Error(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		_, err = deleteA(ctx, long)
		require.ErrorIs(t, err, context.Canceled)
	}

	const ofEventually = 1
	assert.Eventually(t, func() bool {
		tr.CloseIdleConnections() // It may have dialed for an attempt that was over by then.
		return open.Load() == 0 && runtime.NumGoroutine() <= before+ofEventually
	}, 10*time.Second, time.Millisecond)
}

// countedContext counts the contexts made from it that were not released.
type countedContext struct {
	context.Context
	afterFuncs atomic.Int32
}

// AfterFunc is what package context calls for each context made from this one.
func (c *countedContext) AfterFunc(func()) (stop func() bool) {
	c.afterFuncs.Add(1)
	return func() bool { c.afterFuncs.Add(-1); return true }
}

// Done is not that of the embedded context, so that package context does not look behind this one.
func (c *countedContext) Done() <-chan struct{} { return make(chan struct{}) }

func TestAnAttemptReleasesItsContextAndTimer(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"200": reply(200, onlyADeleted), "401": reply(401, ""), "503": reply(503, ""), "no reply": drop,
	} {
		ctx := &countedContext{Context: context.Background()}
		srv := serve(t, step)
		client := newClient(t, srv.URL, memoryplugin.WithAttemptTimeout(time.Hour), memoryplugin.WithMaxRetries(2))

		_, _ = client.DeleteConversations(ctx, []string{"a"})

		assert.Eventually(t, func() bool { return ctx.afterFuncs.Load() == 0 }, 10*time.Second, time.Millisecond, name)
	}
}

func TestAFailingCallLeavesTheIdleConnectionsOfTheCaller(t *testing.T) {
	var connections atomic.Int32
	srv := httptest.NewUnstartedServer(reply(503, `{}`))
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	client := newClient(t, srv.URL, memoryplugin.WithMaxRetries(2), memoryplugin.WithHTTPClient(srv.Client()))

	for range 5 {
		_, err := client.DeleteConversations(t.Context(), []string{"a"})
		require.Error(t, err)
	}

	assert.EqualValues(t, 1, connections.Load())
}
