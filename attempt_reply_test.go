package memoryplugin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestALostReplyIsRetriedAndUnconfirmed(t *testing.T) {
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

func TestALostReplyLeavesWhatTheNextAnswerLeavesOutUnconfirmed(t *testing.T) {
	srv := listen(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n"+onlyADeleted), answer(ok(`{"deleted":["b"],"count":1}`)))

	result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b"})

	require.ErrorIs(t, err, memoryplugin.ErrUnconfirmed)
	assert.Equal(t, []string{"b"}, result.Deleted)
	assert.Equal(t, []string{"a"}, result.Unconfirmed)
}

func TestAReplyOfUnknownLengthThatIsCutIsUnconfirmed(t *testing.T) {
	srv := listen(t, answer("HTTP/1.0 200 OK\r\n\r\n"+onlyADeleted[:15]))

	result, err := deleteA(t.Context(), newClient(t, srv.URL))

	requireUnconfirmed(t, result, err)
}

func TestACompleteReplyIsReadInEveryFormThatHTTPHas(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"with a length", ok(onlyADeleted)},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + onlyADeleted[:5] + "\r\n16\r\n" + onlyADeleted[5:] + "\r\n0\r\n\r\n"},
		{"up to the end of the connection", "HTTP/1.1 200 OK\r\n\r\n" + onlyADeleted},
		{"over HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n" + onlyADeleted},
		{"without a reason phrase", "HTTP/1.1 200\r\n\r\n" + onlyADeleted},
		{"called identity", "HTTP/1.1 200 OK\r\nContent-Encoding: Identity\r\n\r\n" + onlyADeleted},
		{"with nearly 1 MiB of headers", "HTTP/1.1 200 OK\r\nX-Big: " + strings.Repeat("x", 1<<20-1000) + ok(onlyADeleted)[15:]},
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

func TestACompleteReplyThatIsNotDocumentedIsNamedAndNotRetried(t *testing.T) {
	const gzip = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
	for _, tt := range []struct {
		name string
		step func(*wireConn)
		says string
	}{
		{"a status of 000", answer("HTTP/1.1 000 Nothing" + ok(onlyADeleted)[15:]), "unexpected response: 0"},
		{"a status of 999", answer("HTTP/1.1 999 Much" + ok(onlyADeleted)[15:]), "999"},
		{"202", answer("HTTP/1.1 202 Accepted" + ok(`{"status":"queued"}`)[15:]), `202 Accepted: "{\"status\":\"queued\"}"`},
		{"204", answer("HTTP/1.1 204 No Content\r\n\r\n"), "204 No Content"},
		{"206", answer("HTTP/1.1 206 Partial Content" + ok(onlyADeleted)[15:]), "206 Partial Content"},
		{"207", answer("HTTP/1.1 207 Multi-Status" + ok(`{"error":"a is locked"}`)[15:]), `207 Multi-Status: "{\"error\":\"a is locked\"}"`},
		{"an empty 200", answer(ok("")), "200 OK, but the body is not a JSON object"},
		{"a length that ends inside the JSON", answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 26\r\n\r\n" + onlyADeleted), "the JSON of the reply ends early"},
		{"switching protocols", func(c *wireConn) {
			c.receive()
			c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			c.stall()
		}, "101 Switching Protocols"},
		{"switching to a protocol that floods", func(c *wireConn) {
			c.receive()
			c.flood("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		}, "101 Switching Protocols"},
		{"a body without end", func(c *wireConn) {
			c.receive()
			c.send("HTTP/1.1 200 OK\r\n\r\n")
			c.flood(strings.Repeat(" ", 64<<10))
		}, "more than 16777216 bytes"},
		{"encoded", answer(gzip + gzipOf(t, onlyADeleted)), `encoded as "gzip"`},
		{"encoded, it says, but plain", answer(gzip + onlyADeleted), `encoded as "gzip"`},
		{"encoded twice", answer("HTTP/1.1 200 OK\r\nContent-Encoding: br, gzip\r\n\r\n" + onlyADeleted), `encoded as "br, gzip"`},
		{"202, encoded", answer("HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\n\r\n" + onlyADeleted), `202 Accepted: the reply is still encoded as "gzip"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := listen(t, tt.step)

			result, err := deleteA(t.Context(), newClient(t, srv.URL))

			requireUnconfirmed(t, result, err)
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.NotErrorAs(t, err, new(*memoryplugin.ErrorResponse))
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, 1, result.Attempts)
			assert.EqualValues(t, 1, srv.requests.Load())
		})
	}
}

func TestTheErrorOfAnEncodedReplyShowsNoneOfItsBytes(t *testing.T) {
	for _, status := range []int{200, 202, 401} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			srv := serve(t, reply(status, "gibberish", "Content-Encoding", "rot13"))

			_, err := deleteA(t.Context(), newClient(t, srv.URL))

			assert.ErrorContains(t, err, `still encoded as "rot13"`)
			assert.NotContains(t, err.Error(), "gibberish")
		})
	}
}

func TestADeleteAsksForNoCompression(t *testing.T) {
	srv := serve(t, aDeleted)

	_, err := deleteA(t.Context(), newClient(t, srv.URL))

	require.NoError(t, err)
	assert.Equal(t, []string{"identity"}, srv.received()[0].Header["Accept-Encoding"])
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

func TestAReplyThatUnpacksWithoutEndTakesBoundedMemory(t *testing.T) {
	bomb := gzipOf(t, strings.Repeat(" ", 1<<20)) // Members of a gzip stream can follow each other without end.
	for _, line := range []string{"200 OK", "503 Service Unavailable"} {
		t.Run(line, func(t *testing.T) {
			srv := listen(t, func(c *wireConn) {
				c.receive()
				c.send("HTTP/1.1 " + line + "\r\nContent-Encoding: gzip\r\n\r\n")
				c.flood(bomb)
			})
			// A transport that asks for gzip by itself, and unpacks it.
			unpacking := transport(func(r *http.Request) (*http.Response, error) {
				r = r.Clone(r.Context())
				r.Header.Del("Accept-Encoding")
				return http.DefaultTransport.RoundTrip(r)
			})
			client := newClient(t, srv.URL, through(unpacking), memoryplugin.WithMaxRetries(0))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)

			result, err := deleteA(t.Context(), client)

			runtime.ReadMemStats(&after)
			requireUnconfirmed(t, result, err)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(128<<20))
		})
	}
}

func TestAnErrorBodyWithoutEndIsKeptUpTo64KiB(t *testing.T) {
	srv := listen(t, func(c *wireConn) {
		c.receive()
		c.send("HTTP/1.1 401 Unauthorized\r\n\r\n")
		c.flood(strings.Repeat("no ", 1000))
	})

	_, err := deleteA(t.Context(), newClient(t, srv.URL))

	require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	var response *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &response)
	assert.Len(t, response.Body, 64<<10)
}

// The replies whose status decides, whatever becomes of their body.
var decided = []struct {
	line     string
	is       error
	unknown  bool
	attempts int // with one retry
}{
	{"HTTP/1.1 401 Unauthorized\r\n", memoryplugin.ErrUnauthorized, false, 1},
	{"HTTP/1.1 408 Request Timeout\r\n", memoryplugin.ErrUnconfirmed, true, 2},
	{"HTTP/1.1 413 Content Too Large\r\n", memoryplugin.ErrPayloadTooLarge, false, 1},
	{"HTTP/1.1 429 Too Many Requests\r\n", memoryplugin.ErrRateLimited, false, 2},
	{"HTTP/1.1 503 Service Unavailable\r\n", memoryplugin.ErrUnconfirmed, true, 2},
	{"HTTP/1.1 302 Found\r\n", memoryplugin.ErrUnconfirmed, true, 1},
}

func TestTheStatusOfAnErrorDecidesWhateverBecomesOfItsBody(t *testing.T) {
	for name, body := range map[string]func(*wireConn){
		"it stalls":          func(c *wireConn) { c.send("Content-Length: 99\r\n\r\n" + `{"error":"n`); c.stall() },
		"it never begins":    func(c *wireConn) { c.send("Content-Length: 99\r\n\r\n"); c.stall() },
		"it never ends":      func(c *wireConn) { c.send("\r\n"); c.flood(strings.Repeat("no ", 1000)) },
		"it is cut":          func(c *wireConn) { c.send("Content-Length: 99\r\n\r\n" + `{"error":"n`) },
		"its chunks are bad": func(c *wireConn) { c.send("Transfer-Encoding: chunked\r\n\r\nxyz\r\n") },
		"its gzip is bad":    func(c *wireConn) { c.send("Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno") },
		"it says deleted":    func(c *wireConn) { c.send("Connection: close\r\n" + ok(onlyADeleted)[17:]) },
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
			// If the call would have gone on, the context ended it.
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

func TestASlowReplyIsRetriedAndItsErrorNamesTheAttemptsTimeout(t *testing.T) {
	for name, step := range map[string]func(*wireConn){
		"before the headers": func(c *wireConn) { c.receive(); c.stall() },
		"in the headers":     func(c *wireConn) { c.receive(); c.send("HTTP/1.1 200 OK\r\n"); c.stall() },
		"in the body":        func(c *wireConn) { c.receive(); c.send(ok(onlyADeleted)[:50]); c.stall() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, tr := inMemoryWire(t, step)
				client := newClient(t, srv.URL, through(tr),
					memoryplugin.WithMaxRetries(2), memoryplugin.WithAttemptTimeout(7*time.Second))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // The caller has time left.
				defer cancel()

				result, err := deleteA(ctx, client)

				requireUnconfirmed(t, result, err)
				assertAttemptTimedOut(t, 7*time.Second, err)
				assert.Equal(t, 3, result.Attempts)
				assert.EqualValues(t, 3, srv.requests.Load())
			})
		})
	}
}

func TestAResponseHeaderTimeoutOfTheTransportIsRetriedAndUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := inMemoryWire(t, func(c *wireConn) { c.receive(); c.stall() })
		tr.ResponseHeaderTimeout = time.Second

		result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr), memoryplugin.WithMaxRetries(2)))

		requireUnconfirmed(t, result, err)
		assert.Equal(t, 3, result.Attempts)
		assert.EqualValues(t, 3, srv.requests.Load())
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
			assert.EqualError(t, err, `memoryplugin: delete conversations: 1 of 1 unconfirmed: context canceled: "stopped by the operator" (1 attempt)`)
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
