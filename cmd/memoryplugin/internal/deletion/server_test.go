package deletion_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// server is an account in memory: a socket would keep the clock of a bubble from
// moving.
type server struct {
	// answer says what becomes of the n-th request, from 1 on. nil serves all.
	answer func(n int, r *request) step
	start  time.Time

	mu       sync.Mutex
	ids      []string // that are there
	hidden   []string // there, but neither listed nor deleted
	applied  []string // that were deleted
	requests []*request
}

// request is what a server was asked.
type request struct {
	*http.Request
	at  time.Duration // since the start
	ids []string      // nil unless it is a deletion that was sent
}

func (r *request) isDeletion() bool { return r.Method == http.MethodDelete }

func (r *request) isList() bool { return !r.isDeletion() && !r.URL.Query().Has("conversationId") }

// step is how a server treats a request.
type step func(*server, *request) (*http.Response, error)

func newServer(ids ...string) *server {
	return &server{ids: slices.Clone(ids), start: time.Now()}
}

func (s *server) client(t *testing.T, opts ...memoryplugin.Option) *memoryplugin.Client {
	t.Helper()
	own := memoryplugin.WithHTTPClient(&http.Client{Transport: s})
	client, err := memoryplugin.NewClient("sk-test", append([]memoryplugin.Option{own}, opts...)...)
	require.NoError(t, err)
	return client
}

// atOnce are the settings without retries and jitter.
var atOnce = []memoryplugin.Option{memoryplugin.WithMaxRetries(0), memoryplugin.WithBackoff(0, 0)}

// impatient is a client that leaves every retry to the rounds, so that times are exact.
func (s *server) impatient(t *testing.T, opts ...memoryplugin.Option) *memoryplugin.Client {
	t.Helper()
	return s.client(t, append(opts, atOnce...)...)
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	r := &request{Request: req, at: time.Since(s.start)}
	s.mu.Lock()
	s.requests = append(s.requests, r)
	n := len(s.requests)
	s.mu.Unlock()
	if s.answer != nil {
		if step := s.answer(n, r); step != nil {
			return step(s, r)
		}
	}
	return serve(s, r)
}

// arrived returns the requests so far that match.
func (s *server) arrived(matches func(*request) bool) []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var some []*request
	for _, r := range s.requests {
		if matches(r) {
			some = append(some, r)
		}
	}
	return some
}

func anyRequest(*request) bool { return true }

// deletions returns when each deletion came.
func (s *server) deletions() []time.Duration {
	var times []time.Duration
	for _, r := range s.arrived((*request).isDeletion) {
		times = append(times, r.at)
	}
	return times
}

// sentIDs returns the ids of each deletion.
func (s *server) sentIDs() [][]string {
	var ids [][]string
	for _, r := range s.arrived((*request).isDeletion) {
		ids = append(ids, r.ids)
	}
	return ids
}

func (s *server) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.ids, id) || slices.Contains(s.hidden, id)
}

func (s *server) remaining() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.ids...)
}

// serve does what was asked.
func serve(s *server, r *request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.isDeletion():
		return reply(http.StatusOK, s.delete(r)), nil
	case r.isList():
		return reply(http.StatusOK, s.list(r)), nil
	}
	id := r.URL.Query().Get("conversationId")
	if slices.Contains(s.ids, id) || slices.Contains(s.hidden, id) {
		return reply(http.StatusOK, map[string]any{"id": id, "messages": []any{}, "total": 0}), nil
	}
	return reply(http.StatusNotFound, map[string]any{"error": "Conversation not found"}), nil
}

func (s *server) delete(r *request) map[string]any {
	r.read()
	deleted := []string{}
	for _, id := range r.ids {
		if i := slices.Index(s.ids, id); i >= 0 {
			s.ids = slices.Delete(s.ids, i, i+1)
			s.applied = append(s.applied, id)
			deleted = append(deleted, id)
		}
	}
	return map[string]any{"deleted": deleted, "count": len(deleted)}
}

// read takes the body off the wire.
func (r *request) read() {
	if r.ids != nil || !r.isDeletion() {
		return
	}
	var body struct{ IDs []string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		panic(err)
	}
	r.ids = body.IDs
}

func (s *server) list(r *request) map[string]any {
	const size = 100
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from := min((page-1)*size, len(s.ids))
	items := []map[string]any{}
	for _, id := range s.ids[from:min(from+size, len(s.ids))] {
		items = append(items, map[string]any{"id": id})
	}
	return map[string]any{"items": items, "page": page, "pageSize": size, "total": len(s.ids), "totalPages": (len(s.ids) + size - 1) / size}
}

func reply(status int, body any) *http.Response {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)),
	}
}

// refuse replies with a status, and does nothing.
func refuse(status int, header ...string) step {
	return func(_ *server, r *request) (*http.Response, error) {
		r.read()
		resp := reply(status, map[string]any{"error": "no"})
		for i := 0; i < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		return resp, nil
	}
}

// drop reads the request, and closes the connection.
func drop(_ *server, r *request) (*http.Response, error) {
	r.read()
	return nil, io.EOF
}

// lose does what was asked, but the reply is lost.
func lose(s *server, r *request) (*http.Response, error) {
	_, _ = serve(s, r)
	return nil, io.EOF
}

// applied does what was asked, and answers by another step.
func applied(then step) step {
	return func(s *server, r *request) (*http.Response, error) {
		_, _ = serve(s, r)
		return then(s, r)
	}
}

// unlisted answers that it has deleted nothing.
func unlisted(_ *server, r *request) (*http.Response, error) {
	r.read()
	return reply(http.StatusOK, map[string]any{"deleted": []string{}, "count": 0}), nil
}

// loginPage is what a proxy sends in place of the API.
func loginPage(_ *server, r *request) (*http.Response, error) {
	r.read()
	return reply(http.StatusOK, "<html>Log in</html>"), nil
}

// gatewayPage is a 404 that is not the API's own, and says nothing about a conversation.
func gatewayPage(_ *server, r *request) (*http.Response, error) {
	r.read()
	return reply(http.StatusNotFound, "<html>Not found</html>"), nil
}

// unreachable has no connection, because of err.
func unreachable(err error) step {
	return func(_ *server, r *request) (*http.Response, error) {
		httptrace.ContextClientTrace(r.Context()).GetConn("api.test:443")
		return nil, err
	}
}

var down = unreachable(syscall.ECONNREFUSED)

// slow answers by another step after a time, unless the request is given up.
func slow(d time.Duration, then step) step {
	return func(s *server, r *request) (*http.Response, error) {
		r.read()
		select {
		case <-time.After(d):
			return then(s, r)
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
}

// mute gives no reply until the request is given up.
func mute(_ *server, r *request) (*http.Response, error) {
	r.read()
	<-r.Context().Done()
	return nil, errors.New("gave up")
}

// script treats each deletion by the next of its steps, and all else as usual.
func script(steps ...step) func(int, *request) step {
	var mu sync.Mutex
	return func(_ int, r *request) step {
		mu.Lock()
		defer mu.Unlock()
		if !r.isDeletion() || len(steps) == 0 {
			return nil
		}
		next := steps[0]
		steps = steps[1:]
		return next
	}
}

// always treats every deletion alike.
func always(do step) func(int, *request) step {
	return func(_ int, r *request) step {
		if r.isDeletion() {
			return do
		}
		return nil
	}
}

// reads treats every request by do that is no deletion.
func reads(do step) func(int, *request) step {
	return func(_ int, r *request) step {
		if r.isDeletion() {
			return nil
		}
		return do
	}
}

// both asks one function, and then the other.
func both(first, second func(int, *request) step) func(int, *request) step {
	return func(n int, r *request) step {
		if step := first(n, r); step != nil {
			return step
		}
		return second(n, r)
	}
}
