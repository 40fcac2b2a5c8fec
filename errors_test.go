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
	"testing/synctest"
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
	for status := 201; status <= 999; status++ {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			client := newClient(t, fmt.Sprintf("%s/%d", srv.URL, status),
				memoryplugin.WithMaxRetries(1), memoryplugin.WithHTTPClient(http.DefaultClient))

			result, err := deleteA(t.Context(), client)

			refused, retried := outcomeOf(status)
			if refused {
				requireNotDeleted(t, result, err)
			} else {
				requireUnconfirmed(t, result, err)
			}
			if retried {
				assert.Equal(t, 2, result.Attempts)
			} else {
				assert.Equal(t, 1, result.Attempts)
			}
			assertErrorOf(t, status, retried, err)
		})
	}
}

// outcomeOf is the table of what each status but 200 means.
func outcomeOf(status int) (refused, retried bool) {
	switch {
	case status == 425, status == 429:
		return true, true
	case status == 408, status == 460, status == 499:
		return false, true
	case status >= 400 && status <= 499, status == 501, status == 505, status == 307, status == 308:
		return true, false
	case status >= 500 && status <= 599:
		return false, true
	}
	return false, false
}

func assertErrorOf(t *testing.T, status int, retryable bool, err error) {
	t.Helper()
	documented := status >= 300 && status <= 599
	var reply *memoryplugin.ErrorResponse
	require.Equal(t, documented, errors.As(err, &reply))
	assert.Equal(t, !documented, errors.Is(err, memoryplugin.ErrUnexpectedResponse))
	if documented {
		assert.Equal(t, status, reply.StatusCode)
		assert.Equal(t, retryable, reply.Retryable())
	}
	for of, sentinel := range map[int]error{
		401: memoryplugin.ErrUnauthorized,
		403: memoryplugin.ErrForbidden,
		404: memoryplugin.ErrNotFound,
		413: memoryplugin.ErrPayloadTooLarge,
		429: memoryplugin.ErrRateLimited,
	} {
		assert.Equal(t, of == status, errors.Is(err, sentinel), "%v", sentinel)
	}
}

// With one it is a rate limit, such as GitHub's secondary one.
func TestA403IsRetriedIfItHasARetryAfter(t *testing.T) {
	for retryAfter, retried := range map[string]bool{"1": true, "0": false, "soon": false, "": false} {
		t.Run(retryAfter, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := remember(reply(403, ``, "Retry-After", retryAfter))

				result, err := deleteA(t.Context(), srv.client(t, memoryplugin.WithMaxRetries(1)))

				requireNotDeleted(t, result, err)
				assert.Equal(t, retried, result.Attempts == 2)
				require.ErrorIs(t, err, memoryplugin.ErrForbidden)
				var reply *memoryplugin.ErrorResponse
				require.ErrorAs(t, err, &reply)
				assert.Equal(t, retried, reply.Retryable())
			})
		})
	}
}

func TestA404SaysToCheckTheBaseURLUnlessAConversationWasAskedFor(t *testing.T) {
	srv := serve(t, reply(404, `{"error":"no such route"}`))
	client := newClient(t, srv.URL)
	ctx := t.Context()
	for operation, err := range map[string]error{
		"delete conversations": second(deleteA(ctx, client)),
		"list conversations":   second(client.AllConversations(ctx, memoryplugin.ConversationFilter{})),
		"count conversations":  second(client.CountConversations(ctx)),
	} {
		require.ErrorIs(t, err, memoryplugin.ErrNotFound)
		assert.EqualError(t, err, `memoryplugin: `+operation+`: 404 Not Found: "no such route": check the base URL (1 attempt)`)
	}

	_, err := client.GetTranscript(ctx, "a")

	require.ErrorIs(t, err, memoryplugin.ErrNotFound)
	assert.NotContains(t, err.Error(), "base URL")
}

func second[T any](_ T, err error) error { return err }

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

			result, err := deleteA(t.Context(), newClient(t, srv.URL))

			assert.Empty(t, result.Deleted)
			assert.Len(t, srv.received(), 1)
			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, location, reply.Header.Get("Location"))
			assert.ErrorContains(t, err, fmt.Sprintf("redirect to %q was not followed: check the base URL", location))
		})
	}
	assert.Empty(t, other.received())
}

func TestAnErrorResponseHasEveryPartOfTheReply(t *testing.T) {
	const body = `{"score": 0.5, "text": "wait a while", "error": "too many", "other": {"error": 1}}`
	srv := serve(t, reply(429, body, "Retry-After", "7", "X-Request-Id", "req_1", "Via", "a", "Via", "b"))

	result, err := deleteA(t.Context(), newClient(t, srv.URL, memoryplugin.WithMaxRetries(0)))

	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, 429, reply.StatusCode)
	assert.Equal(t, "too many", reply.Message)
	assert.Equal(t, "wait a while", reply.Text)
	assert.Equal(t, 0.5, reply.Score)
	assert.Equal(t, "req_1", reply.RequestID)
	assert.Equal(t, "req_1", result.RequestID)
	assert.Equal(t, 7*time.Second, reply.RetryAfter)
	assert.Equal(t, []string{"a", "b"}, reply.Header.Values("Via"))
	assert.Equal(t, body, string(reply.Body))
}

func TestAFieldThatCannotBeReadDoesNotCostTheOthers(t *testing.T) {
	for name, test := range map[string]struct {
		body          string
		message, text string
		score         float64
	}{
		"error is a number":         {`{"error":7,"text":"t","score":0.5}`, "", "t", 0.5},
		"error is an object":        {`{"error":{"message":"e"},"text":"t","score":0.5}`, "", "t", 0.5},
		"text is a list":            {`{"text":["t"],"error":"e","score":0.5}`, "e", "", 0.5},
		"score is a string":         {`{"score":"high","error":"e","text":"t"}`, "e", "t", 0},
		"score is no float64":       {`{"score":1e400,"error":"e","text":"t"}`, "e", "t", 0},
		"null":                      {`{"score":null,"error":null,"text":"t"}`, "", "t", 0},
		"not UTF-8":                 {"{\"x\":\"\xff\",\"error\":\"e\"}", "e", "", 0},
		"half of a surrogate pair":  {`{"x":"\ud800","error":"e"}`, "e", "", 0},
		"nested where not expected": {`{"data":{"error":"x"},"error":"e"}`, "e", "", 0},
		"another case":              {`{"Error":"x","error":"e","TEXT":"x"}`, "e", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(401, test.body))

			_, err := deleteA(t.Context(), newClient(t, srv.URL))

			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, test.message, reply.Message)
			assert.Equal(t, test.text, reply.Text)
			assert.Equal(t, test.score, reply.Score)
			assert.Equal(t, test.body, string(reply.Body))
		})
	}
}

func TestABodyThatIsNoJSONIsKeptAndQuoted(t *testing.T) {
	for name, body := range map[string]string{
		"HTML":          `<html>busy</html>`,
		"another shape": `["error"]`,
		"cut":           `{"error":"e","text":"t`,
		"more than one": `{"error":"e"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(401, body))

			_, err := deleteA(t.Context(), newClient(t, srv.URL))

			require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, body, string(reply.Body))
			assert.ErrorContains(t, err, fmt.Sprintf("401 Unauthorized: %q", body))
		})
	}
}

func TestAtMost64KiBOfABodyAreKept(t *testing.T) {
	body := `{"error":"` + strings.Repeat("x", 100<<10) + `"}`
	srv := serve(t, reply(401, body))

	_, err := deleteA(t.Context(), newClient(t, srv.URL))

	require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, body[:64<<10], string(reply.Body))
}

func TestABodyThatIsStillEncodedIsNotKept(t *testing.T) {
	srv := serve(t, reply(401, `{"error":"no"}`, "Content-Encoding", "gzip"))

	result, err := deleteA(t.Context(), newClient(t, srv.URL))

	requireNotDeleted(t, result, err)
	require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Nil(t, reply.Body)
	assert.Empty(t, reply.Message)
}

func TestAnErrorResponseShowsTheServersWordsWhateverTheirForm(t *testing.T) {
	for body, text := range map[string]string{
		`{"text":"t","error":"e"}`: `418 I'm a teapot: "e"`,
		`{"text":"t"}`:             `418 I'm a teapot: "t"`,
		`{"error":"","text":""}`:   `418 I'm a teapot: "{\"error\":\"\",\"text\":\"\"}"`,
		"<h1>gone</h1>\n":          `418 I'm a teapot: "<h1>gone</h1>"`,
		``:                         `418 I'm a teapot`,
	} {
		t.Run(body, func(t *testing.T) {
			srv := serve(t, reply(418, body))

			_, err := deleteA(t.Context(), newClient(t, srv.URL))

			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.EqualError(t, reply, text)
		})
	}
}

func TestTheLastReplyIsTheOneThatErrorsAsFinds(t *testing.T) {
	srv := serve(t, reply(503, ``), reply(429, ``), reply(403, ``))

	_, err := deleteA(t.Context(), newClient(t, srv.URL))

	hasReply(t, 403, err)
	assert.ErrorIs(t, err, memoryplugin.ErrForbidden)
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

			result, err := deleteA(t.Context(), client)
			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, want, reply.RequestID)
			assert.Equal(t, want, result.RequestID)

			result, err = deleteA(t.Context(), client)
			require.NoError(t, err)
			assert.Equal(t, want, result.RequestID)
		})
	}
}

func TestTheRequestIDIsThatOfTheLastReply(t *testing.T) {
	srv := serve(t, reply(503, ``, "X-Request-Id", "first"), reply(503, ``, "X-Request-Id", "second"), drop)

	result, err := deleteA(t.Context(), newClient(t, srv.URL, memoryplugin.WithMaxRetries(2)))

	assert.Equal(t, "second", result.RequestID)
	assert.ErrorContains(t, err, `(3 attempts, request id "second")`)
}

func TestAnErrorResponseSharesNoHeaderWithTheReply(t *testing.T) {
	srv := serve(t, reply(400, ``, "X-Test", "as sent"))
	var seen *http.Response
	tracing := transport(func(r *http.Request) (*http.Response, error) {
		var err error
		seen, err = http.DefaultTransport.RoundTrip(r)
		return seen, err
	})

	_, err := deleteA(t.Context(), newClient(t, srv.URL, through(tracing)))
	seen.Header["X-Test"][0] = "changed"

	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, "as sent", reply.Header.Get("X-Test"))
}

// Whoever reads the line alone must know what was asked and what is in doubt.
func TestAnErrorSaysWhatWasAskedWhatIsInDoubtAndWhatHappened(t *testing.T) {
	busy := reply(503, `{"error":"busy"}`, "X-Request-Id", "req_1")
	for name, test := range map[string]struct {
		steps []http.HandlerFunc
		text  string
	}{
		"refused": {
			[]http.HandlerFunc{reply(401, `{"error":"Invalid API key"}`)},
			`memoryplugin: delete conversations: 401 Unauthorized: "Invalid API key" (1 attempt)`,
		},
		"given up": {
			[]http.HandlerFunc{busy},
			`memoryplugin: delete conversations: 3 of 3 unconfirmed: 503 Service Unavailable: "busy" (5 attempts, request id "req_1")`,
		},
		"a lost attempt, then left out": {
			[]http.HandlerFunc{drop, reply(200, `{"deleted":["b"],"count":1}`)},
			`memoryplugin: delete conversations: 2 of 3 unconfirmed: an earlier attempt may have been applied: "EOF" (2 attempts)`,
		},
		"a failed attempt, then left out": {
			[]http.HandlerFunc{busy, reply(200, `{"deleted":["b"],"count":1}`, "X-Request-Id", "req_2")},
			`memoryplugin: delete conversations: 2 of 3 unconfirmed: an earlier attempt may have been applied: 503 Service Unavailable: "busy" (2 attempts, request id "req_2")`,
		},
		"a lost attempt, then refused": {
			[]http.HandlerFunc{drop, reply(403, `{"error":"no"}`)},
			`memoryplugin: delete conversations: 3 of 3 unconfirmed: 403 Forbidden: "no"; an earlier attempt may have been applied: "EOF" (2 attempts)`,
		},
		"a contradiction that leaves nothing in doubt": {
			[]http.HandlerFunc{reply(200, `{"deleted":["a","b","c"],"count":4}`)},
			`memoryplugin: delete conversations: unexpected response: the reply's count is 4, but it lists 3 (1 attempt)`,
		},
		"an error in an answer": {
			[]http.HandlerFunc{reply(200, `{"deleted":["a"],"count":1,"error":"read-only"}`)},
			`memoryplugin: delete conversations: 2 of 3 unconfirmed: unexpected response: 200 OK with an error: "read-only" (1 attempt)`,
		},
		"a status that is not documented": {
			[]http.HandlerFunc{reply(202, `{"queued":true}`)},
			`memoryplugin: delete conversations: 3 of 3 unconfirmed: unexpected response: 202 Accepted: "{\"queued\":true}" (1 attempt)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, test.steps...)

			_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b", "c"})

			assert.EqualError(t, err, test.text)
		})
	}
}

func TestAnErrorAboutWhatAnAnswerLeavesOutWrapsTheEarlierFailure(t *testing.T) {
	srv := serve(t, reply(503, `{"error":"busy"}`), reply(200, `{"deleted":[]}`))

	_, err := deleteA(t.Context(), newClient(t, srv.URL))

	require.ErrorIs(t, err, memoryplugin.ErrUnconfirmed)
	hasReply(t, 503, err)
}

func TestEveryVerbPrintsTheTextOfAnError(t *testing.T) {
	srv := serve(t, reply(503, `{"error":"busy"}`))
	_, err := deleteA(t.Context(), newClient(t, srv.URL))
	text := err.Error()

	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%200s", "%.20s"} {
		assert.Equal(t, fmt.Sprintf(verb, text), fmt.Sprintf(verb, err), verb)
	}
	assert.Contains(t, fmt.Sprintf("%d", err), text)
}

// anotherCallsError is what another call may end the context of this one with,
// as an errgroup does.
func anotherCallsError(t *testing.T) error {
	t.Helper()
	srv := serve(t, reply(401, `{"error":"revoked"}`))
	_, err := deleteA(t.Context(), newClient(t, srv.URL))
	require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	return err
}

func TestAnErrorFromOutsideIsFound(t *testing.T) {
	parsing := &strconv.NumError{Func: "Atoi", Num: "x", Err: strconv.ErrSyntax}
	for place, outside := range outsideCalls(t, fmt.Errorf("%w: %w", errOperator, parsing)) {
		t.Run(place, func(t *testing.T) {
			_, err := deleteA(outside.ctx, newClient(t, "http://localhost", outside.opt))

			assert.ErrorIs(t, err, errOperator)
			assert.ErrorIs(t, err, strconv.ErrSyntax)
			found, ok := errors.AsType[*strconv.NumError](err)
			assert.True(t, ok)
			assert.Same(t, parsing, found)
		})
	}
}

// It says nothing about this call, which met neither a 401 nor anything else.
func TestAnotherCallsErrorIsNotFoundInThisOne(t *testing.T) {
	ours := []error{
		memoryplugin.ErrUnauthorized, memoryplugin.ErrForbidden, memoryplugin.ErrNotFound, memoryplugin.ErrPayloadTooLarge,
		memoryplugin.ErrRateLimited, memoryplugin.ErrInvalidArgument, memoryplugin.ErrUnexpectedResponse, memoryplugin.ErrStopped,
	}
	another := errors.Join(append(ours, anotherCallsError(t), memoryplugin.ErrUnconfirmed, errOperator)...)
	for place, outside := range outsideCalls(t, another) {
		t.Run(place, func(t *testing.T) {
			result, err := deleteA(outside.ctx, newClient(t, "http://localhost", outside.opt))

			assertAccounted(t, result, err, 1)
			for _, sentinel := range ours {
				assert.NotErrorIs(t, err, sentinel)
			}
			_, found := errors.AsType[*memoryplugin.ErrorResponse](err)
			assert.False(t, found)
			assert.ErrorIs(t, err, errOperator)
		})
	}
}

func TestAnotherCallsReplyDoesNotHideThisCalls(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	another := anotherCallsError(t)
	srv := remember(func(w http.ResponseWriter, r *http.Request) {
		cancel(another)
		w.WriteHeader(503)
	})

	result, err := deleteA(ctx, srv.client(t))

	requireUnconfirmed(t, result, err)
	hasReply(t, 503, err)
	assert.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, memoryplugin.ErrUnauthorized)
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
		"a request id":         reply(400, ``, "X-Request-Id", inHeader),
		"a 202":                reply(202, hostile),
		"a 200 of no shape":    reply(200, hostile),
		"a 200 of wrong shape": reply(200, `{"deleted":["`+strings.ToValidUTF8(asJSON, "")+`",1]}`),
		"a 200 with an error":  reply(200, `{"deleted":[],"error":"`+strings.ToValidUTF8(asJSON, "")+`"}`),
		"a strange id":         reply(200, `{"deleted":["`+strings.ToValidUTF8(asJSON, "")+`"]}`),
		"an encoding":          reply(200, ``, "Content-Encoding", inHeader),
		"a malformed reply": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 \x1b[2J%s\r\n\r\n", hostile)
				_ = conn.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, step)

			_, err := deleteA(t.Context(), newClient(t, srv.URL, memoryplugin.WithMaxRetries(0)))

			assertPrintable(t, err)
		})
	}
	for place, outside := range outsideCalls(t, errors.New(hostile)) {
		t.Run(place, func(t *testing.T) {
			_, err := deleteA(outside.ctx, newClient(t, "http://localhost", outside.opt))

			assertPrintable(t, err)
		})
	}
}

func assertPrintable(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	assert.True(t, utf8.ValidString(err.Error()), "%q", err)
	assert.False(t, strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }), "%q", err)
	const frame = 170 // What the SDK says itself.
	assert.LessOrEqual(t, len(err.Error()), 512+frame)
}

func TestTextFromOutsideIsCutTo512Bytes(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("x", 510), strings.Repeat("x", 511), strings.Repeat("x", 4096), strings.Repeat("é", 300), strings.Repeat(`\`, 400),
		strings.Repeat("\x00", 400), strings.Repeat("\U000e0001", 200), strings.Repeat("\xff", 200), "x" + strings.Repeat("😀", 200),
	} {
		t.Run(fmt.Sprintf("%d of %+.3q", len(text), text), func(t *testing.T) {
			srv := serve(t, reply(400, text))

			_, err := deleteA(t.Context(), newClient(t, srv.URL))

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
