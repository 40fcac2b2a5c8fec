package memoryplugin_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestACertificateThatCannotBeTrustedIsNotRetriedAndDeletesNothing(t *testing.T) {
	server, client := testTLS(t)
	for name, tr := range map[string]*http.Transport{
		"of an unknown authority": {},
		"for another host":        {TLSClientConfig: &tls.Config{RootCAs: client.RootCAs, ServerName: "memoryplugin.com"}},
		"that has expired": {TLSClientConfig: &tls.Config{RootCAs: client.RootCAs, Time: func() time.Time {
			return time.Now().AddDate(100, 0, 0)
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := listenTLS(t, server, answer(ok(onlyADeleted)))

			result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr)))

			requireNotDeleted(t, result, err)
			var certificate *tls.CertificateVerificationError
			assert.ErrorAs(t, err, &certificate)
			assert.Equal(t, 1, result.Attempts)
			assert.EqualValues(t, 1, srv.accepted.Load())
			assert.Zero(t, srv.requests.Load())
		})
	}
}

func TestTheSDKsOwnTransportChecksCertificates(t *testing.T) {
	server, _ := testTLS(t)
	srv := listenTLS(t, server, answer(ok(onlyADeleted)))

	result, err := deleteA(t.Context(), newClient(t, srv.URL))

	requireNotDeleted(t, result, err)
	assert.Equal(t, 1, result.Attempts)
}

func TestATLSClientThatMeetsAPlainPortIsNotRetriedAndDeletesNothing(t *testing.T) {
	for name, step := range map[string]func(*wireConn){
		"of a web server": answer("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"of something else": func(c *wireConn) {
			c.send("SSH-2.0-OpenSSH_9.9\r\n")
			c.stall()
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := listen(t, step)

			result, err := deleteA(t.Context(), newClient(t, srv.https()))

			requireNotDeleted(t, result, err)
			assert.Equal(t, 1, result.Attempts)
			assert.EqualValues(t, 1, srv.accepted.Load())
		})
	}
}

func TestAPlainPortIsKnownByTheNameThatAnHTTPClientGivesIt(t *testing.T) {
	srv := serve(t, reply(400, ""))
	tr := transport(func(r *http.Request) (*http.Response, error) { return new(http.Client).Do(r) })

	result, err := deleteA(t.Context(), newClient(t, "https"+srv.URL[len("http"):], through(tr)))

	requireNotDeleted(t, result, err)
	assert.ErrorIs(t, err, http.ErrSchemeMismatch)
	assert.Equal(t, 1, result.Attempts)
}

func TestAHandshakeThatFailsIsRetriedAndDeletesNothing(t *testing.T) {
	for name, step := range map[string]func(*wireConn){
		"closed at once":   func(*wireConn) {},
		"reset at once":    (*wireConn).reset,
		"closed in it":     func(c *wireConn) { _, _ = c.r.Peek(100) },
		"reset in it":      func(c *wireConn) { _, _ = c.r.Peek(100); c.reset() },
		"cut in a record":  func(c *wireConn) { _, _ = c.r.Peek(100); c.send("\x16\x03\x03\x01\x00\x02") },
		"refused by alert": func(c *wireConn) { _, _ = c.r.Peek(100); c.send("\x15\x03\x03\x00\x02\x02\x28") },
	} {
		t.Run(name, func(t *testing.T) {
			srv := listen(t, step)

			result, err := deleteA(t.Context(), newClient(t, srv.https(), memoryplugin.WithMaxRetries(2)))

			requireNotDeleted(t, result, err)
			assert.Equal(t, 3, result.Attempts)
			assert.EqualValues(t, 3, srv.accepted.Load())
		})
	}
}

func TestAHandshakeThatFailsAtFirstIsForgottenOnceTheServerAnswers(t *testing.T) {
	server, client := testTLS(t)
	srv := listenTLS(t, server, func(*wireConn) {}, answer(ok(`{"deleted":[],"count":0}`)))

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(&http.Transport{TLSClientConfig: client})))

	require.NoError(t, err)
	assert.Equal(t, onlyA, result.NotListed)
	assert.Equal(t, 2, result.Attempts)
}

func TestAHandshakeTimeoutOfTheTransportIsRetriedAndDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := inMemoryWire(t, (*wireConn).stall)
		tr.TLSHandshakeTimeout = time.Second

		result, err := deleteA(t.Context(), newClient(t, srv.https(), through(tr), memoryplugin.WithMaxRetries(2)))

		requireNotDeleted(t, result, err)
		assert.Equal(t, 3, result.Attempts)
		assert.EqualValues(t, 3, srv.accepted.Load())
	})
}

func TestAContextThatEndsInTheHandshakeDeletesNothing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	srv := listen(t, func(c *wireConn) {
		_, _ = c.r.Peek(100)
		cancel(errOperator)
		c.stall()
	})

	result, err := deleteA(ctx, newClient(t, srv.https()))

	requireNotDeleted(t, result, err)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, errOperator)
	assert.Equal(t, 1, result.Attempts)
}

func TestAServerThatWantsACertificateHasARequestOnlyAfterTheHandshake(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version uint16
		check   func(testing.TB, *memoryplugin.DeleteConversationsResult, error)
	}{
		{"TLS 1.2 refuses in the handshake", tls.VersionTLS12, requireNotDeleted},
		{"TLS 1.3 refuses after it", tls.VersionTLS13, requireUnconfirmed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, client := testTLS(t)
			server.ClientAuth, client.MaxVersion = tls.RequireAnyClientCert, tt.version
			srv := listenTLS(t, server, answer(ok(onlyADeleted)))
			tr := &http.Transport{TLSClientConfig: client}

			result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr), memoryplugin.WithMaxRetries(1)))

			tt.check(t, result, err)
			assert.Equal(t, 2, result.Attempts)
			assert.Zero(t, srv.requests.Load())
		})
	}
}

// viaProxy is the SDK's own transport, which reaches everything through a proxy.
func viaProxy(t testing.TB, proxy string) *http.Transport {
	t.Helper()
	u, err := url.Parse(proxy)
	require.NoError(t, err)
	tr := memoryplugin.NewTransport()
	tr.Proxy = http.ProxyURL(u)
	return tr
}

func TestAProxyThatRefusesATunnelIsNamedWithItsStatus(t *testing.T) {
	for _, tt := range []struct {
		status   string
		attempts int
	}{
		{"302 Found", 1},
		{"403 Forbidden", 1},
		{"407 Proxy Authentication Required", 1},
		{"502 Bad Gateway", 3},
		{"503 Service Unavailable", 3},
	} {
		t.Run(tt.status, func(t *testing.T) {
			proxy := listen(t, answer("HTTP/1.1 "+tt.status+"\r\nContent-Length: 0\r\n\r\n"))
			client := newClient(t, "https://example.com", through(viaProxy(t, proxy.URL)), memoryplugin.WithMaxRetries(2))

			result, err := deleteA(t.Context(), client)

			requireNotDeleted(t, result, err)
			assert.ErrorContains(t, err, "the proxy "+strings.TrimPrefix(proxy.URL, "http://")+" refused to connect: "+tt.status)
			assert.NotErrorAs(t, err, new(*memoryplugin.ErrorResponse), "as if the API had said it")
			assert.NotErrorIs(t, err, memoryplugin.ErrForbidden)
			assert.Equal(t, tt.attempts, result.Attempts)
			assert.EqualValues(t, tt.attempts, proxy.accepted.Load())
		})
	}
}

func TestATunnelThatIsNotOpenedIsRetriedAndDeletesNothing(t *testing.T) {
	for name, step := range map[string]func(*wireConn){
		"the proxy closes":  answer(""),
		"the proxy resets":  func(c *wireConn) { c.receive(); c.reset() },
		"it is no proxy":    answer("SSH-2.0-OpenSSH_9.9\r\n\r\n"),
		"the tunnel is cut": answer("HTTP/1.1 200 OK\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Value
			proxy := listen(t, func(c *wireConn) {
				head, _ := c.r.Peek(len("CONNECT example.com:443 "))
				asked.Store(string(head))
				step(c)
			})
			client := newClient(t, "https://example.com", through(viaProxy(t, proxy.URL)), memoryplugin.WithMaxRetries(2))

			result, err := deleteA(t.Context(), client)

			requireNotDeleted(t, result, err)
			assert.Equal(t, "CONNECT example.com:443 ", asked.Load())
			assert.Equal(t, 3, result.Attempts)
			assert.EqualValues(t, 3, proxy.accepted.Load())
		})
	}
}

func TestARefusedTunnelOfACallersTransportDeletesNothing(t *testing.T) {
	proxy := listen(t, answer("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))
	plain := &http.Transport{Proxy: viaProxy(t, proxy.URL).Proxy} // It does not tell the status.

	result, err := deleteA(t.Context(), newClient(t, "https://example.com", through(plain)))

	requireNotDeleted(t, result, err)
}

func TestAProxyThatCannotBeReachedIsRetriedAndDeletesNothing(t *testing.T) {
	for _, baseURL := range []string{"https://example.com", "http://example.com"} {
		t.Run(baseURL, func(t *testing.T) {
			client := newClient(t, baseURL, memoryplugin.WithInsecureHTTP(),
				through(viaProxy(t, "http://"+closedPort(t))), memoryplugin.WithMaxRetries(2))

			result, err := deleteA(t.Context(), client)

			requireNotDeleted(t, result, err)
			assert.Equal(t, 3, result.Attempts)
		})
	}
}

func TestAProxyThatHangsIsGivenUpAfterTheAttemptsTimeoutAndDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The transport goes on with it in the background: the proxy ends that.
		proxy, tr := inMemoryWire(t, func(*wireConn) { <-t.Context().Done() })
		tr.Proxy = viaProxy(t, proxy.URL).Proxy
		client := newClient(t, "https://example.com", through(tr),
			memoryplugin.WithMaxRetries(2), memoryplugin.WithAttemptTimeout(7*time.Second))

		result, err := deleteA(t.Context(), client)

		requireNotDeleted(t, result, err)
		assertAttemptTimedOut(t, 7*time.Second, err)
		assert.Equal(t, 3, result.Attempts)
	})
}

func TestAProxyIsToldNothingOfTheRequest(t *testing.T) {
	server, client := testTLS(t)
	var told http.Header
	proxy := listen(t, func(c *wireConn) {
		r, err := http.ReadRequest(c.r)
		if err != nil {
			return
		}
		told = r.Header
		c.send("HTTP/1.1 200 OK\r\n\r\n")
		inside := tls.Server(c.Conn, server)
		answer(ok(onlyADeleted))(&wireConn{inside, bufio.NewReader(inside), c.wire})
	})
	tr := viaProxy(t, proxy.URL)
	tr.TLSClientConfig = client

	_, err := deleteA(t.Context(), newClient(t, "https://example.com", through(tr)))

	require.NoError(t, err)
	assert.NotContains(t, told, "Authorization")
}

func TestAReplyOfAPlainProxyCountsLikeOneOfTheServer(t *testing.T) {
	for _, tt := range []struct {
		status   string
		check    func(testing.TB, *memoryplugin.DeleteConversationsResult, error)
		attempts int
	}{
		{"403 Forbidden", requireNotDeleted, 1},
		{"407 Proxy Authentication Required", requireNotDeleted, 1},
		{"502 Bad Gateway", requireUnconfirmed, 2}, // It may have passed the request on.
		{"504 Gateway Timeout", requireUnconfirmed, 2},
	} {
		t.Run(tt.status, func(t *testing.T) {
			proxy := listen(t, answer("HTTP/1.1 "+tt.status+"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
			client := newClient(t, "http://example.com", memoryplugin.WithInsecureHTTP(),
				through(viaProxy(t, proxy.URL)), memoryplugin.WithMaxRetries(1))

			result, err := deleteA(t.Context(), client)

			tt.check(t, result, err)
			assert.ErrorContains(t, err, tt.status)
			assert.ErrorAs(t, err, new(*memoryplugin.ErrorResponse))
			assert.Equal(t, tt.attempts, result.Attempts)
		})
	}
}

// On a port that speaks TLS, a record without it is damage on the way.
func TestADamagedReplyOnceConnectedIsRetriedAndUnconfirmed(t *testing.T) {
	server, client := testTLS(t)
	srv := listenTLS(t, server, func(c *wireConn) {
		c.receive()
		_, _ = io.WriteString(c.Conn.(*tls.Conn).NetConn(), ok(onlyADeleted))
	}, answer(ok(nothingDeleted)))

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(&http.Transport{TLSClientConfig: client})))

	requireUnconfirmed(t, result, err)
	assert.Equal(t, 2, result.Attempts)
}
