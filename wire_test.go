package memoryplugin_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
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

// errOperator is the cause of every context that a test ends.
var errOperator = errors.New("stopped by the operator")

// wire is a server that speaks raw bytes: its n-th connection is served by the
// n-th of its steps, all further ones by the last.
type wire struct {
	URL string

	steps    []func(*wireConn)
	accepted atomic.Int32
	requests atomic.Int32
	pipes    sync.Map // of connections in memory
}

// wireConn is a connection as its server sees it.
type wireConn struct {
	net.Conn
	r    *bufio.Reader
	wire *wire
}

// listen starts a wire on loopback.
func listen(t testing.TB, steps ...func(*wireConn)) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{URL: "http://" + l.Addr().String(), steps: steps}
	w.serveListener(t, l)
	return w
}

func (w *wire) serveListener(t testing.TB, l net.Listener) {
	var serving sync.WaitGroup
	var conns sync.Map
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, nil)
			serving.Go(func() { w.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		serving.Wait()
	})
}

// inMemoryWire returns a wire, and a transport whose connections to it are
// pipes, so that both can be used in a synctest bubble.
func inMemoryWire(t testing.TB, steps ...func(*wireConn)) (*wire, *http.Transport) {
	w := &wire{URL: "http://localhost", steps: steps}
	tr := &http.Transport{DialContext: w.dial}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		w.pipes.Range(func(pipe, _ any) bool { pipe.(net.Conn).Close(); return true }) // Not all are idle.
	})
	return w, tr
}

func (w *wire) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	w.pipes.Store(server, nil)
	go w.serve(server)
	return client, nil
}

func (w *wire) serve(conn net.Conn) {
	defer conn.Close()
	n := int(w.accepted.Add(1))
	w.steps[min(n, len(w.steps))-1](&wireConn{conn, bufio.NewReader(conn), w})
}

// receive reads one whole request. It returns nil when the client has closed.
func (c *wireConn) receive() *http.Request {
	r, err := http.ReadRequest(c.r)
	if err != nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil
	}
	c.wire.requests.Add(1)
	return r
}

func (c *wireConn) send(text string) { _, _ = io.WriteString(c.Conn, text) }

// flood sends text until the client has had enough.
func (c *wireConn) flood(text string) {
	for {
		if _, err := io.WriteString(c.Conn, text); err != nil {
			return
		}
	}
}

// stall does nothing until the client closes the connection.
func (c *wireConn) stall() { _, _ = io.Copy(io.Discard, c.r) }

// reset closes a TCP connection with RST.
func (c *wireConn) reset() { _ = c.Conn.(*net.TCPConn).SetLinger(0) }

// answer sends text to a request and closes the connection.
func answer(text string) func(*wireConn) {
	return func(c *wireConn) {
		c.receive()
		c.send(text)
	}
}

// ok is a complete reply with this body.
func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

const onlyADeleted = `{"deleted":["a"],"count":1}`

func through(rt http.RoundTripper) memoryplugin.Option {
	return memoryplugin.WithHTTPClient(&http.Client{Transport: rt})
}

func deleteA(ctx context.Context, client *memoryplugin.Client) (*memoryplugin.DeleteConversationsResult, error) {
	return client.DeleteConversations(ctx, []string{"a"})
}

func requireNotDeleted(t testing.TB, result *memoryplugin.DeleteConversationsResult, err error) {
	t.Helper()
	require.Error(t, err)
	require.NotErrorIs(t, err, memoryplugin.ErrOutcomeUnknown)
	require.Equal(t, []string{"a"}, result.NotDeleted)
	require.Empty(t, result.Unconfirmed)
	require.Empty(t, result.Deleted)
}

func requireUnconfirmed(t testing.TB, result *memoryplugin.DeleteConversationsResult, err error) {
	t.Helper()
	require.ErrorIs(t, err, memoryplugin.ErrOutcomeUnknown)
	require.Equal(t, []string{"a"}, result.Unconfirmed)
	require.Empty(t, result.NotDeleted)
	require.Empty(t, result.Deleted)
}

func TestARefusedConnectionIsRetriedAndDeletesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())

	client := newClient(t, "http://"+l.Addr().String(), memoryplugin.WithMaxRetries(2))
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
	assert.Equal(t, []string{"a"}, result.NotDeleted)
	assert.Equal(t, 2, result.Attempts)
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
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "7s")
	})
}

func TestAnAttemptThatTimesOutBeforeItConnectsDeletesNothing(t *testing.T) {
	srv := listen(t, answer(ok(onlyADeleted)))
	client := newClient(t, srv.URL, memoryplugin.WithMaxRetries(1), memoryplugin.WithAttemptTimeout(1))

	result, err := deleteA(t.Context(), client)

	requireNotDeleted(t, result, err)
	assert.Zero(t, srv.accepted.Load())
}

func TestADialTimeoutOfTheTransportIsNotTheContexts(t *testing.T) {
	dialer := net.Dialer{Timeout: time.Nanosecond}
	var timeout error
	tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		timeout = err
		return conn, err
	}}

	result, err := deleteA(t.Context(), newClient(t, "http://127.0.0.1:9", through(tr), memoryplugin.WithMaxRetries(0)))

	requireNotDeleted(t, result, err)
	require.ErrorIs(t, timeout, context.DeadlineExceeded, "what net calls a time-out")
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestAResponseHeaderTimeoutOfTheTransportIsNotTheContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := inMemoryWire(t, func(c *wireConn) { c.receive(); c.stall() })
		tr.ResponseHeaderTimeout = time.Second

		result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr), memoryplugin.WithMaxRetries(2)))

		requireUnconfirmed(t, result, err)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.EqualValues(t, 3, srv.requests.Load())
	})
}

func TestALostReplyIsRetriedAndUnconfirmed(t *testing.T) {
	gzipped := gzipOf(t, onlyADeleted)
	for _, tt := range []struct {
		name string
		step func(*wireConn)
	}{
		{"closed before a reply", func(c *wireConn) { c.receive() }},
		{"reset before a reply", func(c *wireConn) { c.receive(); c.reset() }},
		{"half a status line", answer("HTTP/1.1 2")},
		{"not HTTP", answer("SSH-2.0-OpenSSH_9.9\r\n\r\n")},
		{"a status that is no number", answer("HTTP/1.1 2OO OK\r\n\r\n" + onlyADeleted)},
		{"a header that is none", answer("HTTP/1.1 200 OK\r\n: x\r\n\r\n" + onlyADeleted)},
		{"a negative length", answer("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + onlyADeleted)},
		{"two lengths", answer("HTTP/1.1 200 OK\r\nContent-Length: 27\r\nContent-Length: 28\r\n\r\n" + onlyADeleted)},
		{"cut in the headers", answer("HTTP/1.1 200 OK\r\nContent-Le")},
		{"cut before the body", answer("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n")},
		{"cut in the body", answer("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n" + onlyADeleted[:26])},
		{"reset in the body", func(c *wireConn) {
			answer("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n" + onlyADeleted[:26])(c)
			c.reset()
		}},
		{"valid JSON that was to go on", answer("HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n" + onlyADeleted)},
		{"cut in a chunk", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\n" + onlyADeleted[:20])},
		{"cut before the last chunk", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\n" + onlyADeleted + "\r\n")},
		{"a chunk of no length", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n" + onlyADeleted + "\r\n0\r\n\r\n")},
		{"gzip cut short", answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzipped[:len(gzipped)-4])},
		{"more than 1 MiB of headers", answer("HTTP/1.1 200 OK\r\nX-Big: " + strings.Repeat("x", 1<<20) + ok(onlyADeleted)[15:])},
		{"3 MiB of status line", answer("HTTP/1.1 200 " + strings.Repeat("x", 3<<20) + ok(onlyADeleted)[15:])},
		{"interim replies without end", func(c *wireConn) { c.receive(); c.flood("HTTP/1.1 103 Early Hints\r\n\r\n") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := listen(t, tt.step)

			result, err := deleteA(t.Context(), newClient(t, srv.URL, memoryplugin.WithMaxRetries(1)))

			requireUnconfirmed(t, result, err)
			assert.NotErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.Less(t, len(err.Error()), 1000)
			assert.Equal(t, 2, result.Attempts)
			assert.EqualValues(t, 2, srv.requests.Load())
		})
	}
}

func gzipOf(t testing.TB, text string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.String()
}

func TestALostReplyLeavesWhatTheNextAnswerLeavesOutUnconfirmed(t *testing.T) {
	srv := listen(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n"+onlyADeleted), answer(ok(`{"deleted":["b"],"count":1}`)))

	result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b"})

	require.ErrorIs(t, err, memoryplugin.ErrOutcomeUnknown)
	assert.Equal(t, []string{"b"}, result.Deleted)
	assert.Equal(t, []string{"a"}, result.Unconfirmed)
}

func TestACompleteReplyThatIsNotDocumentedIsUnconfirmedAndNotRetried(t *testing.T) {
	for _, tt := range []struct {
		name string
		step func(*wireConn)
	}{
		{"a status of 000", answer("HTTP/1.1 000 Nothing" + ok(onlyADeleted)[15:])},
		{"a status of 999", answer("HTTP/1.1 999 Much" + ok(onlyADeleted)[15:])},
		{"202", answer("HTTP/1.1 202 Accepted" + ok(onlyADeleted)[15:])},
		{"204", answer("HTTP/1.1 204 No Content\r\n\r\n")},
		{"206", answer("HTTP/1.1 206 Partial Content" + ok(onlyADeleted)[15:])},
		{"an empty 200", answer(ok(""))},
		{"a length that ends inside the JSON", answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 26\r\n\r\n" + onlyADeleted)},
		{"switching protocols", func(c *wireConn) {
			c.receive()
			c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			c.stall()
		}},
		{"switching to a protocol that floods", func(c *wireConn) {
			c.receive()
			c.flood("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		}},
		{"a body without end", func(c *wireConn) {
			c.receive()
			c.send("HTTP/1.1 200 OK\r\n\r\n")
			c.flood(strings.Repeat(" ", 64<<10))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := listen(t, tt.step)

			result, err := deleteA(t.Context(), newClient(t, srv.URL))

			requireUnconfirmed(t, result, err)
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.Equal(t, 1, result.Attempts)
			assert.EqualValues(t, 1, srv.requests.Load())
		})
	}
}

func TestAReplyOfUnknownLengthThatIsCutIsUnconfirmed(t *testing.T) {
	srv := listen(t, answer("HTTP/1.0 200 OK\r\n\r\n"+onlyADeleted[:15]))

	result, err := deleteA(t.Context(), newClient(t, srv.URL))

	requireUnconfirmed(t, result, err)
}

func TestAReplyThatUnpacksWithoutEndTakesBoundedMemory(t *testing.T) {
	bomb := gzipOf(t, strings.Repeat(" ", 1<<20)) // Members of a gzip stream can follow each other without end.
	srv := listen(t, func(c *wireConn) {
		c.receive()
		c.send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
		c.flood(bomb)
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	result, err := deleteA(t.Context(), newClient(t, srv.URL))

	runtime.ReadMemStats(&after)
	requireUnconfirmed(t, result, err)
	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(128<<20))
}

func TestACompleteReplyIsReadInEveryFormThatHTTPHas(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"with a length", ok(onlyADeleted)},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + onlyADeleted[:5] + "\r\n16\r\n" + onlyADeleted[5:] + "\r\n0\r\n\r\n"},
		{"up to the end of the connection", "HTTP/1.1 200 OK\r\n\r\n" + onlyADeleted},
		{"over HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n" + onlyADeleted},
		{"without a reason phrase", "HTTP/1.1 200\r\n\r\n" + onlyADeleted},
		{"packed", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzipOf(t, onlyADeleted)},
		{"after interim replies", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(onlyADeleted)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := listen(t, answer(tt.text))

			result, err := deleteA(t.Context(), newClient(t, srv.URL))

			require.NoError(t, err)
			assert.Equal(t, []string{"a"}, result.Deleted)
			assert.Equal(t, 1, result.Attempts)
		})
	}
}

func TestAReplyBeforeTheRequestIsSentWholeIsTaken(t *testing.T) {
	srv, tr := inMemoryWire(t, func(c *wireConn) {
		_, _ = http.ReadRequest(c.r) // Not its body: a pipe has no room for it.
		c.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
		<-t.Context().Done()
	})

	result, err := newClient(t, srv.URL, through(tr)).DeleteConversations(t.Context(), []string{strings.Repeat("a", 1<<20)})

	require.ErrorIs(t, err, memoryplugin.ErrPayloadTooLarge)
	assert.Len(t, result.NotDeleted, 1)
}

func TestASlowReplyIsRetriedAndItsErrorNamesTheAttemptsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, step := range map[string]func(*wireConn){
			"before the headers": func(c *wireConn) { c.receive(); c.stall() },
			"in the headers":     func(c *wireConn) { c.receive(); c.send("HTTP/1.1 200 OK\r\n"); c.stall() },
			"in the body":        func(c *wireConn) { c.receive(); c.send(ok(onlyADeleted)[:50]); c.stall() },
		} {
			srv, tr := inMemoryWire(t, step)
			client := newClient(t, srv.URL, through(tr),
				memoryplugin.WithMaxRetries(2), memoryplugin.WithAttemptTimeout(7*time.Second))
			// The caller has time left.
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()

			result, err := deleteA(ctx, client)

			requireUnconfirmed(t, result, err)
			assert.ErrorContains(t, err, "7s", name)
			assert.NotErrorIs(t, err, context.DeadlineExceeded, name)
			assert.EqualValues(t, 3, srv.requests.Load(), name)
			assert.Equal(t, 3, result.Attempts, name)
		}
	})
}

func TestAContextThatIsCancelledOnceConnectedIsUnconfirmedAndNotRetried(t *testing.T) {
	for name, sent := range map[string]string{
		"before the headers": "",
		"in the headers":     "HTTP/1.1 200 OK\r\n",
		"in the body":        ok(onlyADeleted)[:50],
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			srv := listen(t, func(c *wireConn) {
				c.receive()
				c.send(sent)
				cancel(errOperator)
				c.stall()
			})

			result, err := deleteA(ctx, newClient(t, srv.URL))

			requireUnconfirmed(t, result, err)
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, errOperator)
			assert.Equal(t, 1, result.Attempts)
			assert.EqualValues(t, 1, srv.requests.Load())
		})
	}
}

func TestADeadlineThatEndsOnceConnectedIsUnconfirmedAndNotRetried(t *testing.T) {
	for name, sent := range map[string]string{
		"before the headers": "",
		"in the body":        ok(onlyADeleted)[:50],
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, tr := inMemoryWire(t, func(c *wireConn) { c.receive(); c.send(sent); c.stall() })
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errOperator)
				defer cancel()

				result, err := deleteA(ctx, newClient(t, srv.URL, through(tr)))

				requireUnconfirmed(t, result, err)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorIs(t, err, errOperator)
				assert.Equal(t, 1, result.Attempts)
				assert.EqualValues(t, 1, srv.requests.Load())
			})
		})
	}
}

func TestACompleteAnswerWinsOverAContextThatEndsMeanwhile(t *testing.T) {
	srv := listen(t, answer(ok(onlyADeleted)))
	ctx, cancel := context.WithCancel(t.Context())
	tr := transport(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			resp.Body = &endingBody{resp.Body, cancel}
		}
		return resp, err
	})

	result, err := deleteA(ctx, newClient(t, srv.URL, through(tr)))

	require.NoError(t, err)
	require.Error(t, ctx.Err())
	assert.Equal(t, []string{"a"}, result.Deleted)
}

// endingBody calls ended when it has been read to its end.
type endingBody struct {
	io.ReadCloser
	ended func()
}

func (b *endingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended()
	}
	return n, err
}

// The replies whose status decides, whatever becomes of their body.
var decided = []struct {
	line     string
	is       error // nil where no sentinel error has this status
	unknown  bool
	attempts int // with one retry
}{
	{"HTTP/1.1 401 Unauthorized\r\n", memoryplugin.ErrUnauthorized, false, 1},
	{"HTTP/1.1 413 Content Too Large\r\n", memoryplugin.ErrPayloadTooLarge, false, 1},
	{"HTTP/1.1 429 Too Many Requests\r\n", memoryplugin.ErrRateLimited, false, 2},
	{"HTTP/1.1 503 Service Unavailable\r\n", memoryplugin.ErrOutcomeUnknown, true, 2},
	{"HTTP/1.1 302 Found\r\n", memoryplugin.ErrOutcomeUnknown, true, 1},
}

func TestTheStatusOfAnErrorDecidesWhateverBecomesOfItsBody(t *testing.T) {
	for name, body := range map[string]func(*wireConn){
		"it stalls":          func(c *wireConn) { c.send("Content-Length: 99\r\n\r\n" + `{"error":"n`); c.stall() },
		"it never begins":    func(c *wireConn) { c.send("Content-Length: 99\r\n\r\n"); c.stall() },
		"it never ends":      func(c *wireConn) { c.send("\r\n"); c.flood(strings.Repeat("no ", 1000)) },
		"it is cut":          func(c *wireConn) { c.send("Content-Length: 99\r\n\r\n" + `{"error":"n`) },
		"its chunks are bad": func(c *wireConn) { c.send("Transfer-Encoding: chunked\r\n\r\nxyz\r\n") },
		"its gzip is bad":    func(c *wireConn) { c.send("Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno") },
		"it says deleted":    func(c *wireConn) { c.send(ok(onlyADeleted)[17:]) },
	} {
		for _, tt := range decided {
			t.Run(tt.line[9:12]+" and "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv, tr := inMemoryWire(t, func(c *wireConn) {
						c.receive()
						c.send(tt.line)
						body(c)
					})

					result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr), memoryplugin.WithMaxRetries(1)))

					if tt.unknown {
						requireUnconfirmed(t, result, err)
					} else {
						requireNotDeleted(t, result, err)
					}
					var reply *memoryplugin.ErrorResponse
					require.ErrorAs(t, err, &reply)
					assert.Equal(t, tt.line[9:12], fmt.Sprint(reply.StatusCode))
					assert.ErrorIs(t, err, tt.is)
					assert.Equal(t, tt.attempts, result.Attempts)
				})
			})
		}
	}
}

func TestTheStatusOfAnErrorDecidesEvenIfTheContextEndsInsideItsBody(t *testing.T) {
	for _, tt := range decided {
		t.Run(tt.line[9:12], func(t *testing.T) {
			srv := listen(t, func(c *wireConn) {
				c.receive()
				c.send(tt.line + "Content-Length: 99\r\n\r\n" + `{"error":"n`)
				c.stall()
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			tr := transport(func(r *http.Request) (*http.Response, error) {
				defer cancel(errOperator)
				return http.DefaultTransport.RoundTrip(r)
			})

			result, err := deleteA(ctx, newClient(t, srv.URL, through(tr)))

			if tt.unknown {
				requireUnconfirmed(t, result, err)
			} else {
				requireNotDeleted(t, result, err)
			}
			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, tt.line[9:12], fmt.Sprint(reply.StatusCode))
			assert.Equal(t, 1, result.Attempts)
			// Where the call would have gone on, the context ended it.
			if tt.attempts > 1 {
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, errOperator)
			}
		})
	}
}

func TestADeadlineThatEndsInsideTheBodyOfARetriedErrorIsInTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := inMemoryWire(t, func(c *wireConn) {
			c.receive()
			c.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 99\r\n\r\n")
			c.stall()
		})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errOperator)
		defer cancel()

		result, err := deleteA(ctx, newClient(t, srv.URL, through(tr)))

		requireUnconfirmed(t, result, err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, errOperator)
		assert.ErrorContains(t, err, "503")
		assert.Equal(t, 1, result.Attempts)
	})
}

// withIdempotencyKey adds the header for which net/http sends a request again.
func withIdempotencyKey(rt http.RoundTripper) http.RoundTripper {
	return transport(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Idempotency-Key", "1")
		return rt.RoundTrip(r)
	})
}

func TestAnAttemptIsOneRequestEvenIfAnIdleConnectionDies(t *testing.T) {
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"plain":                   func(rt http.RoundTripper) http.RoundTripper { return rt },
		"with an Idempotency-Key": withIdempotencyKey,
	} {
		t.Run(name, func(t *testing.T) {
			srv := listen(t, func(c *wireConn) {
				c.receive()
				c.send(ok(onlyADeleted))
				c.receive()
			})
			client := newClient(t, srv.URL, through(wrap(&http.Transport{})), memoryplugin.WithMaxRetries(0))
			_, err := deleteA(t.Context(), client)
			require.NoError(t, err)

			result, err := deleteA(t.Context(), client)

			requireUnconfirmed(t, result, err)
			assert.EqualValues(t, 2, srv.requests.Load())
			assert.EqualValues(t, 1, srv.accepted.Load(), "both over one connection")
		})
	}
}

func TestAServerThatClosesEachConnectionAsItBecomesIdleSeesNoRequestTwice(t *testing.T) {
	srv := listen(t, answer(ok(onlyADeleted)))
	client := newClient(t, srv.URL, through(withIdempotencyKey(&http.Transport{})))
	attempts := 0
	for range 100 {
		result, err := deleteA(t.Context(), client)
		require.NoError(t, err)
		attempts += result.Attempts
	}

	assert.LessOrEqual(t, int(srv.requests.Load()), attempts)
}

func TestATransportGetsARequestThatItCanSendOnlyOnce(t *testing.T) {
	srv := serve(t, reply(503, ""), reply(200, onlyADeleted))
	tr := transport(func(r *http.Request) (*http.Response, error) {
		assert.Nil(t, r.GetBody)
		assert.EqualValues(t, len(`{"ids":["a"]}`), r.ContentLength)
		return http.DefaultTransport.RoundTrip(r)
	})

	_, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr)))

	require.NoError(t, err)
	assert.Len(t, srv.received(), 2)
}

func TestASmallRequestIsWrittenAtOnce(t *testing.T) {
	var first string
	// A read of a pipe returns what one write has written.
	srv, tr := inMemoryWire(t, func(c *wireConn) {
		buf := make([]byte, 64<<10)
		n, _ := c.Read(buf)
		first = string(buf[:n])
		c.send(ok(onlyADeleted))
		c.stall()
	})

	_, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr)))

	require.NoError(t, err)
	assert.Contains(t, first, "DELETE /api/chat-history/chats HTTP/1.1\r\n")
	assert.Contains(t, first, "\r\n\r\n"+`{"ids":["a"]}`)
}

func TestCallsFollowEachOtherOverOneConnection(t *testing.T) {
	srv := listen(t, func(c *wireConn) {
		for _, line := range []string{"200 OK", "401 Unauthorized", "404 Not Found", "413 Content Too Large", "429 Too Many Requests", "503 Service Unavailable", "200 OK"} {
			c.receive()
			// As much as is read of an error's body.
			body := onlyADeleted + strings.Repeat(" ", 64<<10-len(onlyADeleted))
			c.send("HTTP/1.1 " + line + ok(body)[15:])
		}
		c.stall()
	})
	client := newClient(t, srv.URL, memoryplugin.WithMaxRetries(0))

	for range 7 {
		_, _ = deleteA(t.Context(), client)
	}

	assert.EqualValues(t, 7, srv.requests.Load())
	assert.EqualValues(t, 1, srv.accepted.Load())
}

func TestRetriesFollowEachOtherOverOneConnection(t *testing.T) {
	srv := listen(t, func(c *wireConn) {
		for range 4 {
			c.receive()
			c.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}")
		}
		c.receive()
		c.send(ok(onlyADeleted))
		c.stall()
	})

	result, err := deleteA(t.Context(), newClient(t, srv.URL))

	require.NoError(t, err)
	assert.Equal(t, 5, result.Attempts)
	assert.EqualValues(t, 1, srv.accepted.Load())
}

// closingBody knows whether it was closed.
type closingBody struct {
	io.Reader
	closed atomic.Int32
}

func (b *closingBody) Close() error { b.closed.Add(1); return nil }

func TestATransportThatReturnsNothingIsUnconfirmed(t *testing.T) {
	tr := transport(func(*http.Request) (*http.Response, error) { return nil, nil })

	result, err := deleteA(t.Context(), newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(1)))

	requireUnconfirmed(t, result, err)
	assert.Equal(t, 2, result.Attempts)
}

func TestAReplyThatATransportReturnsWithAnErrorIsClosedAndNotTaken(t *testing.T) {
	body := &closingBody{Reader: strings.NewReader(onlyADeleted)}
	tr := transport(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: body}, io.ErrUnexpectedEOF
	})

	result, err := deleteA(t.Context(), newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(0)))

	requireUnconfirmed(t, result, err)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.EqualValues(t, 1, body.closed.Load())
}

func TestEveryBodyIsClosed(t *testing.T) {
	for _, status := range []int{0, 101, 200, 204, 302, 401, 429, 503, 999} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			body := &closingBody{Reader: strings.NewReader("{}")}
			tr := transport(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Body: body}, nil
			})

			_, err := deleteA(t.Context(), newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(0)))

			require.Error(t, err)
			assert.EqualValues(t, 1, body.closed.Load())
		})
	}
}

func TestAReplyWithoutABodyIsReadAsAnEmptyOne(t *testing.T) {
	for status, is := range map[int]error{
		200: memoryplugin.ErrUnexpectedResponse,
		401: memoryplugin.ErrUnauthorized,
		503: memoryplugin.ErrOutcomeUnknown,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			tr := transport(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status}, nil
			})

			_, err := deleteA(t.Context(), newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(0)))

			assert.ErrorIs(t, err, is)
		})
	}
}

func TestALengthThatATransportMakesUpDoesNotDecide(t *testing.T) {
	tr := transport(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, ContentLength: 3, Body: io.NopCloser(strings.NewReader(onlyADeleted))}, nil
	})

	result, err := deleteA(t.Context(), newClient(t, "http://localhost", through(tr)))

	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, result.Deleted)
}

func TestAnErrorOfATransportThatDoesNotTellIfItConnectedIsUnconfirmed(t *testing.T) {
	for _, failure := range []error{
		io.EOF,
		&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, // A text or type is no proof.
	} {
		t.Run(failure.Error(), func(t *testing.T) {
			tr := transport(func(*http.Request) (*http.Response, error) { return nil, failure })

			result, err := deleteA(t.Context(), newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(1)))

			requireUnconfirmed(t, result, err)
			assert.ErrorIs(t, err, failure)
			assert.Equal(t, 2, result.Attempts)
		})
	}
}

func TestADialThatFailsAfterAnotherTransportHasTakenTheRequestIsUnconfirmed(t *testing.T) {
	refused := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, syscall.ECONNREFUSED
	}}
	// A transport of another protocol, which tells nothing, with a fallback.
	tr := transport(func(r *http.Request) (*http.Response, error) {
		sent, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
		return refused.RoundTrip(r)
	})

	result, err := deleteA(t.Context(), newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(0)))

	requireUnconfirmed(t, result, err)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestATransportThatCallsTheEndOfTheContextByAnotherNameIsNotRetried(t *testing.T) {
	for _, retries := range []int{0, 4} {
		t.Run(fmt.Sprintf("%d retries", retries), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			tr := transport(func(*http.Request) (*http.Response, error) {
				cancel(errOperator)
				return nil, errors.New("request canceled")
			})

			result, err := deleteA(ctx, newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(retries)))

			requireUnconfirmed(t, result, err)
			assert.Equal(t, 1, result.Attempts)
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, errOperator)
		})
	}
}

func TestAFloodOfAStatusLineIsCutInTheError(t *testing.T) {
	for name, line := range map[string]string{
		"malformed": "HTTP/1.1 " + strings.Repeat("x", 3<<20),
		"a reason":  "HTTP/1.1 503 " + strings.Repeat("x", 3<<20),
	} {
		t.Run(name, func(t *testing.T) {
			srv := listen(t, answer(line+"\r\n\r\n"))

			// A caller's transport reads 10 MiB of headers.
			_, err := deleteA(t.Context(), newClient(t, srv.URL, through(&http.Transport{}), memoryplugin.WithMaxRetries(0)))

			require.Error(t, err)
			assert.Less(t, len(err.Error()), 1000)
		})
	}
}
