package memoryplugin_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// pointerLimiter is a Limiter with a pointer receiver.
type pointerLimiter struct{}

func (*pointerLimiter) Wait(context.Context) error { return nil }

func TestAnOptionThatCannotBeUsedIsRefused(t *testing.T) {
	for name, opt := range map[string]memoryplugin.Option{
		"nil option":                  nil,
		"nil http.Client":             memoryplugin.WithHTTPClient(nil),
		"nil logger":                  memoryplugin.WithLogger(nil),
		"nil limiter":                 memoryplugin.WithLimiter(nil),
		"nil pointer as limiter":      memoryplugin.WithLimiter((*pointerLimiter)(nil)),
		"nil func as limiter":         memoryplugin.WithLimiter(limiterFunc(nil)),
		"empty user agent":            memoryplugin.WithUserAgent(""),
		"blank user agent":            memoryplugin.WithUserAgent(" "),
		"user agent with a newline":   memoryplugin.WithUserAgent("my-service/1\r\nX-Forged: 1"),
		"user agent with an escape":   memoryplugin.WithUserAgent("my-service/1\x1b[2J"),
		"user agent with a delete":    memoryplugin.WithUserAgent("my-service/1\x7f"),
		"retries below 0":             memoryplugin.WithMaxRetries(-1),
		"backoff below 0":             memoryplugin.WithBackoff(-1, time.Second),
		"backoff with max below min":  memoryplugin.WithBackoff(2*time.Second, time.Second),
		"longest Retry-After below 0": memoryplugin.WithMaxRetryAfter(-1),
		"attempt timeout below 0":     memoryplugin.WithAttemptTimeout(-1),
	} {
		t.Run(name, func(t *testing.T) {
			client, err := memoryplugin.NewClient(testKey, opt)

			assert.Nil(t, client)
			assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
		})
	}
}

func TestEveryOptionAcceptsItsLeastValue(t *testing.T) {
	client, err := memoryplugin.NewClient(testKey,
		memoryplugin.WithMaxRetries(0),
		memoryplugin.WithBackoff(0, 0),
		memoryplugin.WithMaxRetryAfter(0),
		memoryplugin.WithAttemptTimeout(0),
		memoryplugin.WithHTTPClient(&http.Client{}),
		memoryplugin.WithLogger(slog.New(slog.DiscardHandler)),
		memoryplugin.WithLimiter(&pointerLimiter{}),
		memoryplugin.WithHeader("X-Gateway", ""),
	)

	require.NoError(t, err)
	assert.NotNil(t, client)
}

func TestABaseURLThatCannotBeUsedIsRefusedAndNotRepeated(t *testing.T) {
	for name, rawURL := range map[string]string{
		"empty":                       "",
		"no scheme":                   "hunter2.example.com",
		"relative":                    "//hunter2.example.com",
		"another scheme":              "ftp://hunter2.example.com",
		"no host":                     "https:///hunter2",
		"port only":                   "https://:443/hunter2",
		"no slashes":                  "https:hunter2.example.com",
		"user info":                   "https://user:hunter2@example.com",
		"user name":                   "https://hunter2@example.com",
		"empty user info":             "https://@hunter2.example.com",
		"query":                       "https://example.com/?key=hunter2",
		"empty query":                 "https://hunter2.example.com/?",
		"fragment":                    "https://example.com/#hunter2",
		"empty fragment":              "https://hunter2.example.com/#",
		"space before":                " https://hunter2.example.com",
		"newline after":               "https://hunter2.example.com\n",
		"newline within":              "https://hunter2.example.com\n/v1",
		"tab":                         "https://hunter2.example.com\t",
		"delete":                      "https://hunter2.example.com\x7f",
		"bad escape":                  "https://example.com/%zzhunter2",
		"bad bracket":                 "https://[::1/hunter2",
		"port that is no number":      "https://example.com:hunter2",
		"port above 65535":            "https://hunter2.example.com:65536",
		"plain http":                  "http://hunter2.example.com",
		"plain http in capitals":      "HTTP://hunter2.example.com",
		"plain http to a like name":   "http://localhost.hunter2.example.com",
		"plain http to a like prefix": "http://127.0.0.1.hunter2.example.com",
		"plain http to the network":   "http://192.168.0.1/hunter2",
		"plain http to any address":   "http://0.0.0.0/hunter2",
		"plain http with a long s":    "http://localho\u017ft/hunter2",             // Which folds to localhost.
		"another alphabet":            "https://www.m\u0435moryplugin.com/hunter2", // With a Cyrillic e.
		"a zone of no text":           "https://[::1%25\xa4]/hunter2",
	} {
		t.Run(name, func(t *testing.T) {
			client, err := memoryplugin.NewClient(testKey, memoryplugin.WithBaseURL(rawURL))

			assert.Nil(t, client)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// A base URL that is taken names the host that the key goes to, and nothing else
// that a caller could be deceived by. One that is refused is not repeated.
func FuzzBaseURL(f *testing.F) {
	for _, rawURL := range []string{
		"https://example.com/#", "https://user:#@example.com", "https://#.example.com", "https://example.com/?#", "https://example.com:#",
		"http://localhost/#", "http://127.0.0.1:80/#", "http://[::1]:80/#", "http://[::1%25lo]/#", "https://[::%25l#\xa4]/", "http://[::ffff:127.0.0.1]/#", "http://LOCALHO\u017fT/#",
		"HTTP://127.1/#", "http://2130706433/#", "http://0x7f.1/#", "http://localhost.#", "//#", "https:#", "ftp://#", "https://[::1/#", "https://example.com/%zz#",
		"https://example.com/a/../#//", `https://example.com\@#`, "https://example.com%2f@#", "https://ex%41mple.com/%2e%2e/#", "#\n",
	} {
		before, after, _ := strings.Cut(rawURL, "#")
		f.Add(before, after, false)
		f.Add(before, after, true)
	}
	f.Fuzz(func(t *testing.T, before, after string, insecure bool) {
		var sent *http.Request
		opts := []memoryplugin.Option{memoryplugin.WithBaseURL(before + "hunter2" + after), recording(&sent)}
		if insecure {
			opts = append(opts, memoryplugin.WithInsecureHTTP())
		}

		client, err := memoryplugin.NewClient(testKey, opts...)

		if err != nil {
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			require.NotContains(t, err.Error(), "hunter2")
			return
		}
		_, err = deleteA(t.Context(), client)
		require.NoError(t, err)
		requireSafeURL(t, sent.URL, insecure)
	})
}

// requireSafeURL checks what is sent to, also as others would read it.
func requireSafeURL(t *testing.T, u *url.URL, insecure bool) {
	t.Helper()
	read, err := url.Parse(u.String())
	require.NoError(t, err)
	require.Equal(t, u.Host, read.Host)
	require.Contains(t, []string{"http", "https"}, u.Scheme)
	require.NotEmpty(t, u.Hostname())
	require.Nil(t, u.User)
	require.Empty(t, u.RawQuery+u.Fragment)
	require.False(t, u.ForceQuery)
	require.True(t, strings.HasSuffix(u.Path, "/api/chat-history/chats"), u.Path)
	if u.Scheme == "http" && !insecure {
		address, _ := netip.ParseAddr(u.Hostname())
		require.True(t, address.IsLoopback() || strings.ToLower(u.Hostname()) == "localhost", u.Host)
	}
}

func TestABaseURLWithANewlineIsExplained(t *testing.T) {
	_, err := memoryplugin.NewClient(testKey, memoryplugin.WithBaseURL("https://example.com\n"))

	assert.ErrorContains(t, err, "newline")
	assert.ErrorContains(t, err, "file")
}

func TestInsecureHTTPAllowsNothingButPlainHTTP(t *testing.T) {
	for _, rawURL := range []string{"ftp://example.com", "http://user:pass@example.com", "http://example.com/?a", "http://"} {
		_, err := memoryplugin.NewClient(testKey, memoryplugin.WithInsecureHTTP(), memoryplugin.WithBaseURL(rawURL))

		assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument, rawURL)
	}
}

// recording answers every request without a network, and keeps the last.
func recording(last **http.Request) memoryplugin.Option {
	return through(transport(func(r *http.Request) (*http.Response, error) {
		*last = r
		return remember(aDeleted).RoundTrip(r)
	}))
}

func TestTheAPIIsCalledUnderTheBaseURL(t *testing.T) {
	const path = "/api/chat-history/chats"
	for base, want := range map[string]string{
		memoryplugin.DefaultBaseURL:      "https://www.memoryplugin.com" + path,
		"https://example.com/":           "https://example.com" + path,
		"https://example.com:8443":       "https://example.com:8443" + path,
		"https://example.com/prefix":     "https://example.com/prefix" + path,
		"https://example.com/prefix/v1/": "https://example.com/prefix/v1" + path,
		"https://example.com/a%2Fb%3F":   "https://example.com/a%2Fb%3F" + path,
		"HTTPS://example.com":            "https://example.com" + path,
		"http://localhost:8080":          "http://localhost:8080" + path,
		"http://LOCALHOST":               "http://LOCALHOST" + path,
		"http://127.0.0.1:8080/prefix":   "http://127.0.0.1:8080/prefix" + path,
		"http://127.255.255.254":         "http://127.255.255.254" + path,
		"http://[::1]:8080":              "http://[::1]:8080" + path,
	} {
		t.Run(base, func(t *testing.T) {
			var sent *http.Request

			_, err := deleteA(t.Context(), newClient(t, base, recording(&sent)))

			require.NoError(t, err)
			assert.Equal(t, want, sent.URL.String())
		})
	}
}

func TestTheDefaultBaseURLIsTheDocumentedOne(t *testing.T) {
	var sent *http.Request
	client, err := memoryplugin.NewClient(testKey, recording(&sent))
	require.NoError(t, err)

	_, err = deleteA(t.Context(), client)

	require.NoError(t, err)
	assert.Equal(t, "https://www.memoryplugin.com/api/chat-history/chats", sent.URL.String())
}

func TestWithInsecureHTTPAllowsAHostThatIsNotLoopback(t *testing.T) {
	for name, opts := range map[string][]memoryplugin.Option{
		"before": {memoryplugin.WithInsecureHTTP(), memoryplugin.WithBaseURL("http://example.com")},
		"after":  {memoryplugin.WithBaseURL("http://example.com"), memoryplugin.WithInsecureHTTP()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := memoryplugin.NewClient(testKey, opts...)

			assert.NoError(t, err)
		})
	}
}

func TestTheUserAgentEndsWithTheSDKsOwnProduct(t *testing.T) {
	own := "memoryplugin-go/" + memoryplugin.Version
	for want, opts := range map[string][]memoryplugin.Option{
		own:                      nil,
		"my-service/1.4 " + own:  {memoryplugin.WithUserAgent("my-service/1.4")},
		"b/2 (linux; go) " + own: {memoryplugin.WithUserAgent("a/1"), memoryplugin.WithUserAgent("b/2 (linux; go)")},
	} {
		t.Run(want, func(t *testing.T) {
			srv := serve(t, reply(200, onlyADeleted))

			_, err := deleteA(t.Context(), newClient(t, srv.URL, opts...))

			require.NoError(t, err)
			assert.Equal(t, want, srv.received()[0].UserAgent())
		})
	}
}

func TestAHeaderIsSentWithEveryRequest(t *testing.T) {
	srv := serve(t, reply(503, ""), aDeleted)
	client := newClient(t, srv.URL, memoryplugin.WithHeader("x-gateway-token", "s3cret"), memoryplugin.WithHeader("X-Empty", ""))

	_, err := deleteA(t.Context(), client)

	require.NoError(t, err)
	require.Len(t, srv.received(), 2)
	for _, sent := range srv.received() {
		assert.Equal(t, []string{"s3cret"}, sent.Header["X-Gateway-Token"])
		assert.Equal(t, []string{""}, sent.Header["X-Empty"])
	}
}

func TestTheLastOfTwoValuesOfAHeaderCounts(t *testing.T) {
	srv := serve(t, aDeleted)
	client := newClient(t, srv.URL, memoryplugin.WithHeader("X-Team", "a"), memoryplugin.WithHeader("x-team", "b"))

	_, err := deleteA(t.Context(), client)

	require.NoError(t, err)
	assert.Equal(t, []string{"b"}, srv.received()[0].Header["X-Team"])
}

func TestAHeaderThatTheSDKOrHTTPNeedsIsRefused(t *testing.T) {
	for _, name := range []string{
		"Authorization", "Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Length", "Content-Encoding",
		"Host", "User-Agent", "Connection", "Transfer-Encoding", "Trailer", "Expect",
		"authorization", "ACCEPT-ENCODING", "content-md5", "transfer-ENCODING",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := memoryplugin.NewClient(testKey, memoryplugin.WithHeader(name, "x"))

			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, http.CanonicalHeaderKey(name))
		})
	}
}

func TestAHeaderThatCannotBeSentIsRefused(t *testing.T) {
	for name, header := range map[string][2]string{
		"no name":                      {"", "x"},
		"name with a space":            {"X Team", "x"},
		"name with a colon":            {"X-Team:", "x"},
		"name with a newline":          {"X-Team\r\nX-Forged", "x"},
		"name outside ASCII":           {"X-Té", "x"},
		"value with a newline":         {"X-Team", "a\r\nX-Forged: 1"},
		"value with a newline after":   {"X-Team", "a\n"},
		"value with NUL":               {"X-Team", "a\x00"},
		"value with a tab":             {"X-Team", "a\tb"},
		"value with an escape":         {"X-Team", "\x1b[2J"},
		"value with a delete":          {"X-Team", "a\x7f"},
		"value with a control from C1": {"X-Team", "\u009b2J"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := memoryplugin.NewClient(testKey, memoryplugin.WithHeader(header[0], header[1]))

			assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
		})
	}
}

// A transport that traces may write into the header of a request.
func TestAHeaderThatATransportChangesIsThatOfOneRequest(t *testing.T) {
	var sent []http.Header
	srv := remember(reply(503, ""), aDeleted)
	client := newClient(t, "http://localhost", memoryplugin.WithHeader("X-Team", "a"), through(transport(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.Header.Clone())
		r.Header.Set("X-Team", "changed")
		r.Header.Del("Authorization")
		r.Header.Set("Traceparent", "1")
		return srv.RoundTrip(r)
	})))

	_, err := deleteA(t.Context(), client)

	require.NoError(t, err)
	require.Len(t, sent, 2)
	assert.Equal(t, sent[0], sent[1])
}

func TestAnHTTPClientWithoutATransportHasTheDefaultOne(t *testing.T) {
	original := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = original })
	srv := remember(aDeleted)
	http.DefaultTransport = srv

	_, err := deleteA(t.Context(), newClient(t, "http://localhost", memoryplugin.WithHTTPClient(&http.Client{})))

	require.NoError(t, err)
	assert.Len(t, srv.arrived(), 1)
}

// So a test that fakes http.DefaultTransport does not catch it.
func TestAClientHasATransportOfItsOwn(t *testing.T) {
	original := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = original })
	fake := remember(aDeleted)
	http.DefaultTransport = fake
	srv := serve(t, aDeleted)

	_, err := deleteA(t.Context(), newClient(t, srv.URL))

	require.NoError(t, err)
	assert.Empty(t, fake.arrived())
	assert.Len(t, srv.received(), 1)
}

func TestACallersHTTPClientIsNotChanged(t *testing.T) {
	srv := serve(t, drop, reply(200, onlyADeleted))
	own := &http.Transport{}
	hc := &http.Client{Transport: own, Timeout: time.Hour}

	_, err := deleteA(t.Context(), newClient(t, srv.URL, memoryplugin.WithHTTPClient(hc), memoryplugin.WithAttemptTimeout(time.Minute)))

	require.NoError(t, err)
	assert.Equal(t, &http.Client{Transport: own, Timeout: time.Hour}, hc)
	assert.Same(t, own, hc.Transport)
}

func TestAFailingCallLeavesACallersIdleConnectionsOpen(t *testing.T) {
	srv := serve(t, reply(200, ``))
	hc := &http.Client{Transport: &http.Transport{}}
	get := func() (reused bool) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		resp, err := hc.Do(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return reused
	}
	require.False(t, get())

	for _, step := range []http.HandlerFunc{drop, reply(503, ``), reply(401, ``), reply(302, ``), reply(200, `[]`)} {
		failing := serve(t, step)
		_, err := deleteA(t.Context(), newClient(t, failing.URL, memoryplugin.WithHTTPClient(hc), memoryplugin.WithMaxRetries(1)))
		require.Error(t, err)
	}

	assert.True(t, get(), "the connection was closed")
}

func TestACallersTimeoutBoundsEachAttempt(t *testing.T) {
	for name, test := range map[string]struct{ client, attempt, want time.Duration }{
		"shorter than the SDK's": {client: time.Second, attempt: time.Minute, want: time.Second},
		"longer than the SDK's":  {client: time.Minute, attempt: time.Second, want: time.Second},
		"the only one":           {client: time.Second, attempt: 0, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				silent := transport(func(r *http.Request) (*http.Response, error) {
					<-r.Context().Done()
					return nil, r.Context().Err()
				})
				client := newClient(t, "http://localhost",
					memoryplugin.WithHTTPClient(&http.Client{Transport: silent, Timeout: test.client}),
					memoryplugin.WithAttemptTimeout(test.attempt), memoryplugin.WithMaxRetries(2), memoryplugin.WithBackoff(0, 0))
				start := time.Now()

				result, err := deleteA(t.Context(), client)

				assert.Equal(t, 3, result.Attempts)
				assert.Equal(t, 3*test.want, time.Since(start))
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

func TestACallersCheckRedirectIsNotUsed(t *testing.T) {
	srv := serve(t, reply(302, ``, "Location", "/elsewhere"))
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		t.Error("CheckRedirect was called")
		return nil
	}}

	_, err := deleteA(t.Context(), newClient(t, srv.URL, memoryplugin.WithHTTPClient(hc)))

	require.Error(t, err)
	assert.Len(t, srv.received(), 1)
}

func TestACallersJarIsNotUsed(t *testing.T) {
	srv := serve(t, reply(503, ``, "Set-Cookie", "from=server"), reply(200, onlyADeleted))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	at, err := url.Parse(srv.URL)
	require.NoError(t, err)
	jar.SetCookies(at, []*http.Cookie{{Name: "from", Value: "caller"}})

	_, err = deleteA(t.Context(), newClient(t, srv.URL, memoryplugin.WithHTTPClient(&http.Client{Jar: jar})))

	require.NoError(t, err)
	for _, sent := range srv.received() {
		assert.Empty(t, sent.Cookies())
	}
	require.Len(t, jar.Cookies(at), 1)
	assert.Equal(t, "caller", jar.Cookies(at)[0].Value)
}
