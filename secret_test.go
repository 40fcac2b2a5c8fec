package memoryplugin_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// oddKey has what each way of writing a text escapes.
const oddKey = `sk"\/<&>'+=%-0123456789`

// newKeyClient is newClient with another API key.
func newKeyClient(t *testing.T, key, url string, opts ...memoryplugin.Option) *memoryplugin.Client {
	t.Helper()
	own := []memoryplugin.Option{memoryplugin.WithBaseURL(url), memoryplugin.WithBackoff(0, 0)}
	client, err := memoryplugin.NewClient(key, append(own, opts...)...)
	require.NoError(t, err)
	return client
}

// debugLogger logs all that there is to log.
func debugLogger(w io.Writer) memoryplugin.Option {
	return memoryplugin.WithLogger(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})))
}

// requireHidden checks that no way of printing values shows key.
func requireHidden(t *testing.T, key string, values ...any) {
	t.Helper()
	var out bytes.Buffer
	text := slog.New(slog.NewTextHandler(&out, nil))
	asJSON := slog.New(slog.NewJSONHandler(&out, nil))
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		text.Info("test", "value", value)
		asJSON.Info("test", "value", value)
		marshalled, _ := json.Marshal(value)
		out.Write(marshalled)
	}
	shown := []string{
		hex.EncodeToString([]byte(key)),
		fmt.Sprintf("%X", key),
		strings.Trim(fmt.Sprint([]byte(key)), "[]"),
		strings.Trim(fmt.Sprintf("%#v", []byte(key)), "[]byte{}"),
	}
	for _, encode := range keyEncodings {
		shown = append(shown, encode(key))
	}
	for line := range strings.Lines(out.String()) {
		for _, form := range shown {
			require.NotContains(t, line, form)
		}
	}
}

// keyEncodings are ways in which a server's reply, or an error, writes a text.
var keyEncodings = map[string]func(key string) string{
	"as it is":          func(key string) string { return key },
	"Go string":         func(key string) string { quoted := strconv.Quote(key); return quoted[1 : len(quoted)-1] },
	"JSON of Go":        func(key string) string { text, _ := json.Marshal(key); return string(text[1 : len(text)-1]) },
	"JSON of PHP":       strings.NewReplacer(`\`, `\\`, `"`, `\"`, `/`, `\/`).Replace,
	"JSON of .NET":      strings.NewReplacer(`\`, `\\`, `"`, `\u0022`, `<`, `\u003C`, `>`, `\u003E`, `&`, `\u0026`, `'`, `\u0027`, `+`, `\u002B`).Replace,
	"query":             url.QueryEscape,
	"path":              url.PathEscape,
	"URL of lower case": func(key string) string { return lowerEscapes(url.QueryEscape(key)) },
	"HTML":              html.EscapeString,
}

func lowerEscapes(text string) string {
	return strings.NewReplacer("%2F", "%2f", "%5C", "%5c", "%3C", "%3c", "%3E", "%3e", "%2B", "%2b", "%3D", "%3d").Replace(text)
}

func TestAClientHidesItsKey(t *testing.T) {
	for _, key := range []string{testKey, oddKey} {
		client := newKeyClient(t, key, "http://localhost", memoryplugin.WithUserAgent("my-service/1"))

		requireHidden(t, key, client, *client, &client, []any{client, *client}, map[string]any{"client": *client})
	}
}

func TestAnEchoedKeyIsStruckFromWhateverAReplySays(t *testing.T) {
	for way, encode := range keyEncodings {
		echo := encode(oddKey)
		inJSON := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(echo)
		for place, step := range map[string]http.HandlerFunc{
			"the fields":         reply(400, `{"error":"bad key `+inJSON+`","text":"`+inJSON+`"}`),
			"another property":   reply(400, `{"key":"`+inJSON+`"}`),
			"a body":             reply(400, `bad key `+echo),
			"a body of a retry":  reply(503, echo, "X-Request-Id", echo),
			"the headers":        reply(400, ``, "X-Request-Id", echo, "Via", "x", "Via", `Bearer "`+echo+`"`),
			"a Location":         reply(302, ``, "Location", "https://example.com/"+echo),
			"an unwanted status": reply(202, echo, "X-Request-Id", echo),
			"an answer":          reply(200, `{"count":1,"key":"`+inJSON+`"}`, "X-Request-Id", echo),
			"no shape":           reply(200, echo),
			"another shape":      reply(200, `{"deleted":["`+inJSON+`",1]}`),
			"a strange id":       reply(200, `{"deleted":["`+inJSON+`"]}`),
		} {
			t.Run(way+" in "+place, func(t *testing.T) {
				srv := serve(t, step)
				var log bytes.Buffer
				client := newKeyClient(t, oddKey, srv.URL, memoryplugin.WithMaxRetries(1), debugLogger(&log))

				result, err := client.DeleteConversations(t.Context(), []string{"a"})

				requireTreeHidden(t, oddKey, err)
				requireHidden(t, oddKey, result, *result, log.String())
				if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
					requireHidden(t, oddKey, *reply, string(reply.Body))
				}
			})
		}
	}
}

// net/http changes the case of what it takes for the name of a header.
func TestAKeyThatIsEchoedAsTheNameOfAHeaderIsStruck(t *testing.T) {
	const key = "mp_live-abc123def456ghi"
	for _, name := range []string{key, "X-" + key, "X" + key + "-Y"} {
		srv := serve(t, reply(400, ``, name, "x"))

		_, err := newKeyClient(t, key, srv.URL).DeleteConversations(t.Context(), []string{"a"})

		var reply *memoryplugin.ErrorResponse
		require.ErrorAs(t, err, &reply)
		assert.NotContains(t, strings.ToLower(fmt.Sprint(reply.Header)), key)
		assert.Contains(t, reply.Header, strings.Repeat("*", len(name)))
	}
}

// Only the decoded fields show the escaped key.
func TestAnEchoedKeyIsStruckFromWhatTheFieldsDecodeTo(t *testing.T) {
	asHTML := html.EscapeString(oddKey)
	body, err := json.Marshal(map[string]string{"error": "bad key " + asHTML, "text": asHTML})
	require.NoError(t, err)
	srv := serve(t, reply(400, string(body)))

	_, err = newKeyClient(t, oddKey, srv.URL).DeleteConversations(t.Context(), []string{"a"})

	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Contains(t, reply.Message, "bad key ***")
	requireHidden(t, oddKey, err, reply, *reply)
}

func TestAKeyAcrossTheCutOfARequestIDLeavesNoPartOfIt(t *testing.T) {
	for way, encode := range keyEncodings {
		echo := encode(oddKey)
		srv := serve(t, reply(200, `{"count":1}`, "X-Request-Id", strings.Repeat("x", 256-10)+echo))

		result, err := newKeyClient(t, oddKey, srv.URL).DeleteConversations(t.Context(), []string{"a"})

		require.NoError(t, err)
		assert.Equal(t, strings.Repeat("x", 256-10)+strings.Repeat("*", 10), result.RequestID, way)
	}
}

func TestAKeyAcrossTheCutOfABodyLeavesNoPartOfIt(t *testing.T) {
	const limit = 64 << 10
	for _, way := range []string{"as it is", "JSON of .NET", "URL of lower case"} {
		echo := keyEncodings[way](oddKey)
		for _, before := range []int{1, len(echo) - 1} {
			t.Run(fmt.Sprintf("%s, %d bytes before it", way, before), func(t *testing.T) {
				srv := serve(t, reply(400, strings.Repeat("-", limit-before)+echo+"-more"))

				_, err := newKeyClient(t, oddKey, srv.URL).DeleteConversations(t.Context(), []string{"a"})

				var reply *memoryplugin.ErrorResponse
				require.ErrorAs(t, err, &reply)
				assert.Len(t, reply.Body, limit)
				assert.Equal(t, strings.Repeat("*", before), string(reply.Body[limit-before:]))
			})
		}
	}
}

func TestAKeyOfDigitsIsStruckFromTheScore(t *testing.T) {
	const key = "4815162342"
	for _, score := range []string{"4815162342", "4815162342.0", "4.815162342e9"} {
		t.Run(score, func(t *testing.T) {
			srv := serve(t, reply(400, `{"error":"e","score":`+score+`}`))

			_, err := newKeyClient(t, key, srv.URL).DeleteConversations(t.Context(), []string{"a"})

			var reply *memoryplugin.ErrorResponse
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, "e", reply.Message)
			requireHidden(t, key, *reply, reply.Score, string(reply.Body))
		})
	}
}

// fieldError tells the key only to who looks into it.
type fieldError struct{ Key string }

func (*fieldError) Error() string { return "field" }

// bytesError holds the key as a body that was received or sent.
type bytesError struct{ Body []byte }

func (*bytesError) Error() string { return "bytes" }

// pointerError has the key behind a pointer.
type pointerError struct{ Request *fieldError }

func (*pointerError) Error() string { return "pointer" }

// muteError tells the key only by the error that it wraps.
type muteError struct{ err error }

func (*muteError) Error() string   { return "mute" }
func (e *muteError) Unwrap() error { return e.err }

// joinedError tells the key only by an error that it wraps.
type joinedError struct{ errs []error }

func (*joinedError) Error() string     { return "joined" }
func (e *joinedError) Unwrap() []error { return e.errs }

// asError offers another error than itself.
type asError struct{ key string }

func (*asError) Error() string { return "as" }
func (e *asError) As(target any) bool {
	if found, ok := target.(**fieldError); ok {
		*found = &fieldError{e.key}
		return true
	}
	return false
}
func (*asError) GoString() string { return "as" }

func TestAnErrorFromOutsideHidesTheKey(t *testing.T) {
	const key = oddKey
	for form, external := range map[string]error{
		"text":          errors.New("sent Bearer " + key),
		"quoted":        fmt.Errorf("sent %q", "Bearer "+key),
		"URL":           &url.Error{Op: "Delete", URL: "http://localhost/?key=" + url.QueryEscape(key), Err: errors.New("refused")},
		"wrapped":       fmt.Errorf("sent: %w", errors.New(key)),
		"text of bytes": fmt.Errorf("sent %v", []byte(key)),
		"wrapped mute":  &muteError{errors.New("key " + key)},
		"field":         &fieldError{key},
		"bytes":         &bytesError{[]byte(key)},
		"pointer":       &pointerError{&fieldError{key}},
		"joined":        &joinedError{[]error{nil, errors.New("key " + key)}},
		"as":            &asError{key},
	} {
		for place, outside := range outsideCalls(t, external) {
			t.Run(form+" of "+place, func(t *testing.T) {
				var log bytes.Buffer
				client := newKeyClient(t, key, "http://localhost", outside.opt, debugLogger(&log))

				_, err := client.DeleteConversations(outside.ctx, []string{"a"})

				require.ErrorIs(t, err, external)
				requireHidden(t, key, log.String())
				requireTreeHidden(t, key, err)
				requireFoundHidden[*fieldError](t, key, err)
				requireFoundHidden[*bytesError](t, key, err)
				requireFoundHidden[*pointerError](t, key, err)
				requireFoundHidden[*muteError](t, key, err)
				requireFoundHidden[*joinedError](t, key, err)
				requireFoundHidden[*url.Error](t, key, err)
			})
		}
	}
}

// requireTreeHidden checks err and all that it wraps.
func requireTreeHidden(t *testing.T, key string, err error) {
	t.Helper()
	requireHidden(t, key, err)
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		requireTreeHidden(t, key, err.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			requireTreeHidden(t, key, err)
		}
	}
}

// requireFoundHidden checks what errors.As finds in err, if anything.
func requireFoundHidden[E error](t *testing.T, key string, err error) {
	t.Helper()
	if found, ok := errors.AsType[E](err); ok {
		requireTreeHidden(t, key, found)
	}
}

// Striking must not cost what does not tell the key.
func TestAnErrorFromOutsideWithoutTheKeyIsFound(t *testing.T) {
	external := &url.Error{Op: "Delete", URL: "http://localhost", Err: errors.New("refused")}
	failing := transport(func(*http.Request) (*http.Response, error) { return nil, external })
	client := newClient(t, "http://localhost", memoryplugin.WithHTTPClient(&http.Client{Transport: failing}))

	_, err := client.DeleteConversations(t.Context(), []string{"a"})

	found, ok := errors.AsType[*url.Error](err)
	require.True(t, ok)
	assert.Same(t, external, found)
}
