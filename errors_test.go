package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestAStatusDecidesTheOutcome(t *testing.T) {
	// A server that answers /<status>/... with that status, and a body that only a 200 may have.
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(strings.Split(r.URL.Path, "/")[1])
		assert.NoError(t, err)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"count":1}`)
	})
	sentinels := map[int]error{
		401: memoryplugin.ErrUnauthorized,
		403: memoryplugin.ErrForbidden,
		404: memoryplugin.ErrNotFound,
		413: memoryplugin.ErrPayloadTooLarge,
		429: memoryplugin.ErrRateLimited,
	}
	for status := 201; status <= 999; status++ {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			documented := status >= 300 && status <= 599
			refused, retried := false, false
			switch {
			case status == 408, status == 425, status == 429:
				refused, retried = true, true
			case status >= 400 && status <= 499, status == 501, status == 505, status == 307, status == 308:
				refused = true
			case status >= 500 && status <= 599:
				retried = true
			}
			client := newClient(t, fmt.Sprintf("%s/%d", srv.URL, status),
				memoryplugin.WithMaxRetries(1), memoryplugin.WithHTTPClient(http.DefaultClient))

			result, err := client.DeleteConversations(t.Context(), []string{"a"})

			require.Error(t, err)
			assertAccounted(t, result, err, 1)
			if refused {
				assert.Equal(t, []string{"a"}, result.NotDeleted)
			} else {
				assert.Equal(t, []string{"a"}, result.Unconfirmed)
			}
			if retried {
				assert.Equal(t, 2, result.Attempts)
			} else {
				assert.Equal(t, 1, result.Attempts)
			}
			var reply *memoryplugin.ErrorResponse
			require.Equal(t, documented, errors.As(err, &reply))
			assert.Equal(t, !documented, errors.Is(err, memoryplugin.ErrUnexpectedResponse))
			if documented {
				assert.Equal(t, status, reply.StatusCode)
			}
			for of, sentinel := range sentinels {
				assert.Equal(t, of == status, errors.Is(err, sentinel), "%v", sentinel)
			}
		})
	}
}

// limiterFunc is a Limiter.
type limiterFunc func(context.Context) error

func (f limiterFunc) Wait(ctx context.Context) error { return f(ctx) }

// outsideCall is a call that is ended by an error from outside the SDK.
type outsideCall struct {
	ctx context.Context
	opt memoryplugin.Option
}

func outsideCalls(t *testing.T, err error) map[string]outsideCall {
	t.Helper()
	ended, end := context.WithCancelCause(t.Context())
	end(err)
	limiter := limiterFunc(func(context.Context) error { return err })
	failing := transport(func(*http.Request) (*http.Response, error) { return nil, err })
	return map[string]outsideCall{
		"a cause":     {ended, memoryplugin.WithMaxRetries(0)},
		"a limiter":   {t.Context(), memoryplugin.WithLimiter(limiter)},
		"a transport": {t.Context(), memoryplugin.WithHTTPClient(&http.Client{Transport: failing})},
	}
}

// The error of one call can end another, as the cause of an errgroup's context
// does. It says nothing about the ids of the other.
func TestAnotherCallsUnknownOutcomeIsNotThisCalls(t *testing.T) {
	for place, outside := range outsideCalls(t, fmt.Errorf("another call: %w", memoryplugin.ErrOutcomeUnknown)) {
		t.Run(place, func(t *testing.T) {
			result, err := newClient(t, "http://localhost", outside.opt).DeleteConversations(outside.ctx, []string{"a"})

			assertAccounted(t, result, err, 1)
		})
	}
}

func TestARedirectIsNeverFollowed(t *testing.T) {
	other := serve(t, reply(200, `{"count":1}`))
	locations := []string{
		other.URL, other.URL + "/api/chat-history/chats", "/api/chat-history/chats", "?again",
		"http://[::1", "%zz", "http://a b/", ":", "http://127.0.0.1:x/",
	}
	for status := 300; status <= 399; status++ {
		location := locations[status%len(locations)]
		t.Run(fmt.Sprintf("%d to %s", status, location), func(t *testing.T) {
			srv := serve(t, reply(status, ``, "Location", location))

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a"})

			assert.Empty(t, result.Deleted)
			assert.Len(t, srv.received(), 1)
			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, location, reply.Header.Get("Location"))
			assert.ErrorContains(t, err, fmt.Sprintf("redirect to %q was not followed", location))
		})
	}
	assert.Empty(t, other.received())
}

func TestAnErrorResponseHasEveryPartOfTheReply(t *testing.T) {
	const body = `{"score": 0.5, "text": "wait a while", "error": "too many", "other": {"error": 1}}`
	srv := serve(t, reply(429, body, "Retry-After", "7", "X-Request-Id", "req-1", "Via", "a", "Via", "b"))

	result, err := newClient(t, srv.URL, memoryplugin.WithMaxRetries(0)).DeleteConversations(t.Context(), []string{"a"})

	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, 429, reply.StatusCode)
	assert.Equal(t, "too many", reply.Message)
	assert.Equal(t, "wait a while", reply.Text)
	assert.Equal(t, 0.5, reply.Score)
	assert.Equal(t, "req-1", reply.RequestID)
	assert.Equal(t, "req-1", result.RequestID)
	assert.Equal(t, 7*time.Second, reply.RetryAfter)
	assert.Equal(t, []string{"a", "b"}, reply.Header.Values("Via"))
	assert.Equal(t, body, string(reply.Body))
}

func TestAFieldThatCannotBeReadDoesNotCostTheOthers(t *testing.T) {
	large := strings.Repeat("x", 64<<10)
	for name, test := range map[string]struct {
		body          string
		message, text string
		score         float64
	}{
		"error is a number":         {`{"error":7,"text":"t","score":0.5}`, "", "t", 0.5},
		"error is an object":        {`{"error":{"message":"e"},"text":"t","score":0.5}`, "", "t", 0.5},
		"text is a list":            {`{"text":["t"],"error":"e","score":0.5}`, "e", "", 0.5},
		"score is a string":         {`{"score":"high","error":"e","text":"t"}`, "e", "t", 0},
		"score is no float64":       {`{"score":1e999,"error":"e","text":"t"}`, "e", "t", 0},
		"null":                      {`{"score":null,"error":null,"text":"t"}`, "", "t", 0},
		"something after the JSON":  {`{"error":"e"}]`, "e", "", 0},
		"cut in a value":            {`{"error":"e","text":"t`, "e", "", 0},
		"cut in a name":             {`{"error":"e","text":"t","sco`, "e", "t", 0},
		"a stray comma":             {`{"error":"e",}`, "e", "", 0},
		"beyond 64 KiB":             {`{"error":"e","text":"` + large + `","score":0.5}`, "e", "", 0},
		"not JSON":                  {`<html>busy</html>`, "", "", 0},
		"not an object":             {`["error"]`, "", "", 0},
		"empty":                     {``, "", "", 0},
		"not UTF-8":                 {"{\"x\":\"\xff\",\"error\":\"e\"}", "e", "", 0},
		"half of a surrogate pair":  {`{"x":"\ud800","error":"e"}`, "e", "", 0},
		"nested where not expected": {`{"data":{"error":"x"},"error":"e"}`, "e", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(401, test.body))

			_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a"})

			require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, test.message, reply.Message)
			assert.Equal(t, test.text, reply.Text)
			assert.Equal(t, test.score, reply.Score)
			assert.Equal(t, test.body[:min(len(test.body), 64<<10)], string(reply.Body))
		})
	}
}

func TestTheLastReplyIsTheOneThatErrorsAsFinds(t *testing.T) {
	srv := serve(t, reply(503, ``), reply(429, ``), reply(403, ``))

	_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a"})

	var last *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &last)
	assert.Equal(t, 403, last.StatusCode)
}

func TestAnErrorShowsTheServersWordsWhateverTheirForm(t *testing.T) {
	for body, text := range map[string]string{
		`{"text":"t","error":"e"}`: `418 I'm a teapot: "e"`,
		`{"text":"t"}`:             `418 I'm a teapot: "t"`,
		"<h1>gone</h1>\n":          `418 I'm a teapot: "<h1>gone</h1>"`,
		``:                         `418 I'm a teapot`,
	} {
		t.Run(body, func(t *testing.T) {
			srv := serve(t, reply(418, body))

			_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a"})

			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.EqualError(t, reply, text)
		})
	}
}

// A body in an encoding that it isn't in can't be read at all.
func TestA401IsErrUnauthorizedEvenWithABrokenEncoding(t *testing.T) {
	srv := serve(t, reply(401, `{"error":"no"}`, "Content-Encoding", "gzip"))

	result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a"})

	assert.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	assert.Equal(t, []string{"a"}, result.NotDeleted)
}

func TestTheRequestIDIsTheFirstOfThreeHeaders(t *testing.T) {
	longID := strings.Repeat("0123456789", 30)
	for want, header := range map[string][]string{
		"x-request-id": {"Cf-Ray", "cf-ray", "X-Vercel-Id", "x-vercel-id", "X-Request-Id", "x-request-id"},
		"x-vercel-id":  {"Cf-Ray", "cf-ray", "X-Vercel-Id", "x-vercel-id", "X-Request-Id", ""},
		"cf-ray":       {"Cf-Ray", "cf-ray", "Request-Id", "other"},
		"":             {"Request-Id", "other"},
		longID[:256]:   {"X-Vercel-Id", "x-vercel-id", "X-Request-Id", longID},
	} {
		t.Run(want[:min(len(want), 20)], func(t *testing.T) {
			srv := serve(t, reply(400, ``, header...), reply(200, `{"count":1}`, header...))
			client := newClient(t, srv.URL)

			result, err := client.DeleteConversations(t.Context(), []string{"a"})
			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, want, reply.RequestID)
			assert.Equal(t, want, result.RequestID)

			result, err = client.DeleteConversations(t.Context(), []string{"a"})
			require.NoError(t, err)
			assert.Equal(t, want, result.RequestID)
		})
	}
}

func TestTheRequestIDIsThatOfTheLastReply(t *testing.T) {
	srv := serve(t, reply(503, ``, "X-Request-Id", "first"), reply(503, ``, "X-Request-Id", "second"), drop)

	result, err := newClient(t, srv.URL, memoryplugin.WithMaxRetries(2)).DeleteConversations(t.Context(), []string{"a"})

	require.Error(t, err)
	assert.Equal(t, "second", result.RequestID)
}

func TestAnErrorResponseSharesNoHeaderWithTheReply(t *testing.T) {
	srv := serve(t, reply(400, ``, "X-Test", "as sent"))
	var seen *http.Response
	tracing := transport(func(r *http.Request) (*http.Response, error) {
		var err error
		seen, err = http.DefaultTransport.RoundTrip(r)
		return seen, err
	})

	_, err := newClient(t, srv.URL, memoryplugin.WithHTTPClient(&http.Client{Transport: tracing})).DeleteConversations(t.Context(), []string{"a"})
	seen.Header["X-Test"][0] = "changed"

	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, "as sent", reply.Header.Get("X-Test"))
}

func TestTextFromOutsideCannotForgeOrFloodALog(t *testing.T) {
	// A forged line, a terminal's escapes, a change of direction, and much of it.
	hostile := "ok\nlevel=INFO msg=deleted\r\x1b[2J\x9b\u0085\u2028\u202e" + strings.Repeat("\u0007é", 512)
	asJSON := strings.NewReplacer("\n", `\n`, "\r", `\r`, "\x1b", `\u001b`, "\u0007", `\u0007`).Replace(hostile)
	inHeader := strings.NewReplacer("\n", " ", "\r", " ", "\x1b", " ", "\u0007", " ").Replace(hostile)
	for name, step := range map[string]http.HandlerFunc{
		"error":                reply(400, `{"error":"`+asJSON+`"}`),
		"text":                 reply(400, `{"text":"`+asJSON+`"}`),
		"a body":               reply(400, hostile),
		"a Location":           reply(302, ``, "Location", inHeader),
		"a 200 of no shape":    reply(200, hostile),
		"a 200 of wrong shape": reply(200, `{"deleted":["`+asJSON+`",1]}`),
		"a strange id":         reply(200, `{"deleted":["`+asJSON+`"]}`),
		"a header that breaks": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 \x1b[2J%s\r\n\r\n", hostile)
				_ = conn.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, step)

			_, err := newClient(t, srv.URL, memoryplugin.WithMaxRetries(0)).DeleteConversations(t.Context(), []string{"a"})

			assertPrintable(t, err)
		})
	}
	for place, outside := range outsideCalls(t, errors.New(hostile)) {
		t.Run(place, func(t *testing.T) {
			_, err := newClient(t, "http://localhost", outside.opt).DeleteConversations(outside.ctx, []string{"a"})

			assertPrintable(t, err)
		})
	}
}

func assertPrintable(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	assert.True(t, utf8.ValidString(err.Error()), "%q", err)
	assert.False(t, strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }), "%q", err)
	const frame = 150 // What the SDK says itself.
	assert.LessOrEqual(t, len(err.Error()), 512+frame)
}

func TestTextFromOutsideIsCutTo512Bytes(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("x", 510), strings.Repeat("x", 511), strings.Repeat("x", 4096), strings.Repeat("é", 300), strings.Repeat(`\`, 400),
		strings.Repeat("\x00", 400), strings.Repeat("\U000e0001", 200), strings.Repeat("\xff", 200), "x" + strings.Repeat("😀", 200),
	} {
		t.Run(fmt.Sprintf("%d of %+.3q", len(text), text), func(t *testing.T) {
			srv := serve(t, reply(400, text))

			_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a"})

			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			quoted := strings.TrimPrefix(reply.Error(), "400 Bad Request: ")
			assert.LessOrEqual(t, len(quoted), 512)
			assert.Greater(t, len(quoted), 490, "cut for no reason")
			assert.Regexp(t, `^".*"$`, quoted)
			assertPrintable(t, err)
		})
	}
}
