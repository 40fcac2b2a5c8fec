package memoryplugin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestAnAttemptIsOneRequestEvenIfAnIdleConnectionDies(t *testing.T) {
	for name, opts := range map[string][]memoryplugin.Option{
		"plain":                   nil,
		"with an Idempotency-Key": {idempotencyKey},
	} {
		t.Run(name, func(t *testing.T) {
			srv := listen(t, func(c *wireConn) {
				c.receive()
				c.send(ok(onlyADeleted))
				c.receive()
			})
			client := newClient(t, srv.URL, append(opts, memoryplugin.WithMaxRetries(0))...)
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
	client := newClient(t, srv.URL, idempotencyKey)
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
	assert.Contains(t, first, "\r\nContent-Length: 13\r\n")
	assert.Contains(t, first, "\r\n\r\n"+`{"ids":["a"]}`)
}

// retrying is a transport that sends a request up to 3 times by itself.
func retrying() http.RoundTripper {
	client := retryablehttp.NewClient()
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax, client.Logger = 2, 1, 1, nil
	return client.StandardClient().Transport
}

func TestATransportThatRetriesByItselfHidesNoUnknownAttempt(t *testing.T) {
	for name, second := range map[string]http.HandlerFunc{
		"before an answer":  reply(200, nothingDeleted),
		"before a refusal":  reply(401, `{"error":"Invalid API key"}`),
		"before a redirect": reply(308, "", "Location", "/elsewhere"),
	} {
		t.Run(name, func(t *testing.T) {
			// The first request may have deleted a, but its reply is lost.
			srv := serve(t, drop, second)

			result, err := deleteA(t.Context(), newClient(t, srv.URL, through(retrying())))

			requireUnconfirmed(t, result, err)
			assert.ErrorContains(t, err, "transport sent the request more than once")
			assert.Equal(t, 1, result.Attempts)
			assert.Len(t, srv.received(), 2)
		})
	}
}

func TestWhatAnAnswerListsIsDeletedEvenIfTheTransportRetriesByItself(t *testing.T) {
	srv := serve(t, drop, aDeleted)

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(retrying())))

	require.NoError(t, err)
	assert.Equal(t, onlyA, result.Deleted)
}

func TestATransportThatCouldRetryByItselfButDidNotIsTrusted(t *testing.T) {
	srv := serve(t, reply(200, nothingDeleted))

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(retrying())))

	require.NoError(t, err)
	assert.Equal(t, onlyA, result.NotListed)
}

func TestATransportThatFollowsARedirectIsNotTrusted(t *testing.T) {
	srv := serve(t, reply(302, "", "Location", "/elsewhere"), reply(200, nothingDeleted))
	following := transport(func(r *http.Request) (*http.Response, error) { return new(http.Client).Do(r) })

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(following)))

	requireUnconfirmed(t, result, err)
}

// The second request goes to another address, where the hooks can't tell it from
// the fetching of a token.
func TestATransportThatFollowsARedirectElsewhereIsNotTrusted(t *testing.T) {
	elsewhere := serve(t, reply(200, nothingDeleted))
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusSeeOther) })
	following := transport(func(r *http.Request) (*http.Response, error) { return new(http.Client).Do(r) })

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(following)))

	requireUnconfirmed(t, result, err)
	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.Equal(t, 1, result.Attempts)
}

// lateSender returns a reply at once, and sends the request when its body is read.
type lateSender struct{ send func() io.ReadCloser }

func (l *lateSender) Read(p []byte) (int, error) { return l.send().Read(p) }

func (l *lateSender) Close() error { return nil }

func TestATransportThatRepeatsTheRequestWhileItsReplyIsReadIsNotTrusted(t *testing.T) {
	srv := serve(t, drop, reply(200, nothingDeleted))
	late := transport(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		send := sync.OnceValue(func() io.ReadCloser {
			for {
				again := r.Clone(r.Context())
				again.Body = io.NopCloser(bytes.NewReader(body))
				if resp, err := http.DefaultTransport.RoundTrip(again); err == nil {
					return resp.Body
				}
			}
		})
		return &http.Response{StatusCode: 200, Body: &lateSender{send}, Request: r}, nil
	})

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(late)))

	requireUnconfirmed(t, result, err)
}

func TestATransportMayRewriteTheURLOfARequest(t *testing.T) {
	srv := serve(t, reply(503, ""), reply(200, onlyADeleted))
	gateway := transport(func(r *http.Request) (*http.Response, error) {
		r.URL.Path = "/gateway" + r.URL.Path
		return http.DefaultTransport.RoundTrip(r)
	})

	_, err := deleteA(t.Context(), newClient(t, srv.URL, through(gateway)))

	require.NoError(t, err)
	for _, request := range srv.received() {
		assert.Equal(t, "/gateway/api/chat-history/chats", request.URL.Path)
	}
}

func TestARequestThatIsDumpedCountsOnce(t *testing.T) {
	for _, body := range []bool{true, false} {
		t.Run(fmt.Sprintf("with its body: %v", body), func(t *testing.T) {
			srv := serve(t, reply(200, nothingDeleted))
			dumping := transport(func(r *http.Request) (*http.Response, error) {
				_, err := httputil.DumpRequestOut(r, body)
				assert.NoError(t, err)
				return http.DefaultTransport.RoundTrip(r)
			})

			result, err := deleteA(t.Context(), newClient(t, srv.URL, through(dumping)))

			require.NoError(t, err)
			assert.Equal(t, onlyA, result.NotListed)
		})
	}
}

func TestARequestThatIsDumpedAndRepeatedCountsTwice(t *testing.T) {
	srv := serve(t, drop, reply(200, nothingDeleted))
	inner := retrying()
	dumping := transport(func(r *http.Request) (*http.Response, error) {
		_, err := httputil.DumpRequestOut(r, true)
		assert.NoError(t, err)
		return inner.RoundTrip(r)
	})

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(dumping)))

	requireUnconfirmed(t, result, err)
}

// fetching is a transport that fetches a token before each request.
func fetching(from string) http.RoundTripper {
	return transport(func(r *http.Request) (*http.Response, error) {
		fetch, err := http.NewRequestWithContext(r.Context(), http.MethodGet, from, nil)
		if err != nil {
			return nil, err
		}
		token, err := http.DefaultTransport.RoundTrip(fetch)
		if err != nil {
			return nil, err
		}
		token.Body.Close()
		return http.DefaultTransport.RoundTrip(r)
	})
}

func TestATokenFetchedFromAnotherAddressOnTheWayIsNoSecondRequest(t *testing.T) {
	tokens := serve(t, reply(200, ""))
	srv := serve(t, reply(200, nothingDeleted))

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(fetching(tokens.URL))))

	require.NoError(t, err)
	assert.Equal(t, onlyA, result.NotListed)
	assert.Len(t, tokens.received(), 1)
}

func TestATokenFetchedFromTheSameAddressCannotBeToldFromASecondRequest(t *testing.T) {
	srv := serve(t, reply(200, ""), reply(200, nothingDeleted))

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(fetching(srv.URL))))

	requireUnconfirmed(t, result, err)
}

func TestAFallbackAfterADialThatFailedIsNoSecondRequest(t *testing.T) {
	srv := serve(t, reply(200, nothingDeleted))
	tr := transport(func(r *http.Request) (*http.Response, error) {
		unsent := r.Clone(r.Context())
		unsent.Body = io.NopCloser(strings.NewReader(`{"ids":["a"]}`))
		_, err := refusing.RoundTrip(unsent)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		return http.DefaultTransport.RoundTrip(r)
	})

	result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr)))

	require.NoError(t, err)
	assert.Equal(t, onlyA, result.NotListed)
}

// refusing is a transport that never obtains a connection.
var refusing = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
	return nil, syscall.ECONNREFUSED
}}

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
		503: memoryplugin.ErrUnconfirmed,
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
	// A transport of another protocol, which tells nothing, with a fallback.
	tr := transport(func(r *http.Request) (*http.Response, error) {
		sent, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
		return refusing.RoundTrip(r)
	})

	result, err := deleteA(t.Context(), newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(0)))

	requireUnconfirmed(t, result, err)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// unequal is an error that panics if it is compared with its like.
type unequal struct{ of any }

func (unequal) Error() string { return "a cause that can't be compared" }

func TestACauseThatCannotBeComparedIsNoPanic(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	tr := transport(func(r *http.Request) (*http.Response, error) {
		cancel(unequal{[]string{"a"}})
		return nil, context.Cause(r.Context())
	})

	result, err := deleteA(ctx, newClient(t, "http://localhost", through(tr)))

	requireUnconfirmed(t, result, err)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "can't be compared")
}

// ownContext is a Context with words of its own for its end.
type ownContext struct {
	context.Context
	err error
}

func (c ownContext) Err() error { return c.err }

func (c ownContext) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func TestTheWordsOfAContextOfTheCallersOwnAreQuotedAndWithoutTheKey(t *testing.T) {
	ctx := ownContext{t.Context(), errors.New("over\nfor " + testKey)}

	_, err := deleteA(ctx, newClient(t, "http://localhost"))

	assert.ErrorIs(t, err, ctx.err)
	assert.NotContains(t, err.Error(), testKey)
	assert.NotContains(t, err.Error(), "\n")
}

func TestATransportThatCallsTheEndOfTheContextByAnotherNameIsNotRetried(t *testing.T) {
	for _, retries := range []int{0, 4} {
		t.Run(fmt.Sprintf("%d retries", retries), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			errByAnotherName := errors.New("request canceled")
			tr := transport(func(*http.Request) (*http.Response, error) {
				cancel(errOperator)
				return nil, errByAnotherName
			})

			result, err := deleteA(ctx, newClient(t, "http://localhost", through(tr), memoryplugin.WithMaxRetries(retries)))

			requireUnconfirmed(t, result, err)
			assert.Equal(t, 1, result.Attempts)
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, errOperator)
			assert.ErrorIs(t, err, errByAnotherName)
		})
	}
}
