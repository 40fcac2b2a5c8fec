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
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// oddKey has what each way of writing a text escapes.
const oddKey = `sk"\/<&>'+=%~-0123456789`

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

// keyForms are the ways in which a server's reply, or an error, writes a key.
var keyForms = map[string]func(key string) string{
	"as it is":           func(key string) string { return key },
	"JSON of JavaScript": strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace,
	"JSON of Go":         func(key string) string { text, _ := json.Marshal(key); return string(text[1 : len(text)-1]) },
	"JSON of PHP":        strings.NewReplacer(`\`, `\\`, `"`, `\"`, `/`, `\/`).Replace,
	"JSON of .NET":       strings.NewReplacer(`\`, `\\`, `"`, `\u0022`, `<`, `\u003C`, `>`, `\u003E`, `&`, `\u0026`, `'`, `\u0027`, `+`, `\u002B`, "`", `\u0060`).Replace,
	"query":              url.QueryEscape,
	"path":               url.PathEscape,
	"URL of lower case":  func(key string) string { return lowerEscapes(url.QueryEscape(key)) },
	"URL of JavaScript":  func(key string) string { return keptByJavaScript.Replace(url.QueryEscape(key)) },
	"URL that escapes ~": func(key string) string { return strings.ReplaceAll(url.QueryEscape(key), "~", "%7E") },
	"HTML":               html.EscapeString,
	"XML":                strings.NewReplacer("<", "&lt;", ">", "&gt;", "&", "&amp;", `"`, "&quot;", "'", "&apos;").Replace,
}

var (
	percentEscape    = regexp.MustCompile(`%[0-9A-F]{2}`)
	keptByJavaScript = strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")
)

func lowerEscapes(text string) string {
	return percentEscape.ReplaceAllStringFunc(text, strings.ToLower)
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
	for _, write := range keyForms {
		shown = append(shown, write(key))
	}
	for line := range strings.Lines(out.String()) {
		for _, form := range shown {
			require.NotContains(t, line, form)
		}
	}
}

func TestAClientHidesItsKey(t *testing.T) {
	for _, key := range []string{testKey, oddKey} {
		client := newKeyClient(t, key, "http://localhost", memoryplugin.WithUserAgent("my-service/1"))

		requireHidden(t, key, client, *client, &client, []any{client, *client}, map[string]any{"client": *client})
	}
}

func TestAClientForAnotherAccountHidesBothKeys(t *testing.T) {
	first := newKeyClient(t, oddKey, "http://localhost")

	second, err := first.WithAPIKey(testKey)

	require.NoError(t, err)
	requireHidden(t, oddKey, second, *second)
	requireHidden(t, testKey, second, *second)
}

func TestAnEchoedKeyIsStruckFromWhateverAReplySays(t *testing.T) {
	for way, write := range keyForms {
		echo := write(oddKey)
		inJSON := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(echo)
		for place, step := range map[string]http.HandlerFunc{
			"the fields":             reply(400, `{"error":"bad key `+inJSON+`","text":"`+inJSON+`"}`),
			"another property":       reply(400, `{"key":"`+inJSON+`"}`),
			"a body":                 reply(400, `bad key `+echo),
			"a body of a retry":      reply(503, echo, "X-Request-Id", echo),
			"the headers":            reply(400, ``, "X-Request-Id", echo, "Via", "x", "Via", `Bearer "`+echo+`"`),
			"a Location":             reply(302, ``, "Location", "https://example.com/"+echo),
			"an unwanted status":     reply(202, echo, "X-Request-Id", echo),
			"an encoding":            reply(200, ``, "Content-Encoding", echo),
			"an answer":              reply(200, `{"count":1,"key":"`+inJSON+`"}`, "X-Request-Id", echo),
			"no shape":               reply(200, echo),
			"another shape":          reply(200, `{"deleted":["`+inJSON+`",1]}`),
			"a strange id":           reply(200, `{"deleted":["`+inJSON+`"]}`),
			"the error of an answer": reply(200, `{"deleted":["a"],"error":"`+inJSON+`"}`),
		} {
			t.Run(way+" in "+place, func(t *testing.T) {
				srv := serve(t, step)
				var log bytes.Buffer
				client := newKeyClient(t, oddKey, srv.URL, memoryplugin.WithMaxRetries(1), debugLogger(&log))

				result, err := deleteA(t.Context(), client)

				requireHidden(t, oddKey, err, result, *result, log.String())
				if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
					requireHidden(t, oddKey, reply, *reply, string(reply.Body))
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

		_, err := deleteA(t.Context(), newKeyClient(t, key, srv.URL))

		var reply *memoryplugin.ErrorResponse
		require.ErrorAs(t, err, &reply)
		assert.NotContains(t, strings.ToLower(fmt.Sprint(reply.Header)), key)
		assert.Contains(t, reply.Header, strings.Repeat("*", len(name)))
	}
}

func TestAKeyThatEndsInAQuoteCostsNoFieldOfTheReply(t *testing.T) {
	srv := serve(t, reply(400, `{"error":"bad key sk-0123456789\"","text":"t"}`))

	_, err := deleteA(t.Context(), newKeyClient(t, `sk-0123456789"`, srv.URL))

	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, "bad key "+strings.Repeat("*", len(`sk-0123456789\"`)), reply.Message)
	assert.Equal(t, "t", reply.Text)
}

// Escapes of JSON hide the key from whoever looks at the body alone.
func TestAnEchoedKeyIsStruckFromWhatTheFieldsDecodeTo(t *testing.T) {
	srv := serve(t, reply(400, `{"error":"bad key \u0073k-test-0123456789abcdef","text":"sk\u002dtest\u002d0123456789abcdef"}`))

	_, err := deleteA(t.Context(), newClient(t, srv.URL))

	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, "bad key ************************", reply.Message)
	assert.Equal(t, "************************", reply.Text)
}

// saidOf returns what a call tells about replies that echo text, in every place.
func saidOf(t *testing.T, key, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	require.NoError(t, err)
	var said strings.Builder
	for status, body := range map[int]string{
		400: `{"error":` + string(quoted) + `,"text":` + string(quoted) + `}`,
		403: text,
		200: `{"deleted":["stranger",` + string(quoted) + `]}`,
	} {
		client, err := memoryplugin.NewClient(key, through(transport(func(*http.Request) (*http.Response, error) {
			resp := httpReply(status, strings.NewReader(body))
			resp.Header["X-Request-Id"], resp.Header["Via"] = []string{text}, []string{"1.1 " + text}
			return resp, nil
		})))
		require.NoError(t, err)
		result, err := deleteA(t.Context(), client)
		require.Error(t, err)
		fmt.Fprintln(&said, err.Error()+"\n"+result.RequestID)
		if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
			fmt.Fprintf(&said, "%s\n%s\n%s\n%s\n%s\n", reply, reply.Message, reply.Text, reply.RequestID, reply.Body)
			fmt.Fprintln(&said, strings.Join(reply.Header["Via"], "\n"))
		}
	}
	return said.String()
}

// No key that is taken comes back from a reply, however the server writes it, and
// no key that is refused is repeated.
func FuzzAPIKey(f *testing.F) {
	for _, key := range badKeys {
		f.Add(key)
	}
	for _, key := range []string{testKey, oddKey, "mp_live-abc123def456ghi", "0000000000000000", `%25%2525\u0026&amp;&lt;`, "!'()~+/=", "4815162342"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if _, err := memoryplugin.NewClient(key); err != nil {
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			_, like := memoryplugin.NewClient(strings.Map(maskLetter, key))
			require.EqualError(t, like, err.Error(), "a letter of the key is repeated")
			return
		}
		if len(key) < 8 || strings.Contains(key, "*") {
			return // The quotes around a text, or what a key is struck with, can look like such a key.
		}
		ownWords := saidOf(t, testKey, "***")
		for _, write := range keyForms {
			said := saidOf(t, key, write(key))
			for way, form := range keyForms {
				if !strings.Contains(ownWords, form(key)) {
					require.NotContains(t, said, form(key), way)
				}
			}
		}
	})
}

// maskLetter keeps what a refusal may depend on.
func maskLetter(r rune) rune {
	if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
		return 'x'
	}
	return r
}

func TestAKeyAcrossTheCutOfARequestIDLeavesNoPartOfIt(t *testing.T) {
	for way, write := range keyForms {
		echo := write(oddKey)
		srv := serve(t, reply(200, `{"count":1}`, "X-Request-Id", strings.Repeat("x", 256-10)+echo))

		result, err := deleteA(t.Context(), newKeyClient(t, oddKey, srv.URL))

		require.NoError(t, err)
		assert.Equal(t, strings.Repeat("x", 256-10)+strings.Repeat("*", 10), result.RequestID, way)
	}
}

func TestAKeyAcrossTheCutOfABodyLeavesNoPartOfIt(t *testing.T) {
	const limit = 64 << 10
	for way, write := range keyForms {
		echo := write(oddKey)
		for _, before := range []int{1, len(echo) - 1} {
			t.Run(fmt.Sprintf("%s, %d bytes before it", way, before), func(t *testing.T) {
				srv := serve(t, reply(400, strings.Repeat("-", limit-before)+echo+"-more"))

				_, err := deleteA(t.Context(), newKeyClient(t, oddKey, srv.URL))

				var reply *memoryplugin.ErrorResponse
				require.ErrorAs(t, err, &reply)
				assert.Len(t, reply.Body, limit)
				assert.Equal(t, strings.Repeat("*", before), string(reply.Body[limit-before:]))
			})
		}
	}
}

func TestAKeyAcrossTheCutOfAQuoteLeavesNoPartOfIt(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"an error":  reply(400, strings.Repeat("-", 500)+oddKey),
		"an answer": reply(200, strings.Repeat("-", 500)+oddKey),
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, step)

			_, err := deleteA(t.Context(), newKeyClient(t, oddKey, srv.URL))

			assert.ErrorContains(t, err, "---***")
			assert.NotContains(t, err.Error(), "sk")
		})
	}
}

// A key of digits would come back as the number that the field decodes to.
func TestAKeyOfDigitsIsStruckFromTheScore(t *testing.T) {
	const key = "4815162342"
	srv := serve(t, reply(400, `{"error":"e","score":4815162342}`))

	_, err := deleteA(t.Context(), newKeyClient(t, key, srv.URL))

	var reply *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &reply)
	requireHidden(t, key, err, *reply, reply.Score, string(reply.Body))
}

// fieldError tells the key only to who looks into it.
type fieldError struct{ Key string }

func (*fieldError) Error() string { return "field" }

// valueError has no pointer that would hide its fields from fmt.
type valueError struct{ Body []byte }

func (valueError) Error() string { return "value" }

func TestOurTextAroundAnErrorFromOutsideHidesTheKey(t *testing.T) {
	const key = oddKey
	for form, external := range map[string]error{
		"text":    errors.New("sent Bearer " + key),
		"quoted":  fmt.Errorf("sent %q", "Bearer "+key),
		"URL":     &url.Error{Op: "Delete", URL: "http://localhost/?key=" + url.QueryEscape(key), Err: errors.New("refused")},
		"wrapped": fmt.Errorf("sent: %w", errors.New(key)),
		"field":   &fieldError{key},
		"value":   valueError{[]byte(key)},
		"joined":  errors.Join(errOperator, errors.New("key "+key)),
	} {
		for place, outside := range outsideCalls(t, external) {
			t.Run(form+" of "+place, func(t *testing.T) {
				var log bytes.Buffer
				client := newKeyClient(t, key, "http://localhost", outside.opt, debugLogger(&log))

				result, err := deleteA(outside.ctx, client)

				require.Error(t, err)
				requireHidden(t, key, err, result, log.String())
				for _, part := range err.(interface{ Unwrap() []error }).Unwrap() {
					requireHidden(t, key, part)
				}
			})
		}
	}
}

// What such an error prints by itself is its maker's.
func TestAnErrorFromOutsideIsWrappedAsItIs(t *testing.T) {
	external := &fieldError{testKey}
	for place, outside := range outsideCalls(t, external) {
		t.Run(place, func(t *testing.T) {
			_, err := deleteA(outside.ctx, newClient(t, "http://localhost", outside.opt))

			require.ErrorIs(t, err, external)
			found, ok := errors.AsType[*fieldError](err)
			require.True(t, ok)
			assert.Same(t, external, found)
		})
	}
}

func TestAnErrorOfTheNetworkIsWrappedAsItIs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())

	_, err = deleteA(t.Context(), newClient(t, "http://"+l.Addr().String(), memoryplugin.WithMaxRetries(0)))

	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	dialing, ok := errors.AsType[*net.OpError](err)
	require.True(t, ok)
	assert.Equal(t, l.Addr().String(), dialing.Addr.String())
}
