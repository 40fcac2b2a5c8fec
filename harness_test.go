package memoryplugin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

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
