package memoryplugin_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// testKey is the API key of every Client made by newClient.
const testKey = "sk-test-0123456789abcdef"

// script is a server on loopback that answers each request by the next of its
// steps, and all further ones by the last.
type script struct {
	URL string

	mu       sync.Mutex
	requests []request
}

// request is what a script has received.
type request struct {
	*http.Request
	body string
}

// serve starts a script. It is closed with the test.
func serve(t testing.TB, steps ...http.HandlerFunc) *script {
	t.Helper()
	s := &script{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		s.mu.Lock()
		step := steps[min(len(s.requests), len(steps)-1)]
		s.requests = append(s.requests, request{r, string(body)})
		s.mu.Unlock()
		step(w, r)
	}))
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

// received returns the requests so far.
func (s *script) received() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

// reply answers with a status, a body, and headers as name, value, name, value.
func reply(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// drop closes the connection without a reply.
func drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// newClient makes a Client for the server at url, which retries with next to no wait.
func newClient(t testing.TB, url string, opts ...memoryplugin.Option) *memoryplugin.Client {
	t.Helper()
	own := []memoryplugin.Option{
		memoryplugin.WithBaseURL(url),
		memoryplugin.WithBackoff(time.Microsecond, time.Millisecond),
	}
	client, err := memoryplugin.NewClient(testKey, append(own, opts...)...)
	require.NoError(t, err)
	return client
}

// transport is a RoundTripper in memory.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// memory is a script without a socket, which would keep the clock of a bubble
// from moving.
type memory struct {
	steps []http.HandlerFunc
	start time.Time

	mu       sync.Mutex
	arrivals []time.Duration
}

// remember starts a memory, whose clock begins now.
func remember(steps ...http.HandlerFunc) *memory {
	return &memory{steps: steps, start: time.Now()}
}

func (m *memory) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			resp, err = nil, io.EOF
			if r.Context().Err() != nil {
				err = context.Cause(r.Context()) // As a http.Transport does.
			}
		} else if p != nil {
			panic(p)
		}
	}()
	m.mu.Lock()
	step := m.steps[min(len(m.arrivals), len(m.steps)-1)]
	m.arrivals = append(m.arrivals, time.Since(m.start))
	m.mu.Unlock()
	w := httptest.NewRecorder()
	step(w, r)
	return w.Result(), nil
}

// arrived returns when each request came, from the start.
func (m *memory) arrived() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.arrivals)
}

// waits returns the times between the requests.
func (m *memory) waits() []time.Duration {
	arrived := m.arrived()
	waits := make([]time.Duration, len(arrived)-1)
	for i := range waits {
		waits[i] = arrived[i+1] - arrived[i]
	}
	return waits
}

// client makes a Client with the default policy, but for opts.
func (m *memory) client(t testing.TB, opts ...memoryplugin.Option) *memoryplugin.Client {
	t.Helper()
	own := memoryplugin.WithHTTPClient(&http.Client{Transport: m})
	client, err := memoryplugin.NewClient(testKey, append([]memoryplugin.Option{own}, opts...)...)
	require.NoError(t, err)
	return client
}

var (
	onlyA    = []string{"a"}
	aDeleted = reply(200, `{"deleted":["a"],"count":1}`)
)

// slow answers by step after a time, even if the attempt was given up.
func slow(d time.Duration, step http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		<-time.After(d)
		step(w, r)
	}
}

// mute gives no reply until the attempt is given up.
func mute(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// hasReply asserts that err has a reply with a status.
func hasReply(t *testing.T, status int, err error) {
	t.Helper()
	var resp *memoryplugin.ErrorResponse
	if assert.ErrorAs(t, err, &resp) {
		assert.Equal(t, status, resp.StatusCode)
	}
}

// once turns retries off, and jitter with them, so that times are exact.
func once(t testing.TB, m *memory, opts ...memoryplugin.Option) *memoryplugin.Client {
	t.Helper()
	return m.client(t, append(opts, memoryplugin.WithMaxRetries(0), memoryplugin.WithBackoff(0, 0))...)
}

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
	require.NotErrorIs(t, err, memoryplugin.ErrUnconfirmed)
	require.Equal(t, []string{"a"}, result.NotDeleted)
	require.Empty(t, result.Unconfirmed)
	require.Empty(t, result.Deleted)
}

func requireUnconfirmed(t testing.TB, result *memoryplugin.DeleteConversationsResult, err error) {
	t.Helper()
	require.ErrorIs(t, err, memoryplugin.ErrUnconfirmed)
	require.Equal(t, []string{"a"}, result.Unconfirmed)
	require.Empty(t, result.NotDeleted)
	require.Empty(t, result.Deleted)
}

// testTLS returns what a server needs to be trusted as 127.0.0.1 and
// example.com by a client that has the second.
func testTLS(t testing.TB, protocols ...string) (server, client *tls.Config) {
	t.Helper()
	srv := httptest.NewTLSServer(nil) // It has a certificate to lend.
	defer srv.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(srv.Certificate())
	server = &tls.Config{Certificates: srv.TLS.Certificates, NextProtos: protocols}
	return server, &tls.Config{RootCAs: trusted}
}

// listenTLS starts a wire on loopback that speaks TLS.
func listenTLS(t testing.TB, config *tls.Config, steps ...func(*wireConn)) *wire {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	w := &wire{URL: "https://" + l.Addr().String(), steps: steps}
	w.serveListener(t, l)
	return w
}

// https is the URL of a wire to a client that expects TLS there.
func (w *wire) https() string { return "https" + w.URL[len("http"):] }

// batchServer answers each request by its step, which is given the ids that are
// to be deleted: on loopback, or in memory where time is faked.
type batchServer struct {
	URL  string
	step batchStep

	mu       sync.Mutex
	requests [][]string
}

type batchStep func(w http.ResponseWriter, r *http.Request, ids []string)

// serveBatches starts a batchServer on loopback. It is closed with the test.
func serveBatches(t testing.TB, step batchStep) *batchServer {
	t.Helper()
	s := &batchServer{step: step}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

func (s *batchServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var deletion struct{ IDs []string }
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &deletion) != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.requests = append(s.requests, deletion.IDs)
	s.mu.Unlock()
	s.step(w, r, deletion.IDs)
}

func (s *batchServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// inMemory makes a Client that is served without a network.
func (s *batchServer) inMemory(t testing.TB) *memoryplugin.Client {
	t.Helper()
	return newClient(t, "http://localhost", memoryplugin.WithHTTPClient(&http.Client{Transport: s}))
}

// received returns the ids of each request so far.
func (s *batchServer) received() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// confirmDeleted answers that all ids are deleted.
func confirmDeleted(w http.ResponseWriter, _ *http.Request, ids []string) {
	_ = json.NewEncoder(w).Encode(map[string]any{"deleted": ids, "count": len(ids)})
}

func numberedIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("conv-%05d", i)
	}
	return ids
}

// logLine is what a reader of the log looks for. A wait that is not there is 0.
type logLine struct {
	Level, Method, Path string
	Attempt, Status     int
	Wait                time.Duration
	Reason              string
}

// newLog returns an option that logs everything, and what is logged so far.
func newLog() (memoryplugin.Option, func() []logLine) {
	var buf bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return memoryplugin.WithLogger(logger), func() []logLine {
		var lines []logLine
		for text := range strings.Lines(buf.String()) {
			var line logLine
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				panic(err)
			}
			lines = append(lines, line)
		}
		return lines
	}
}

// limiterFunc is a Limiter.
type limiterFunc func(context.Context) error

func (f limiterFunc) Wait(ctx context.Context) error { return f(ctx) }

// outsideCall is a call that is ended by an error from outside the SDK.
type outsideCall struct {
	ctx context.Context
	opt memoryplugin.Option
}

func outsideCalls(t *testing.T, err error) map[string]outsideCall {
	t.Helper()
	ended, end := context.WithCancelCause(t.Context())
	end(err)
	limiter := limiterFunc(func(context.Context) error { return err })
	failing := transport(func(*http.Request) (*http.Response, error) { return nil, err })
	return map[string]outsideCall{
		"a cause":     {ended, memoryplugin.WithMaxRetries(0)},
		"a limiter":   {t.Context(), memoryplugin.WithLimiter(limiter)},
		"a transport": {t.Context(), memoryplugin.WithHTTPClient(&http.Client{Transport: failing})},
	}
}

// assertAccounted checks what holds for the result and the error of every call
// for n ids.
func assertAccounted(t *testing.T, result *memoryplugin.DeleteConversationsResult, err error, n int) {
	t.Helper()
	require.NotNil(t, result)
	assert.NotNil(t, result.Deleted)
	assert.NotNil(t, result.NotListed)
	assert.NotNil(t, result.NotDeleted)
	assert.NotNil(t, result.Unconfirmed)
	seen := map[string]bool{}
	for _, id := range allIDs(result) {
		assert.False(t, seen[id], "%q is reported twice", id)
		seen[id] = true
	}
	assert.Len(t, seen, n)
	if err == nil {
		assert.Empty(t, result.NotDeleted, "after a nil error")
		assert.Empty(t, result.Unconfirmed, "after a nil error")
	}
	assert.Equal(t, len(result.Unconfirmed) > 0, errors.Is(err, memoryplugin.ErrUnconfirmed), "unconfirmed %q, error %v", result.Unconfirmed, err)
}

func allIDs(result *memoryplugin.DeleteConversationsResult) []string {
	return slices.Concat(result.Deleted, result.NotListed, result.NotDeleted, result.Unconfirmed)
}

// assertAttemptTimedOut asserts that err is about an attempt that took longer
// than d, while the caller's context has time left.
func assertAttemptTimedOut(t testing.TB, d time.Duration, err error) {
	t.Helper()
	assert.ErrorContains(t, err, d.String())
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
	var netErr net.Error
	if assert.ErrorAs(t, err, &netErr) {
		assert.True(t, netErr.Timeout())
	}
}

const nothingDeleted = `{"deleted":[],"count":0}`

// idempotencyKey is the header for which net/http would send a request again.
var idempotencyKey = memoryplugin.WithHeader("Idempotency-Key", "1")

// closedPort returns the address of a port on loopback where nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}
