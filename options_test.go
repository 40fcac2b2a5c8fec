package memoryplugin_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
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
		"attempt time-out below 0":    memoryplugin.WithAttemptTimeout(-1),
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
	)

	require.NoError(t, err)
	assert.NotNil(t, client)
}

func TestAKeyThatNoHeaderCanCarryIsRefusedAndNotRepeated(t *testing.T) {
	for name, key := range map[string]string{
		"empty":                    "",
		"blank":                    " \n",
		"newline at its end":       testKey + "\n",
		"CRLF at its end":          testKey + "\r\n",
		"newline within":           "sk-test\n0123456789",
		"space at its beginning":   " " + testKey,
		"space within":             "sk-test 0123456789",
		"tab":                      testKey + "\t",
		"control character":        testKey + "\x1b",
		"delete":                   testKey + "\x7f",
		"NUL":                      testKey + "\x00",
		"letter outside ASCII":     testKey + "é",
		"space outside ASCII":      testKey + "\u00a0",
		"byte order mark":          "\ufeff" + testKey,
		"zero-width space":         testKey + "\u200b",
		"byte that is not UTF-8":   testKey + "\xff",
		"quotation marks of prose": "“" + testKey + "”",
	} {
		t.Run(name, func(t *testing.T) {
			client, err := memoryplugin.NewClient(key)

			assert.Nil(t, client)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.NotContains(t, err.Error(), "0123456789")
			assert.NotContains(t, err.Error(), "sk-test")
		})
	}
}

func TestAKeyWithANewlineAtItsEndIsExplained(t *testing.T) {
	_, err := memoryplugin.NewClient(testKey + "\n")

	assert.ErrorContains(t, err, "newline")
	assert.ErrorContains(t, err, "file")
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
	} {
		t.Run(name, func(t *testing.T) {
			client, err := memoryplugin.NewClient(testKey, memoryplugin.WithBaseURL(rawURL))

			assert.Nil(t, client)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestInsecureHTTPAllowsNothingButPlainHTTP(t *testing.T) {
	for _, rawURL := range []string{"ftp://example.com", "http://user:pass@example.com", "http://example.com/?a", "http://"} {
		_, err := memoryplugin.NewClient(testKey, memoryplugin.WithInsecureHTTP(), memoryplugin.WithBaseURL(rawURL))

		assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument, rawURL)
	}
}

// recordingClient answers every request without a network, and keeps the last.
func recordingClient(last **http.Request) memoryplugin.Option {
	return memoryplugin.WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		*last = r
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"count":1}`)), Request: r}, nil
	})})
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

			_, err := newClient(t, base, recordingClient(&sent)).DeleteConversations(t.Context(), []string{"a"})

			require.NoError(t, err)
			assert.Equal(t, want, sent.URL.String())
		})
	}
}

func TestTheDefaultBaseURLIsTheDocumentedOne(t *testing.T) {
	var sent *http.Request
	client, err := memoryplugin.NewClient(testKey, recordingClient(&sent))
	require.NoError(t, err)

	_, err = client.DeleteConversations(t.Context(), []string{"a"})

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
			srv := serve(t, reply(200, `{"count":1}`))

			_, err := newClient(t, srv.URL, opts...).DeleteConversations(t.Context(), []string{"a"})

			require.NoError(t, err)
			assert.Equal(t, want, srv.received()[0].UserAgent())
		})
	}
}

func TestNewClientFromEnvTakesKeyAndBaseURLFromTheEnvironment(t *testing.T) {
	srv := serve(t, reply(200, `{"count":1}`))
	t.Setenv("MEMORYPLUGIN_API_KEY", testKey)
	t.Setenv("MEMORYPLUGIN_BASE_URL", srv.URL)

	client, err := memoryplugin.NewClientFromEnv()
	require.NoError(t, err)
	_, err = client.DeleteConversations(t.Context(), []string{"a"})

	require.NoError(t, err)
	assert.Equal(t, "Bearer "+testKey, srv.received()[0].Header.Get("Authorization"))
}

func TestNewClientFromEnvHasADefaultBaseURL(t *testing.T) {
	t.Setenv("MEMORYPLUGIN_API_KEY", testKey)
	t.Setenv("MEMORYPLUGIN_BASE_URL", "")
	var sent *http.Request

	client, err := memoryplugin.NewClientFromEnv(recordingClient(&sent))
	require.NoError(t, err)
	_, err = client.DeleteConversations(t.Context(), []string{"a"})

	require.NoError(t, err)
	assert.Equal(t, "www.memoryplugin.com", sent.URL.Host)
}

func TestAnOptionWinsOverTheEnvironment(t *testing.T) {
	for _, inEnv := range []string{"https://example.com", "not a URL", "http://user:hunter2@example.com"} {
		t.Run(inEnv, func(t *testing.T) {
			srv := serve(t, reply(200, `{"count":1}`))
			t.Setenv("MEMORYPLUGIN_API_KEY", testKey)
			t.Setenv("MEMORYPLUGIN_BASE_URL", inEnv)

			client, err := memoryplugin.NewClientFromEnv(memoryplugin.WithBaseURL(srv.URL))
			require.NoError(t, err)
			_, err = client.DeleteConversations(t.Context(), []string{"a"})

			require.NoError(t, err)
			assert.Len(t, srv.received(), 1)
		})
	}
}

func TestNewClientFromEnvRefusesWhatCannotBeUsed(t *testing.T) {
	for name, env := range map[string]struct{ key, baseURL string }{
		"no key":              {"", ""},
		"a key with newline":  {testKey + "\n", ""},
		"a URL with password": {testKey, "https://user:hunter2@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("MEMORYPLUGIN_API_KEY", env.key)
			t.Setenv("MEMORYPLUGIN_BASE_URL", env.baseURL)

			client, err := memoryplugin.NewClientFromEnv()

			assert.Nil(t, client)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.NotContains(t, err.Error(), testKey)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestACallersHTTPClientIsNotChanged(t *testing.T) {
	srv := serve(t, drop, reply(200, `{"count":1}`))
	own := &http.Transport{}
	hc := &http.Client{Transport: own, Timeout: time.Hour}

	_, err := newClient(t, srv.URL, memoryplugin.WithHTTPClient(hc), memoryplugin.WithAttemptTimeout(time.Minute)).DeleteConversations(t.Context(), []string{"a"})

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
		_, err := newClient(t, failing.URL, memoryplugin.WithHTTPClient(hc), memoryplugin.WithMaxRetries(1)).DeleteConversations(t.Context(), []string{"a"})
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

				result, err := client.DeleteConversations(t.Context(), []string{"a"})

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

	_, err := newClient(t, srv.URL, memoryplugin.WithHTTPClient(hc)).DeleteConversations(t.Context(), []string{"a"})

	require.Error(t, err)
	assert.Len(t, srv.received(), 1)
}

func TestACallersJarIsNotUsed(t *testing.T) {
	srv := serve(t, reply(503, ``, "Set-Cookie", "from=server"), reply(200, `{"count":1}`))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	at, err := url.Parse(srv.URL)
	require.NoError(t, err)
	jar.SetCookies(at, []*http.Cookie{{Name: "from", Value: "caller"}})

	_, err = newClient(t, srv.URL, memoryplugin.WithHTTPClient(&http.Client{Jar: jar})).DeleteConversations(t.Context(), []string{"a"})

	require.NoError(t, err)
	for _, sent := range srv.received() {
		assert.Empty(t, sent.Cookies())
	}
	require.Len(t, jar.Cookies(at), 1)
	assert.Equal(t, "caller", jar.Cookies(at)[0].Value)
}
