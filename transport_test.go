package memoryplugin_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestHTTP2IsSpokenOnlyOnRequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		use  func(*http.Transport) http.RoundTripper
		want string
	}{
		{"as it is", func(tr *http.Transport) http.RoundTripper { return tr }, "HTTP/1.1"},
		{"a clone", func(tr *http.Transport) http.RoundTripper { return tr.Clone() }, "HTTP/1.1"},
		{"wrapped", func(tr *http.Transport) http.RoundTripper { return transport(tr.RoundTrip) }, "HTTP/1.1"},
		{"on request", func(tr *http.Transport) http.RoundTripper {
			tr.Protocols.SetHTTP2(true)
			return tr
		}, "HTTP/2.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var spoken string
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				spoken = r.Proto
				aDeleted(w, r)
			}))
			srv.EnableHTTP2 = true
			srv.StartTLS()
			t.Cleanup(srv.Close)
			tr := memoryplugin.NewTransport()
			_, tr.TLSClientConfig = testTLS(t)

			_, err := deleteA(t.Context(), newClient(t, srv.URL, through(tt.use(tr))))

			require.NoError(t, err)
			assert.Equal(t, tt.want, spoken)
		})
	}
}

func TestWhatIsSetOnATransportIsNotSetOnTheNext(t *testing.T) {
	memoryplugin.NewTransport().Protocols.SetHTTP2(true)

	assert.False(t, memoryplugin.NewTransport().Protocols.HTTP2())
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

// ownTransport is one as NewTransport makes it, but for connections in memory.
func ownTransport(t testing.TB, steps ...func(*wireConn)) (*wire, *http.Transport) {
	t.Helper()
	srv, pipes := inMemoryWire(t, steps...)
	tr := memoryplugin.NewTransport()
	tr.DialContext = pipes.DialContext
	t.Cleanup(tr.CloseIdleConnections)
	return srv, tr
}

// confirmEach answers every request over a connection.
func confirmEach(c *wireConn) {
	for c.receive() != nil {
		c.send(ok(onlyADeleted))
	}
}

func TestAConnectionIdlesForLessThanTheFiveSecondsOfCommonServers(t *testing.T) {
	for _, tt := range []struct {
		idle        time.Duration
		connections int32
	}{
		{3 * time.Second, 1},
		{4500 * time.Millisecond, 2},
	} {
		t.Run(tt.idle.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, tr := ownTransport(t, confirmEach)
				client := newClient(t, srv.URL, through(tr))

				_, err := deleteA(t.Context(), client)
				require.NoError(t, err)
				<-time.After(tt.idle)
				_, err = deleteA(t.Context(), client)
				require.NoError(t, err)

				assert.Equal(t, tt.connections, srv.accepted.Load())
			})
		})
	}
}

func TestEveryWorkerOfABatchKeepsItsConnection(t *testing.T) {
	const workers = 200
	synctest.Test(t, func(t *testing.T) {
		srv, tr := ownTransport(t, func(c *wireConn) {
			for c.receive() != nil {
				<-time.After(time.Second) // So that all requests are in flight at once.
				c.send(ok(onlyADeleted))
			}
		})
		client := newClient(t, srv.URL, through(tr))

		for range 2 {
			var calls sync.WaitGroup
			for range workers {
				calls.Go(func() { _, _ = deleteA(t.Context(), client) })
			}
			calls.Wait()
		}

		assert.EqualValues(t, 2*workers, srv.requests.Load())
		assert.EqualValues(t, workers, srv.accepted.Load())
	})
}

// net/http reads the variables once in a process, so this test runs itself in another one.
func TestTheProxiesOfTheEnvironmentAreHonoured(t *testing.T) {
	const inTheOther = "MEMORYPLUGIN_TEST_PROXIES"
	if os.Getenv(inTheOther) == "" {
		self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		self.Env = append(os.Environ(), inTheOther+"=1",
			"HTTPS_PROXY=http://secure.example:3128", "HTTP_PROXY=http://plain.example:3128", "NO_PROXY=direct.example")
		output, err := self.CombinedOutput()
		require.NoError(t, err, string(output))
		return
	}
	for target, want := range map[string]string{
		memoryplugin.DefaultBaseURL: "http://secure.example:3128",
		"http://api.example":        "http://plain.example:3128",
		"https://direct.example":    "",
	} {
		r, err := http.NewRequest(http.MethodDelete, target, nil)
		require.NoError(t, err)

		proxy, err := memoryplugin.NewTransport().Proxy(r)

		require.NoError(t, err)
		if want == "" {
			assert.Nil(t, proxy, target)
		} else {
			assert.Equal(t, want, proxy.String(), target)
		}
	}
}
