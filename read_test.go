package memoryplugin_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// read is an operation that reads, and an answer to it.
type read struct {
	call   func(context.Context, *memoryplugin.Client) error
	answer string
	path   string
	name   string // in errors
}

// reads are the operations that read, with one request each.
var reads = map[string]read{
	"list": {listFirst, pageOf(`{"id":"a"}`), "/api/chat-history/chats", "list conversations"},
	"all": {func(ctx context.Context, c *memoryplugin.Client) error {
		_, err := c.AllConversations(ctx, memoryplugin.ConversationFilter{})
		return err
	}, pageOf(`{"id":"a"}`), "/api/chat-history/chats", "list conversations"},
	"transcript": {func(ctx context.Context, c *memoryplugin.Client) error {
		_, err := c.GetTranscript(ctx, "a")
		return err
	}, `{"id":"a"}`, "/api/chat-history/conversation", "get transcript"},
	"count": {func(ctx context.Context, c *memoryplugin.Client) error {
		_, err := c.CountConversations(ctx)
		return err
	}, `{"count":1}`, "/api/chat-history/count", "count conversations"},
}

func listFirst(ctx context.Context, c *memoryplugin.Client) error {
	_, err := c.ListConversations(ctx, memoryplugin.ListConversationsOptions{})
	return err
}

// forEachRead runs a test for each of reads.
func forEachRead(t *testing.T, test func(*testing.T, read)) {
	for name, read := range reads {
		t.Run(name, func(t *testing.T) { test(t, read) })
	}
}

func TestAReadIsAGetWithoutABody(t *testing.T) {
	forEachRead(t, func(t *testing.T, read read) {
		srv := serve(t, reply(200, read.answer))

		err := read.call(t.Context(), newClient(t, srv.URL, memoryplugin.WithUserAgent("app/1"), memoryplugin.WithHeader("X-Team", "blue")))

		require.NoError(t, err)
		require.Len(t, srv.received(), 1)
		sent := srv.received()[0]
		assert.Equal(t, "GET", sent.Method)
		assert.Equal(t, read.path, sent.URL.Path)
		assert.Empty(t, sent.body)
		assert.Zero(t, sent.ContentLength)
		assert.Equal(t, http.Header{
			"Authorization":   {"Bearer " + testKey},
			"Accept":          {"application/json"},
			"Accept-Encoding": {"gzip"}, // net/http's own, which it unpacks.
			"User-Agent":      {"app/1 memoryplugin-go/" + memoryplugin.Version},
			"X-Team":          {"blue"},
		}, sent.Header)
	})
}

// A body that is not nil, even an empty one, makes it look like a delete, which
// may be sent only once.
func TestATransportGetsAReadThatItMaySendAgain(t *testing.T) {
	forEachRead(t, func(t *testing.T, read read) {
		srv := serve(t, reply(200, read.answer))
		var seen *http.Request
		client := newClient(t, srv.URL, through(transport(func(r *http.Request) (*http.Response, error) {
			seen = r
			return http.DefaultTransport.RoundTrip(r)
		})))

		require.NoError(t, read.call(t.Context(), client))

		assert.Nil(t, seen.Body)
		assert.NotContains(t, seen.Header, "Content-Type")
		assert.NotContains(t, seen.Header, "Accept-Encoding")
	})
}

func TestAReadIsSentAgainIfAnIdleConnectionDies(t *testing.T) {
	forEachRead(t, func(t *testing.T, read read) {
		srv := listen(t,
			func(c *wireConn) {
				c.receive()
				c.send(ok(read.answer))
				c.receive() // And closes without a reply.
			},
			answer(ok(read.answer)))
		client := newClient(t, srv.URL, memoryplugin.WithMaxRetries(0))
		require.NoError(t, read.call(t.Context(), client))

		err := read.call(t.Context(), client)

		require.NoError(t, err)
		assert.EqualValues(t, 3, srv.requests.Load())
	})
}

func TestACompressedReplyToAReadIsUnpacked(t *testing.T) {
	forEachRead(t, func(t *testing.T, read read) {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, read.answer)
			_ = z.Close()
		})

		assert.NoError(t, read.call(t.Context(), newClient(t, srv.URL)))
	})
}

func TestAReadIsRetriedAfterAFailureThatMayPass(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"429": reply(429, ``), "425": reply(425, ``), "408": reply(408, ``), "500": reply(500, ``), "503": reply(503, `<html>`),
		"403 with a Retry-After": reply(403, ``, "Retry-After", "0.001"),
		"a lost reply":           drop,
		"a slow reply":           mute,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				forEachReadIn(t, func(read read) {
					m := remember(fault, fault, reply(200, read.answer))

					err := read.call(t.Context(), m.client(t))

					assert.NoError(t, err, read.name)
					assert.Len(t, m.arrived(), 3, read.name)
				})
			})
		})
	}
}

// forEachReadIn is forEachRead in a bubble, where no subtest may be run.
func forEachReadIn(t *testing.T, test func(read)) {
	t.Helper()
	for _, read := range reads {
		test(read)
	}
}

func TestAReplyToAReadThatIsCutShortIsRetried(t *testing.T) {
	forEachRead(t, func(t *testing.T, read read) {
		srv := serve(t, reply(200, `{"`, "Content-Length", "99"), reply(200, read.answer))

		err := read.call(t.Context(), newClient(t, srv.URL))

		assert.NoError(t, err)
		assert.Len(t, srv.received(), 2)
	})
}

func TestAReadIsNotRetriedAfterAFailureThatWillNotPass(t *testing.T) {
	for name, test := range map[string]struct {
		step       http.HandlerFunc
		unexpected bool
	}{
		"400": {reply(400, `{"error":"no"}`), false}, "401": {reply(401, ``), false}, "404": {reply(404, `{"error":"no"}`), false},
		"501": {reply(501, ``), false}, "302": {reply(302, ``, "Location", "/login"), false}, "308": {reply(308, ``, "Location", "/other"), false},
		"204": {reply(204, ``), true}, "206": {reply(206, `{}`), true}, "999": {reply(999, ``), true},
		"another shape": {reply(200, `[]`), true}, "still encoded": {reply(200, `x`, "Content-Encoding", "br"), true},
	} {
		t.Run(name, func(t *testing.T) {
			forEachRead(t, func(t *testing.T, read read) {
				srv := serve(t, test.step)

				err := read.call(t.Context(), newClient(t, srv.URL))

				require.Error(t, err)
				assert.Equal(t, test.unexpected, errors.Is(err, memoryplugin.ErrUnexpectedResponse))
				assert.Len(t, srv.received(), 1)
			})
		})
	}
}

// A read changes nothing, so nothing of it is in doubt, whatever becomes of it.
func TestNoErrorOfAReadIsUnconfirmed(t *testing.T) {
	for name, steps := range map[string][]http.HandlerFunc{
		"lost":                  {drop},
		"cut":                   {reply(200, `{`, "Content-Length", "99")},
		"lost, refused":         {drop, reply(403, ``)},
		"failed, unauthorized":  {reply(500, ``), reply(401, ``)},
		"failed":                {reply(503, ``)},
		"timed out at a proxy":  {reply(504, ``), reply(408, ``)},
		"lost, another shape":   {drop, reply(200, `[]`)},
		"redirected":            {reply(303, ``)},
		"no content":            {reply(204, ``)},
		"limited":               {reply(429, ``, "Retry-After", "3600")},
		"lost, limited":         {drop, reply(429, ``, "Retry-After", "3600")},
		"not found":             {drop, reply(404, `{"error":"no"}`)},
		"not found by the page": {drop, reply(404, `<html>`)},
	} {
		t.Run(name, func(t *testing.T) {
			forEachRead(t, func(t *testing.T, read read) {
				srv := serve(t, steps...)

				err := read.call(t.Context(), newClient(t, srv.URL))

				require.Error(t, err)
				assert.NotErrorIs(t, err, memoryplugin.ErrUnconfirmed)
				assert.NotContains(t, err.Error(), "unconfirmed")
				assert.NotContains(t, err.Error(), "applied")
				assert.True(t, strings.HasPrefix(err.Error(), "memoryplugin: "+read.name+": "), err)
			})
		})
	}
}

// A transport that sends a read twice does what it may.
func TestAReadThatATransportSendsTwiceIsTrusted(t *testing.T) {
	forEachRead(t, func(t *testing.T, read read) {
		srv := serve(t, reply(200, read.answer))
		client := newClient(t, srv.URL, through(transport(func(r *http.Request) (*http.Response, error) {
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err == nil {
				resp.Body.Close()
			}
			return http.DefaultTransport.RoundTrip(r)
		})))

		assert.NoError(t, read.call(t.Context(), client))
		assert.Len(t, srv.received(), 2)
	})
}

func TestAReadIsHeldBackByTheRetryAfterOfADelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forEachReadIn(t, func(read read) {
			m := remember(reply(429, ``, "Retry-After", "10"), reply(200, read.answer))
			client := once(t, m)
			_, err := deleteA(t.Context(), client)
			require.ErrorIs(t, err, memoryplugin.ErrRateLimited)

			require.NoError(t, read.call(t.Context(), client))

			assert.Equal(t, []time.Duration{0, 10 * time.Second}, m.arrived())
		})
	})
}

func TestADeleteIsHeldBackByTheRetryAfterOfARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forEachReadIn(t, func(read read) {
			m := remember(reply(503, ``, "Retry-After", "10"), aDeleted)
			client := once(t, m)
			require.Error(t, read.call(t.Context(), client))

			_, err := deleteA(t.Context(), client)

			require.NoError(t, err)
			assert.Equal(t, []time.Duration{0, 10 * time.Second}, m.arrived())
		})
	})
}

func TestEveryAttemptOfAReadAsksTheLimiter(t *testing.T) {
	forEachRead(t, func(t *testing.T, read read) {
		var asked atomic.Int32
		limiter := limiterFunc(func(context.Context) error { asked.Add(1); return nil })
		srv := serve(t, reply(503, ``), reply(503, ``), reply(200, read.answer))

		require.NoError(t, read.call(t.Context(), newClient(t, srv.URL, memoryplugin.WithLimiter(limiter))))

		assert.EqualValues(t, 3, asked.Load())
	})
}

func TestALimiterThatFailsEndsARead(t *testing.T) {
	errLimiter := errors.New("no more today")
	forEachRead(t, func(t *testing.T, read read) {
		srv := serve(t, reply(200, read.answer))
		limiter := limiterFunc(func(context.Context) error { return errLimiter })

		err := read.call(t.Context(), newClient(t, srv.URL, memoryplugin.WithLimiter(limiter)))

		assert.ErrorIs(t, err, errLimiter)
		assert.Empty(t, srv.received())
	})
}

func TestReadsAndDeletesShareTheRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := remember(reply(503, ``))
		client := m.client(t, memoryplugin.WithMaxRetries(100), memoryplugin.WithBackoff(0, 0))
		_, err := deleteA(t.Context(), client)
		require.ErrorContains(t, err, "budget")
		used := len(m.arrived())

		forEachReadIn(t, func(read read) {
			assert.ErrorContains(t, read.call(t.Context(), client), "budget")
		})

		assert.Len(t, m.arrived(), used+len(reads), "one attempt each")
	})
}

func TestTheLogOfAReadHasItsPathAndNotItsQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forEachReadIn(t, func(read read) {
			logger, lines := recordLog(t)
			m := remember(reply(503, ``, "X-Request-Id", "req_1"), reply(200, read.answer))
			about := func(level, msg string, attempt int, more line) line {
				l := aboutAttempt(level, msg, attempt, more)
				l["method"], l["path"] = "GET", read.path
				return l
			}

			require.NoError(t, read.call(t.Context(), m.client(t, logger, memoryplugin.WithBackoff(0, 0))))

			assert.Equal(t, []line{
				about("DEBUG", "attempt", 1, line{"status": 503.0, "request_id": "req_1", "duration": 0.0}),
				about("WARN", "retrying", 1, line{"status": 503.0, "request_id": "req_1", "wait": 0.0}),
				about("DEBUG", "attempt", 2, line{"status": 200.0, "duration": 0.0}),
			}, lines())
		})
	})
}

func TestAContextThatIsDoneSendsNoRead(t *testing.T) {
	forEachRead(t, func(t *testing.T, read read) {
		srv := serve(t, reply(200, read.answer))
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errOperator)

		err := read.call(ctx, newClient(t, srv.URL))

		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, errOperator)
		assert.Empty(t, srv.received())
	})
}

func TestAContextThatEndsEndsARead(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"on the wire": mute,
		"in a wait":   reply(503, ``, "Retry-After", "30"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				forEachReadIn(t, func(read read) {
					m := remember(step)
					ctx, cancel := context.WithCancelCause(t.Context())
					time.AfterFunc(time.Second, func() { cancel(errOperator) })
					start := time.Now()

					err := read.call(ctx, m.client(t))

					assert.Equal(t, time.Second, time.Since(start))
					assert.ErrorIs(t, err, context.Canceled)
					assert.ErrorIs(t, err, errOperator)
					assert.Len(t, m.arrived(), 1)
				})
			})
		})
	}
}

func TestAReadThatWouldOutlastItsDeadlineEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forEachReadIn(t, func(read read) {
			m := remember(reply(503, `{"error":"busy"}`, "Retry-After", "30"))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			start := time.Now()

			err := read.call(ctx, m.client(t))

			assert.Zero(t, time.Since(start))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			hasReply(t, 503, err)
		})
	})
}

func TestAnAttemptOfAReadHasItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forEachReadIn(t, func(read read) {
			m := remember(mute)

			err := read.call(t.Context(), once(t, m, memoryplugin.WithAttemptTimeout(5*time.Second)))

			assertAttemptTimedOut(t, 5*time.Second, err)
		})
	})
}

// endless is a body of this many bytes that is no JSON.
func endless(size int64) io.ReadCloser {
	return io.NopCloser(io.LimitReader(filler{}, size))
}

type filler struct{}

func (filler) Read(p []byte) (int, error) {
	p[0] = 0xff // No UTF-8, which is seen at once.
	return len(p), nil
}

// In memory, since 64 MiB take their time on a socket.
func TestTheReplyToAReadIsBoundedAt64MiB(t *testing.T) {
	const limit = 64 << 20
	for name, test := range map[string]struct {
		size int64
		text string
	}{
		"64 MiB":           {limit, "not a JSON object"},
		"more than 64 MiB": {limit + 1, "more than 67108864 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			client := newClient(t, "http://localhost", through(transport(func(r *http.Request) (*http.Response, error) {
				requests++
				return &http.Response{StatusCode: 200, ContentLength: test.size, Body: endless(test.size), Request: r}, nil
			})))

			err := listFirst(t.Context(), client)

			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, test.text)
			assert.Equal(t, 1, requests)
		})
	}
}
