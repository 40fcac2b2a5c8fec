package memoryplugin_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// The frames of HTTP/2, RFC 9113, that the tests need.
const (
	frameData     = 0x0
	frameHeaders  = 0x1
	frameReset    = 0x3
	frameSettings = 0x4
	framePing     = 0x6
	frameGoAway   = 0x7

	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4

	codeNoError         = 0x0
	codeProtocolError   = 0x1
	codeInternalError   = 0x2
	codeRefusedStream   = 0x7
	codeCancel          = 0x8
	codeEnhanceYourCalm = 0xb
	codeHTTP11Required  = 0xd
)

// h2Conn is an HTTP/2 connection as its server sees it.
type h2Conn struct {
	*wireConn
	out chan []byte // Written by a goroutine: a pipe has no room for a frame.
}

// overHTTP2 returns a wire that speaks HTTP/2 and reacts to each request by the
// next of its steps, and to all further ones by the last; and a transport to it.
func overHTTP2(t testing.TB, steps ...func(c *h2Conn, stream uint32)) (*wire, *http.Transport) {
	t.Helper()
	server, client := testTLS(t, "h2")
	srv, tr := ownTransport(t, func(c *wireConn) {
		pipe := c.Conn
		c.Conn = tls.Server(pipe, server)
		c.r = bufio.NewReader(c.Conn)
		h2 := &h2Conn{c, make(chan []byte, 100)}
		written := make(chan struct{})
		go func() {
			defer close(written)
			for frame := range h2.out {
				_, _ = c.Write(frame)
			}
		}()
		h2.serve(steps)
		pipe.Close()
		close(h2.out)
		<-written
	})
	srv.URL = "https://example.com"
	tr.Protocols.SetHTTP2(true)
	tr.TLSClientConfig = client
	return srv, tr
}

// serve reads frames until a step, or the client, ends the connection.
func (c *h2Conn) serve(steps []func(*h2Conn, uint32)) {
	if _, err := c.r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return
	}
	c.frame(frameSettings, 0, 0)
	for {
		var head [9]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c.r, payload); err != nil {
			return
		}
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		switch {
		case kind == frameSettings && flags&flagAck == 0:
			c.frame(frameSettings, flagAck, 0)
		case kind == framePing && flags&flagAck == 0:
			c.frame(framePing, flagAck, 0, payload...)
		case kind == frameHeaders:
			c.wire.requests.Add(1)
		case kind == frameData && flags&flagEndStream != 0:
			step := steps[min(int(c.wire.requests.Load()), len(steps))-1]
			if step == nil {
				return
			}
			step(c, stream)
		}
	}
}

func (c *h2Conn) frame(kind, flags byte, stream uint32, payload ...byte) {
	n := len(payload)
	head := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}
	c.out <- append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

// status sends the head of a reply, with a content-length if that is not 0.
func (c *h2Conn) status(stream uint32, status, length int) {
	// HPACK, RFC 7541: literals with a name of the static table, 8 and 28.
	fields := fmt.Appendf([]byte{0x08, 3}, "%d", status)
	if length > 0 {
		text := fmt.Sprint(length)
		fields = append(append(fields, 0x0f, 28-15, byte(len(text))), text...)
	}
	c.frame(frameHeaders, flagEndHeaders, stream, fields...)
}

func (c *h2Conn) body(stream uint32, flags byte, body string) {
	c.frame(frameData, flags, stream, []byte(body)...)
}

func (c *h2Conn) reset(stream uint32, code byte) {
	c.frame(frameReset, 0, stream, 0, 0, 0, code)
}

// goAway says that streams up to last were, or will be, handled.
func (c *h2Conn) goAway(last uint32, code byte) {
	c.frame(frameGoAway, 0, 0, 0, 0, byte(last>>8), byte(last), 0, 0, 0, code)
}

func answer200(c *h2Conn, stream uint32) {
	c.status(stream, 200, 0)
	c.body(stream, flagEndStream, onlyADeleted)
}

func TestOverHTTP2CallsShareAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := overHTTP2(t, answer200)
		client := newClient(t, srv.URL, through(tr))

		for range 3 {
			result, err := deleteA(t.Context(), client)
			require.NoError(t, err)
			require.Equal(t, []string{"a"}, result.Deleted)
		}

		assert.EqualValues(t, 3, srv.requests.Load())
		assert.EqualValues(t, 1, srv.accepted.Load())
	})
}

func TestOverHTTP2AnAttemptIsOneRequest(t *testing.T) {
	for name, step := range map[string]func(*h2Conn, uint32){
		"reset: refused stream":   func(c *h2Conn, stream uint32) { c.reset(stream, codeRefusedStream) },
		"reset: protocol error":   func(c *h2Conn, stream uint32) { c.reset(stream, codeProtocolError) },
		"reset: internal error":   func(c *h2Conn, stream uint32) { c.reset(stream, codeInternalError) },
		"reset: cancel":           func(c *h2Conn, stream uint32) { c.reset(stream, codeCancel) },
		"reset: use HTTP/1.1":     func(c *h2Conn, stream uint32) { c.reset(stream, codeHTTP11Required) },
		"go away: not handled":    func(c *h2Conn, stream uint32) { c.goAway(stream-1, codeNoError) },
		"go away: protocol error": func(c *h2Conn, stream uint32) { c.goAway(stream-1, codeProtocolError) },
		"go away: calm":           func(c *h2Conn, stream uint32) { c.goAway(stream-1, codeEnhanceYourCalm) },
		"a frame that is none":    func(c *h2Conn, stream uint32) { c.frame(frameHeaders, flagEndHeaders, 0, 0x88) },
		"connection closed":       nil,
	} {
		for suffix, opts := range map[string][]memoryplugin.Option{
			"":                         nil,
			" with an Idempotency-Key": {idempotencyKey},
		} {
			t.Run(name+suffix, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv, tr := overHTTP2(t, step)

					client := newClient(t, srv.URL, append(opts, through(tr), memoryplugin.WithMaxRetries(2))...)
					result, err := deleteA(t.Context(), client)

					requireUnconfirmed(t, result, err)
					assert.Equal(t, 3, result.Attempts)
					assert.EqualValues(t, 3, srv.requests.Load())
				})
			})
		}
	}
}

func TestOverHTTP2ATransportThatRetriesByItselfHidesNoUnknownAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The first request may have deleted a, but its reply is lost.
		srv, tr := overHTTP2(t,
			func(c *h2Conn, stream uint32) { c.reset(stream, codeRefusedStream) },
			func(c *h2Conn, stream uint32) {
				c.status(stream, 200, 0)
				c.body(stream, flagEndStream, nothingDeleted)
			})
		retrying := retryablehttp.NewClient()
		retrying.HTTPClient, retrying.Logger = &http.Client{Transport: tr}, nil

		result, err := deleteA(t.Context(), newClient(t, srv.URL, memoryplugin.WithHTTPClient(retrying.StandardClient())))

		requireUnconfirmed(t, result, err)
		assert.Equal(t, 1, result.Attempts)
		assert.EqualValues(t, 2, srv.requests.Load())
	})
}

func TestOverHTTP2ALostReplyIsRetriedAndUnconfirmed(t *testing.T) {
	for name, step := range map[string]func(*h2Conn, uint32){
		"reset before the body": func(c *h2Conn, stream uint32) {
			c.status(stream, 200, 0)
			c.reset(stream, codeInternalError)
		},
		"valid JSON that was to go on": func(c *h2Conn, stream uint32) {
			c.status(stream, 200, 0)
			c.body(stream, 0, onlyADeleted)
			c.reset(stream, codeNoError)
		},
		"shorter than its length": func(c *h2Conn, stream uint32) {
			c.status(stream, 200, len(onlyADeleted)+1)
			c.body(stream, flagEndStream, onlyADeleted)
		},
		"longer than its length": func(c *h2Conn, stream uint32) {
			c.status(stream, 200, len(onlyADeleted)-1)
			c.body(stream, flagEndStream, onlyADeleted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, tr := overHTTP2(t, step)

				result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr), memoryplugin.WithMaxRetries(1)))

				requireUnconfirmed(t, result, err)
				assert.NotErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
				assert.Equal(t, 2, result.Attempts)
				assert.EqualValues(t, 2, srv.requests.Load())
			})
		})
	}
}

func TestOverHTTP2AnAnswerCountsEvenIfTheServerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := overHTTP2(t, func(c *h2Conn, stream uint32) {
			c.goAway(stream, codeNoError)
			answer200(c, stream)
		})

		result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr)))

		require.NoError(t, err)
		assert.Equal(t, []string{"a"}, result.Deleted)
		assert.Equal(t, 1, result.Attempts)
	})
}

func TestOverHTTP2TheStatusOfAnErrorDecidesIfItsBodyIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, tr := overHTTP2(t, func(c *h2Conn, stream uint32) {
			c.status(stream, 401, 0)
			c.body(stream, 0, `{"error":"n`)
			c.reset(stream, codeInternalError)
		})

		result, err := deleteA(t.Context(), newClient(t, srv.URL, through(tr)))

		requireNotDeleted(t, result, err)
		assert.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
		assert.Equal(t, 1, result.Attempts)
	})
}

// half sends no more than the beginning of a 200.
func half(c *h2Conn, stream uint32) {
	c.status(stream, 200, 0)
	c.body(stream, 0, strings.TrimSuffix(onlyADeleted, "}"))
}

func TestOverHTTP2AContextThatEndsIsUnconfirmedAndNotRetried(t *testing.T) {
	for name, step := range map[string]func(*h2Conn, uint32){
		"before the headers": func(*h2Conn, uint32) {},
		"in the body":        half,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, tr := overHTTP2(t, step)
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

func TestOverHTTP2AnAttemptsTimeoutIsNotTheContexts(t *testing.T) {
	for name, step := range map[string]func(*h2Conn, uint32){
		"before the headers": func(*h2Conn, uint32) {},
		"in the body":        half,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, tr := overHTTP2(t, step)
				client := newClient(t, srv.URL, through(tr),
					memoryplugin.WithMaxRetries(1), memoryplugin.WithAttemptTimeout(7*time.Second))

				result, err := deleteA(t.Context(), client)

				requireUnconfirmed(t, result, err)
				assertAttemptTimedOut(t, 7*time.Second, err)
				assert.Equal(t, 2, result.Attempts)
				assert.EqualValues(t, 2, srv.requests.Load())
			})
		})
	}
}
