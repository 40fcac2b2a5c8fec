package memoryplugin_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// answers are replies of the documented shape to a deletion of a, b and c.
var answers = []struct {
	name, body  string
	deleted     string
	count       int
	notListed   string
	unconfirmed string
	unexpected  string // what the error says if the answer contradicts itself, or tells nothing
}{
	{name: "lists all", body: `{"deleted":["a","b","c"],"count":3}`, deleted: "abc", count: 3},
	{name: "lists all without count", body: `{"deleted":["a","b","c"]}`, deleted: "abc", count: 3},
	{name: "lists all in its own order", body: `{"deleted":["c","a","b"],"count":3}`, deleted: "abc", count: 3},
	{name: "lists some", body: `{"deleted":["c","a"],"count":2}`, deleted: "ac", count: 2, notListed: "b"},
	{name: "lists some without count", body: `{"deleted":["b"]}`, deleted: "b", count: 1, notListed: "ac"},
	{name: "counts before it lists", body: ` { "count" : 1 , "deleted" : [ "b" ] } ` + "\r\n\t", deleted: "b", count: 1, notListed: "ac"},
	{name: "lists none", body: `{"deleted":[],"count":0}`, notListed: "abc"},
	{name: "lists none without count", body: `{"deleted":[ ]}`, notListed: "abc"},
	{name: "lists an id twice", body: `{"deleted":["b","b"]}`, deleted: "b", count: 1, notListed: "ac"},
	{name: "lists an id twice and counts it once", body: `{"deleted":["b","a","b"],"count":2}`, deleted: "ab", count: 2, notListed: "c"},
	{name: "lists each id twice", body: `{"deleted":["a","b","c","a","b","c"],"count":3}`, deleted: "abc", count: 3},
	{name: "counts all", body: `{"count":3}`, deleted: "abc", count: 3},
	{name: "counts all beside null", body: `{"deleted":null,"count":3}`, deleted: "abc", count: 3},
	{name: "counts none", body: `{"count":0}`, notListed: "abc"},
	{name: "counts none beside null", body: `{"count":0,"deleted":null}`, notListed: "abc"},
	{name: "an error of null says nothing", body: `{"deleted":["b"],"error":null}`, deleted: "b", count: 1, notListed: "ac"},
	{name: "an empty error says nothing", body: `{"deleted":["b"],"error":""}`, deleted: "b", count: 1, notListed: "ac"},
	{
		name: "other properties are ignored", deleted: "b", count: 1, notListed: "ac",
		body: `{"count":1,"ok":true,"half":"\ud800","data":{"deleted":["a"],"count":9,"error":"e"},"deleted":["b"],"ok":[{"count":null}]}`,
	},
	{
		name: "names in another case are other properties", deleted: "b", count: 1, notListed: "ac",
		body: `{"deleted":["b"],"Count":9,"Deleted":["a"],"COUNT":"x","Error":"e"}`,
	},

	{name: "lists an id twice and counts it twice", body: `{"deleted":["b","b"],"count":2}`, deleted: "b", count: 2, unconfirmed: "ac", unexpected: "count is 2, but it lists 1"},
	{name: "counts more than it lists", body: `{"deleted":["b"],"count":2}`, deleted: "b", count: 2, unconfirmed: "ac", unexpected: "count is 2, but it lists 1"},
	{name: "counts less than it lists", body: `{"deleted":["b","c"],"count":0}`, deleted: "bc", unconfirmed: "a", unexpected: "count is 0, but it lists 2"},
	{name: "counts below zero", body: `{"deleted":["b"],"count":-1}`, deleted: "b", count: -1, unconfirmed: "ac", unexpected: "count is -1, but it lists 1"},
	{
		name: "counts what no int holds", body: `{"deleted":["b"],"count":99999999999999999999}`,
		deleted: "b", count: math.MaxInt, unconfirmed: "ac", unexpected: "but it lists 1",
	},
	{name: "lists none and counts all", body: `{"deleted":[],"count":3}`, count: 3, unconfirmed: "abc", unexpected: "count is 3, but it lists 0"},
	{name: "lists all and counts more", body: `{"deleted":["a","b","c"],"count":4}`, deleted: "abc", count: 4, unexpected: "count is 4, but it lists 3"},
	{name: "names a stranger", body: `{"deleted":["b","x"],"count":2}`, deleted: "b", count: 2, unconfirmed: "ac", unexpected: `1 id that was not requested: "x"`},
	{name: "names only a stranger", body: `{"deleted":["x"]}`, unconfirmed: "abc", unexpected: `1 id that was not requested: "x"`},
	{name: "names an id in another case", body: `{"deleted":["A"],"count":1}`, count: 1, unconfirmed: "abc", unexpected: `1 id that was not requested: "A"`},
	{name: "names the empty id", body: `{"deleted":["a",""],"count":1}`, deleted: "a", count: 1, unconfirmed: "bc", unexpected: `1 id that was not requested: ""`},
	{name: "lists all and a stranger", body: `{"deleted":["x","a","b","c"],"count":4}`, deleted: "abc", count: 4, unexpected: `1 id that was not requested: "x"`},
	{name: "lists none and has an error", body: `{"deleted":[],"count":0,"error":"read-only"}`, unconfirmed: "abc", unexpected: `read-only`},
	{name: "lists some and has an error", body: `{"error":"b\nfailed","deleted":["a"],"count":1}`, deleted: "a", count: 1, unconfirmed: "bc", unexpected: `b\nfailed`},
	{name: "lists all and has an error", body: `{"deleted":["a","b","c"],"count":3,"error":"x"}`, deleted: "abc", count: 3, unexpected: `x`},
	{name: "an error of another type counts too", body: `{"deleted":["a"],"error":{"code":7}}`, deleted: "a", count: 1, unconfirmed: "bc", unexpected: `{\"code\":7}`},
	{name: "false is an error too", body: `{"deleted":["a"],"error":false}`, deleted: "a", count: 1, unconfirmed: "bc", unexpected: `false`},
	{name: "an error that is taken back counts too", body: `{"deleted":["a"],"error":"busy","error":""}`, deleted: "a", count: 1, unconfirmed: "bc", unexpected: `busy`},
	{name: "counts none and has an error", body: `{"count":0,"error":"read-only"}`, unconfirmed: "abc", unexpected: `read-only`},
	{name: "counts some", body: `{"count":2}`, count: 2, unconfirmed: "abc", unexpected: `{\"count\":2}`},
	{name: "counts too many", body: `{"deleted":null,"count":4}`, count: 4, unconfirmed: "abc", unexpected: `{\"deleted\":null,\"count\":4}`},
	{name: "only counts below zero", body: `{"count":-3}`, count: -3, unconfirmed: "abc", unexpected: `{\"count\":-3}`},
	{name: "only counts what no int holds", body: `{"count":-99999999999999999999}`, count: math.MinInt, unconfirmed: "abc", unexpected: "-99999999999999999999"},
	{name: "tells nothing", body: `{"success":true}`, unconfirmed: "abc", unexpected: `{\"success\":true}`},
	{name: "null tells nothing", body: `{"deleted":null}`, unconfirmed: "abc", unexpected: `{\"deleted\":null}`},
	{name: "names in another case tell nothing", body: `{"Deleted":["a","b","c"],"Count":3}`, unconfirmed: "abc", unexpected: `{\"Deleted\"`},
}

func TestAnAnswerDividesTheIDs(t *testing.T) {
	for _, test := range answers {
		t.Run(test.name, func(t *testing.T) {
			srv := serve(t, reply(200, test.body))

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b", "c"})

			assert.Equal(t, test.deleted, strings.Join(result.Deleted, ""), "deleted")
			assert.Equal(t, test.count, result.Count, "count")
			assert.Equal(t, test.notListed, strings.Join(result.NotListed, ""), "not listed")
			assert.Equal(t, test.unconfirmed, strings.Join(result.Unconfirmed, ""), "unconfirmed")
			assert.Equal(t, 1, result.Attempts, "sent again")
			assertAccounted(t, result, err, 3)
			if test.unexpected == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, test.unexpected)
		})
	}
}

// Whatever an answer leaves out may have been deleted by the earlier attempt.
func TestAfterAnUnknownAttemptWhatAnAnswerLeavesOutIsUnconfirmed(t *testing.T) {
	for _, test := range answers {
		t.Run(test.name, func(t *testing.T) {
			srv := serve(t, drop, reply(200, test.body))

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b", "c"})

			assert.Equal(t, test.deleted, strings.Join(result.Deleted, ""), "deleted")
			assert.Equal(t, test.count, result.Count, "count")
			assert.Empty(t, result.NotListed, "not listed")
			assert.Equal(t, test.notListed+test.unconfirmed, strings.Join(result.Unconfirmed, ""), "unconfirmed")
			assert.Equal(t, 2, result.Attempts)
			assertAccounted(t, result, err, 3)
			switch {
			case test.unexpected != "":
				assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			case test.notListed != "":
				assert.ErrorIs(t, err, io.EOF, "the earlier failure")
			default:
				assert.NoError(t, err, "all are confirmed")
			}
		})
	}
}

func TestOfManyStrangersTheFirstThreeAreNamedWithTheirNumber(t *testing.T) {
	srv := serve(t, reply(200, `{"deleted":["a","w","b","x","y","z"]}`))

	_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b", "c"})

	assert.ErrorContains(t, err, `4 ids that were not requested: "w", "x", "y"`)
	assert.NotContains(t, err.Error(), `"z"`)
}

// It would cost memory without end.
func TestAListOfMoreThanTwiceAsManyIDsConfirmsNothing(t *testing.T) {
	srv := serve(t, reply(200, `{"deleted":["a","b","a","b","a"],"count":2}`))

	result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b"})

	require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.ErrorContains(t, err, "more than twice as many ids")
	assert.Equal(t, []string{"a", "b"}, result.Unconfirmed)
}

func TestAReplyThatIsNotUnderstoodIsQuoted(t *testing.T) {
	for name, test := range map[string]struct{ body, text string }{
		"cut in a list":     {`{"deleted":["a","b`, `the JSON of the reply ends early: "{\"deleted\":[\"a\",\"b"`},
		"cut after a comma": {`{"deleted":["a"],`, `the JSON of the reply ends early: "{\"deleted\":[\"a\"],"`},
		"a page":            {"<html>\nlog in</html>", `not a JSON object: "<html>\nlog in</html>"`},
		"another type":      {`{"deleted":"a"}`, `"deleted" is not a list: "{\"deleted\":\"a\"}"`},
		"another count":     {`{"count":"1"}`, `"count" is not a whole number: "{\"count\":\"1\"}"`},
		"twice":             {`{"count":1,"count":1}`, `"count" occurs twice: "{\"count\":1,\"count\":1}"`},
		"a long one":        {strings.Repeat("x", 10_000), `"` + strings.Repeat("x", 507) + `..."`},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(200, test.body))

			_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a"})

			require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, "200 OK")
			assert.ErrorContains(t, err, strings.ReplaceAll(test.text, "\n", `\n`))
		})
	}
}

func TestOfAReplyThatIsStillEncodedTheEncodingIsNamed(t *testing.T) {
	srv := serve(t, reply(200, onlyADeleted, "Content-Encoding", "gzip"))

	result, err := deleteA(t.Context(), newClient(t, srv.URL))

	requireUnconfirmed(t, result, err)
	require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.ErrorContains(t, err, `still encoded as "gzip"`)
	assert.NotContains(t, err.Error(), "deleted\":")
	assert.Equal(t, 1, result.Attempts, "sent again")
}

func TestAConfirmationOfAnotherShapeConfirmsNothing(t *testing.T) {
	for _, body := range []string{
		// Not one JSON object.
		``, ` `, `null`, `true`, `3`, `"abc"`, `["a","b","c"]`, `<html>`, "\ufeff" + `{"count":3}`,
		`{"count":3}x`, `{"count":3}{}`, `{"count":3},`, `{"count":3} null`, `{"count":3}` + "\x00", `{"count":3}//`, `{"count":3}` + "\ufeff",
		`{"deleted":["a","b","c"],"count":3}x`, `{"deleted":["a","b","c"],"count":3`, `{"deleted":["a","b","c"],"count":3}}`,
		// Not JSON.
		`{"count":3`, `{"count":3,}`, `{,"count":3}`, `{"count":3,,"x":1}`, `{"count" 3}`, `{count:3}`, `{'count':3}`, `{"count":03}`, `{"count":+3}`,
		`{"deleted":["a","b","c"]`, `{"deleted":["a","b","c",]}`, `{"deleted":["a" "b"]}`, `{"deleted":["a"] "count":1}`, "{\"deleted\":[\"a\n\"]}", `{"deleted":["\x61"]}`,
		// A property that occurs twice.
		`{"count":3,"count":3}`, `{"count":3,"x":0,"c\u006funt":3}`, `{"deleted":["a"],"deleted":["a"]}`, `{"deleted":[],"deleted":["a"]}`,
		`{"deleted":null,"deleted":["a"]}`, `{"deleted":["a"],"deleted":null}`, `{"deleted":["a"],"count":1,"delete\u0064":["b"]}`,
		// A property of another type.
		`{"count":null}`, `{"count":3.0}`, `{"count":3e0}`, `{"count":4294967296.5}`, `{"count":300000000000000000000e-20}`, `{"count":0.3e1}`, `{"count":1e999}`, `{"count":"3"}`, `{"count":[3]}`, `{"count":true}`,
		`{"deleted":["a"],"count":null}`, `{"deleted":"abc","count":3}`, `{"deleted":{},"count":3}`, `{"deleted":1,"count":3}`, `{"deleted":false,"count":3}`,
		`{"deleted":["a","b","c",null],"count":3}`, `{"deleted":["a","b","c",0],"count":3}`, `{"deleted":["a","b","c",[]],"count":3}`,
		`{"deleted":["a","b","c",{"id":"a"}],"count":3}`, `{"deleted":[["a","b","c"]],"count":3}`, `{"deleted":["a",true]}`,
		// Not UTF-8.
		"{\"x\":\"\xff\",\"count\":3}", "{\"\xff\":0,\"count\":3}", "{\"count\":3}\xff",
	} {
		t.Run(fmt.Sprintf("%+q", body), func(t *testing.T) {
			srv := serve(t, reply(200, body))

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b", "c"})

			assert.Equal(t, []string{"a", "b", "c"}, result.Unconfirmed)
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.Equal(t, 1, result.Attempts, "sent again")
			assertAccounted(t, result, err, 3)
		})
	}
}

func TestAnEscapedIDIsRecognised(t *testing.T) {
	for body, id := range map[string]string{
		`{"deleted":["\ud83d\ude00"]}`:             "😀",
		`{"deleted":["\uD83D\uDE00\ud83d\ude00"]}`: "😀😀",
		`{"deleted":["\ufffd"]}`:                   "\ufffd",
		`{"deleted":["\uFFFD\\\ud83d\ude00"]}`:     "\ufffd\\😀",
		`{"deleted":["` + "\ufffd" + `"]}`:         "\ufffd",
		`{"deleted":["` + "\ufffd" + `\n"]}`:       "\ufffd\n",
		`{"deleted":["\u0061\/\"\\\b\f\n\r\t"]}`:   "a/\"\\\b\f\n\r\t",
		`{"deleted":["\\ud800"]}`:                  `\ud800`,
		`{"deleted":["\\\\\u00e9"]}`:               `\\é`,
		`{"deleted":["\u0000"]}`:                   "\x00",
		`{"d\u0065leted":["<"]}`:                   "<",
	} {
		t.Run(body, func(t *testing.T) {
			srv := serve(t, reply(200, body))

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"x", id})

			require.NoError(t, err)
			assert.Equal(t, []string{id}, result.Deleted)
		})
	}
}

// A lenient reader would take each for the id beside it.
func TestAnIDThatCannotBeReadWithoutLossConfirmsNothing(t *testing.T) {
	for body, id := range map[string]string{
		`{"deleted":["\ud83d"]}`:             "\ufffd",
		`{"deleted":["\uDE00"]}`:             "\ufffd",
		`{"deleted":["\ud83da"]}`:            "\ufffda",
		`{"deleted":["\ud83d\u0061"]}`:       "\ufffda",
		`{"deleted":["\ud83d\ue000"]}`:       "\ufffd\ue000",
		`{"deleted":["\ud83d\ud83d\ude00"]}`: "\ufffd😀",
		`{"deleted":["\ud83d\ude00\ud83d"]}`: "😀\ufffd",
		`{"deleted":["\ude00\ud83d"]}`:       "\ufffd\ufffd",
		`{"deleted":["\\\ud83d"]}`:           `\` + "\ufffd",
		`{"deleted":["\ufffd\ud83d"]}`:       "\ufffd\ufffd",
		`{"deleted":["\ud83d\nde00"]}`:       "\ufffd\nde00",
		"{\"deleted\":[\"\xed\xa0\xbd\"]}":   "\ufffd\ufffd\ufffd",
		"{\"deleted\":[\"a\xff\"]}":          "a\ufffd",
		"{\"deleted\":[\"\\u0061\xff\"]}":    "a\ufffd",
		"{\"deleted\":[\"a\n\"]}":            "a\n",
		"{\"deleted\":[\"a\x00\"]}":          "a\x00",
		`{"deleted":["\x61"]}`:               "x61",
		`{"deleted":[1]}`:                    "1",
		`{"deleted":[null]}`:                 "null",
	} {
		t.Run(fmt.Sprintf("%+q", body), func(t *testing.T) {
			srv := serve(t, reply(200, body))

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{id})

			assert.Equal(t, []string{id}, result.Unconfirmed)
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
		})
	}
}

func TestAnAnswerIsReadUpToItsLimit(t *testing.T) {
	const least = 16 << 20
	for name, test := range map[string]struct {
		id   string
		over int // bytes above the limit
	}{
		"16 MiB":                            {"a", 0},
		"more than 16 MiB":                  {"a", 1},
		"four times a large request":        {strings.Repeat("a", least/4), 0},
		"more than 4 times a large request": {strings.Repeat("a", least/4), 1},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				const answer = `{"count":1}`
				limit := max(least, 4*int(r.ContentLength))
				_, _ = io.WriteString(w, answer+strings.Repeat(" ", limit+test.over-len(answer)))
			})

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{test.id})

			assert.Equal(t, 1, result.Attempts)
			if test.over == 0 {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.Equal(t, []string{test.id}, result.Unconfirmed)
		})
	}
}
