package memoryplugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestDeleteConversationsReturnsTheDeletedIDsAndTheCount(t *testing.T) {
	srv := serve(t, reply(200, `{"deleted":["b","a"],"count":2}`, "X-Request-Id", "req-1"))

	result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b", "c"})

	require.NoError(t, err)
	assert.Equal(t, []string{"b", "a"}, result.Deleted)
	assert.Equal(t, 2, result.Count)
	assert.Equal(t, []string{"c"}, result.NotDeleted)
	assert.Empty(t, result.Unconfirmed)
	assert.Equal(t, 1, result.Attempts)
	assert.Equal(t, "req-1", result.RequestID)

	sent := srv.received()[0]
	assert.Equal(t, "DELETE", sent.Method)
	assert.Equal(t, "/api/chat-history/chats", sent.URL.Path)
	assert.Equal(t, "Bearer "+testKey, sent.Header.Get("Authorization"))
	assert.Equal(t, "application/json", sent.Header.Get("Content-Type"))
	assert.JSONEq(t, `{"ids":["a","b","c"]}`, sent.body)
	assert.Equal(t, int64(len(sent.body)), sent.ContentLength)
}

func TestAnArgumentThatCannotBeUsedIsRefusedBeforeAnythingIsSent(t *testing.T) {
	srv := serve(t, reply(200, `{"count":1}`))
	client := newClient(t, srv.URL)
	for name, test := range map[string]struct {
		client *memoryplugin.Client
		ctx    context.Context
		ids    []string
	}{
		"nil ids":     {client, t.Context(), nil},
		"no ids":      {client, t.Context(), []string{}},
		"nil context": {client, nil, []string{"a"}},
		"zero Client": {&memoryplugin.Client{}, t.Context(), []string{"a"}},
		"nil Client":  {nil, t.Context(), []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := test.client.DeleteConversations(test.ctx, test.ids)

			assert.Nil(t, result)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.NotErrorIs(t, err, memoryplugin.ErrOutcomeUnknown)
		})
	}
	assert.Empty(t, srv.received())
}

func TestAnIDThatCannotBeSentIsNamedByItsIndex(t *testing.T) {
	srv := serve(t, reply(200, `{"count":3}`))
	client := newClient(t, srv.URL)
	for _, id := range []string{
		// Blank, to Unicode.
		"", " ", "\t\r\n", "\u0085", "\u00a0", "\u2003", "\u2028", "\u3000 ",
		// Not UTF-8: a stray byte, a rune cut short, an overlong form, half of a surrogate pair.
		"\xff", "conv-\x80", "conv-\xe2\x82", "\xc0\xaf", "\xed\xa0\x80", " \xff",
	} {
		t.Run(fmt.Sprintf("%+q", id), func(t *testing.T) {
			result, err := client.DeleteConversations(t.Context(), []string{"a", "b", id})

			assert.Nil(t, result)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, "ids[2]")
		})
	}
	assert.Empty(t, srv.received())
}

func TestAnIDIsSentAndRecognisedToTheLetter(t *testing.T) {
	ids := []string{
		"a", "A", " a", "a ", "\ta\n", `"a"`, `\`, `\u0061`, `\ud800`, "<a>&amp;", "a\u2028b\u2029", "é", "e\u0301",
		"😀", "\ufffd", "\u200b", "\x00", "\x7f", "null", "{}", "a,b", "%61", "a/../b",
	}
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations(ids...)

	result, err := srv.Client().DeleteConversations(t.Context(), ids)

	require.NoError(t, err)
	assert.Equal(t, ids, result.Deleted)
	assert.Equal(t, ids, srv.Requests()[0].IDs)
	assert.Empty(t, srv.Conversations())
}

func TestADuplicateIsSentAndReportedOnce(t *testing.T) {
	srv := serve(t, reply(200, `{"deleted":["a"],"count":1}`))

	result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"b", "a", "b", "a", "b"})

	require.NoError(t, err)
	assert.JSONEq(t, `{"ids":["b","a"]}`, srv.received()[0].body)
	assert.Equal(t, []string{"a"}, result.Deleted)
	assert.Equal(t, []string{"b"}, result.NotDeleted)
}

func TestTheResultSharesNoMemoryWithTheCallersIDs(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"all deleted":       reply(200, `{"deleted":["a","b"]}`),
		"counted":           reply(200, `{"count":2}`),
		"none deleted":      reply(200, `{"count":0}`),
		"refused":           reply(400, ``),
		"nothing confirmed": reply(302, ``),
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, step)
			ids := []string{"a", "b"}

			result, _ := newClient(t, srv.URL).DeleteConversations(t.Context(), ids)
			ids[0], ids[1] = "reused", "reused"

			assert.Equal(t, []string{"a", "b"}, allIDs(result))
		})
	}
}

func TestAResultIsJSONWithoutNulls(t *testing.T) {
	for name, test := range map[string]struct {
		step http.HandlerFunc
		json string
	}{
		"answered": {
			reply(200, `{"deleted":["b"]}`, "X-Request-Id", "req-1"),
			`{"deleted":["b"],"count":1,"notDeleted":["a"],"unconfirmed":[],"attempts":1,"requestId":"req-1"}`,
		},
		"all deleted": {reply(200, `{"count":2}`), `{"deleted":["a","b"],"count":2,"notDeleted":[],"unconfirmed":[],"attempts":1,"requestId":""}`},
		"no shape":    {reply(200, `[]`), `{"deleted":[],"count":0,"notDeleted":[],"unconfirmed":["a","b"],"attempts":1,"requestId":""}`},
		"refused":     {reply(400, ``), `{"deleted":[],"count":0,"notDeleted":["a","b"],"unconfirmed":[],"attempts":1,"requestId":""}`},
		"unknown":     {reply(302, ``), `{"deleted":[],"count":0,"notDeleted":[],"unconfirmed":["a","b"],"attempts":1,"requestId":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, test.step)

			result, _ := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b"})

			text, err := json.Marshal(result)
			require.NoError(t, err)
			assert.JSONEq(t, test.json, string(text))
		})
	}
}

// answers are replies of the documented shape to a deletion of a, b and c.
var answers = []struct {
	name, body  string
	deleted     string // in order
	count       int
	notDeleted  string
	unconfirmed string
	unexpected  bool // the answer contradicts itself, or tells nothing
}{
	{name: "lists all", body: `{"deleted":["a","b","c"],"count":3}`, deleted: "abc", count: 3},
	{name: "lists all in its own order", body: `{"deleted":["c","a","b"]}`, deleted: "cab", count: 3},
	{name: "lists some", body: `{"deleted":["c","a"],"count":2}`, deleted: "ca", count: 2, notDeleted: "b"},
	{name: "lists some without count", body: `{"deleted":["b"]}`, deleted: "b", count: 1, notDeleted: "ac"},
	{name: "counts before it lists", body: ` { "count" : 1 , "deleted" : [ "b" ] } ` + "\r\n\t", deleted: "b", count: 1, notDeleted: "ac"},
	{name: "lists none", body: `{"deleted":[],"count":0}`, notDeleted: "abc"},
	{name: "lists none without count", body: `{"deleted":[]}`, notDeleted: "abc"},
	{name: "lists an id twice", body: `{"deleted":["b","b"]}`, deleted: "b", count: 1, notDeleted: "ac"},
	{name: "lists an id twice and counts it once", body: `{"deleted":["b","a","b"],"count":2}`, deleted: "ba", count: 2, notDeleted: "c"},
	{name: "lists an id twice and counts it twice", body: `{"deleted":["b","b"],"count":2}`, deleted: "b", count: 2, unconfirmed: "ac", unexpected: true},
	{name: "counts more than it lists", body: `{"deleted":["b"],"count":2}`, deleted: "b", count: 2, unconfirmed: "ac", unexpected: true},
	{name: "counts less than it lists", body: `{"deleted":["b","c"],"count":0}`, deleted: "bc", unconfirmed: "a", unexpected: true},
	{name: "counts below zero", body: `{"deleted":["b"],"count":-1}`, deleted: "b", count: -1, unconfirmed: "ac", unexpected: true},
	{name: "lists none and counts all", body: `{"deleted":[],"count":3}`, count: 3, unconfirmed: "abc", unexpected: true},
	{name: "names a stranger", body: `{"deleted":["b","x"],"count":2}`, deleted: "b", count: 2, unconfirmed: "ac", unexpected: true},
	{name: "names only a stranger", body: `{"deleted":["x"]}`, unconfirmed: "abc", unexpected: true},
	{name: "names an id in another case", body: `{"deleted":["A"],"count":1}`, count: 1, unconfirmed: "abc", unexpected: true},
	{name: "names the empty id", body: `{"deleted":["a",""],"count":1}`, deleted: "a", count: 1, unconfirmed: "bc", unexpected: true},
	{name: "lists all and counts more", body: `{"deleted":["a","b","c"],"count":4}`, deleted: "abc", count: 4, unexpected: true},
	{name: "lists all and a stranger", body: `{"deleted":["x","a","b","c"],"count":4}`, deleted: "abc", count: 4, unexpected: true},
	{name: "counts all", body: `{"count":3}`, deleted: "abc", count: 3},
	{name: "counts all beside null", body: `{"deleted":null,"count":3}`, deleted: "abc", count: 3},
	{name: "counts none", body: `{"count":0}`, notDeleted: "abc"},
	{name: "counts none beside null", body: `{"count":0,"deleted":null}`, notDeleted: "abc"},
	{name: "counts some", body: `{"count":2}`, count: 2, unconfirmed: "abc", unexpected: true},
	{name: "counts too many", body: `{"deleted":null,"count":4}`, count: 4, unconfirmed: "abc", unexpected: true},
	{name: "only counts below zero", body: `{"count":-3}`, count: -3, unconfirmed: "abc", unexpected: true},
	{name: "tells nothing", body: `{}`, unconfirmed: "abc", unexpected: true},
	{name: "null tells nothing", body: `{"deleted":null}`, unconfirmed: "abc", unexpected: true},
	{
		name: "other properties are ignored", deleted: "b", count: 1, notDeleted: "ac",
		body: `{"count":1,"ok":true,"half":"\ud800","data":{"deleted":["a"],"count":9},"deleted":["b"],"ok":[{"count":null}]}`,
	},
	{name: "names in another case are other properties", body: `{"deleted":["b"],"Count":9,"Deleted":["a"],"COUNT":"x"}`, deleted: "b", count: 1, notDeleted: "ac"},
	{name: "names in another case tell nothing", body: `{"Deleted":["a","b","c"],"Count":3}`, unconfirmed: "abc", unexpected: true},
}

func TestAnAnswerDividesTheIDs(t *testing.T) {
	for _, test := range answers {
		t.Run(test.name, func(t *testing.T) {
			srv := serve(t, reply(200, test.body))

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b", "c"})

			assert.Equal(t, test.deleted, strings.Join(result.Deleted, ""), "deleted")
			assert.Equal(t, test.count, result.Count, "count")
			assert.Equal(t, test.notDeleted, strings.Join(result.NotDeleted, ""), "not deleted")
			assert.Equal(t, test.unconfirmed, strings.Join(result.Unconfirmed, ""), "unconfirmed")
			assert.Equal(t, 1, result.Attempts)
			assertAccounted(t, result, err, 3)
			if test.unexpected {
				assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			} else {
				assert.NoError(t, err)
			}
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
			assert.Empty(t, result.NotDeleted, "not deleted")
			assert.Equal(t, test.notDeleted+test.unconfirmed, strings.Join(result.Unconfirmed, ""), "unconfirmed")
			assert.Equal(t, 2, result.Attempts)
			assertAccounted(t, result, err, 3)
			switch {
			case test.unexpected:
				assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			case test.notDeleted != "":
				assert.ErrorIs(t, err, io.EOF, "the earlier failure")
			default:
				assert.NoError(t, err)
			}
		})
	}
}

func TestAConfirmationOfAnotherShapeConfirmsNothing(t *testing.T) {
	for _, body := range []string{
		// Not one JSON object.
		``, ` `, `null`, `true`, `3`, `"abc"`, `["a","b","c"]`, `<html>`, "\ufeff" + `{"count":3}`,
		`{"count":3}x`, `{"count":3}{}`, `{"count":3},`, `{"count":3} null`, `{"count":3}` + "\x00", `{"count":3}//`, `{"count":3}` + "\ufeff",
		// Not JSON.
		`{"count":3`, `{"count":3,}`, `{,"count":3}`, `{"count":3,,"x":1}`, `{"count" 3}`, `{count:3}`, `{'count':3}`, `{"count":03}`, `{"count":+3}`,
		`{"deleted":["a","b","c"]`, `{"deleted":["a","b","c",]}`, `{"deleted":["a" "b"]}`, `{"deleted":["a"] "count":1}`, "{\"deleted\":[\"a\n\"]}", `{"deleted":["\x61"]}`,
		// A property that occurs twice.
		`{"count":3,"count":3}`, `{"count":3,"x":0,"c\u006funt":3}`, `{"deleted":["a"],"deleted":["a"]}`, `{"deleted":[],"deleted":["a"]}`,
		`{"deleted":null,"deleted":["a"]}`, `{"deleted":["a"],"deleted":null}`, `{"deleted":["a"],"count":1,"delete\u0064":["b"]}`,
		// A property of another type.
		`{"count":null}`, `{"count":3.0}`, `{"count":3e0}`, `{"count":0.3e1}`, `{"count":"3"}`, `{"count":[3]}`, `{"count":true}`, `{"count":99999999999999999999}`,
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
		`{"deleted":["` + "\ufffd" + `"]}`:         "\ufffd",
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

func TestAnErrorSaysWhatWasAskedTheLastFailureAndTheAttempts(t *testing.T) {
	for name, test := range map[string]struct {
		steps []http.HandlerFunc
		text  string
	}{
		"given up": {
			[]http.HandlerFunc{reply(503, `{"error":"busy"}`)},
			`memoryplugin: delete conversations: 503 Service Unavailable: "busy" (5 attempts)`,
		},
		"at once": {
			[]http.HandlerFunc{reply(400, `{"error":"no"}`)},
			`memoryplugin: delete conversations: 400 Bad Request: "no" (1 attempt)`,
		},
		"an earlier one": {
			[]http.HandlerFunc{drop, reply(200, `{"deleted":["b"],"count":1}`)},
			`memoryplugin: delete conversations: 2 of 3 unconfirmed: an earlier attempt got no answer: "EOF" (2 attempts)`,
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

	_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a"})

	var busy *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &busy)
	assert.Equal(t, "busy", busy.Message)
}

func TestAfterAnUnknownAttemptNoRefusalMakesAnIDNotDeleted(t *testing.T) {
	for name, test := range map[string]struct {
		steps    []http.HandlerFunc
		attempts int
		unknown  bool
	}{
		"lost, refused":                  {[]http.HandlerFunc{drop, reply(403, ``)}, 2, true},
		"failed, refused":                {[]http.HandlerFunc{reply(500, ``), reply(401, ``)}, 2, true},
		"lost, limited, refused":         {[]http.HandlerFunc{drop, reply(429, ``), reply(400, ``)}, 3, true},
		"limited, failed, limited":       {[]http.HandlerFunc{reply(429, ``), reply(502, ``), reply(429, ``)}, 5, true},
		"lost, another shape":            {[]http.HandlerFunc{drop, reply(200, `[]`)}, 2, true},
		"failed, redirected":             {[]http.HandlerFunc{reply(500, ``), reply(307, ``)}, 2, true},
		"refused only":                   {[]http.HandlerFunc{reply(429, ``), reply(408, ``), reply(403, ``)}, 3, false},
		"limited, redirected to itself":  {[]http.HandlerFunc{reply(429, ``), reply(308, ``)}, 2, false},
		"limited, redirected to another": {[]http.HandlerFunc{reply(429, ``), reply(303, ``)}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, test.steps...)

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"b", "a", "b"})

			assert.Equal(t, test.attempts, result.Attempts)
			assertAccounted(t, result, err, 2)
			if test.unknown {
				assert.Equal(t, []string{"b", "a"}, result.Unconfirmed)
			} else {
				assert.Equal(t, []string{"b", "a"}, result.NotDeleted)
			}
		})
	}
}

// Every sequence of two faults, each hiding a deletion or not: what is reported
// must be what the server did.
func TestNoReportContradictsWhatTheServerDid(t *testing.T) {
	faults := map[string]memoryplugintest.Fault{
		"none":         {},
		"drop":         {Drop: true},
		"drop late":    {Drop: true, Applied: true},
		"cut":          {CutReply: true},
		"500":          {Status: 500},
		"500 late":     {Status: 500, Applied: true},
		"503 cut":      {Status: 503, CutReply: true, Applied: true},
		"429":          {Status: 429},
		"400":          {Status: 400},
		"302":          {Status: 302},
		"302 late":     {Status: 302, Applied: true},
		"204 late":     {Status: 204, Applied: true},
		"empty":        {Status: 200, Body: `{}`},
		"empty late":   {Status: 200, Body: `{}`, Applied: true},
		"partial late": {Status: 200, Body: `{"deleted":["b"]}`, Applied: true, CutReply: true},
		"stranger":     {Status: 200, Body: `{"deleted":["x"]}`, Applied: true},
	}
	for firstName, first := range faults {
		for secondName, second := range faults {
			t.Run(firstName+", "+secondName, func(t *testing.T) {
				srv := memoryplugintest.NewServer(t)
				srv.AddConversations("a", "b")
				srv.FailNext(first, second)

				result, err := srv.Client().DeleteConversations(t.Context(), []string{"a", "never there", "b"})

				assertAccounted(t, result, err, 3)
				left := srv.Conversations()
				for _, id := range result.Deleted {
					assert.NotContains(t, append(left, "never there"), id, "reported deleted")
				}
				for _, id := range result.NotDeleted {
					assert.Contains(t, append(left, "never there"), id, "reported not deleted")
				}
			})
		}
	}
}

// assertAccounted checks what holds for the result and the error of every call
// for n ids.
func assertAccounted(t *testing.T, result *memoryplugin.DeleteConversationsResult, err error, n int) {
	t.Helper()
	require.NotNil(t, result)
	assert.NotNil(t, result.Deleted)
	assert.NotNil(t, result.NotDeleted)
	assert.NotNil(t, result.Unconfirmed)
	seen := map[string]bool{}
	for _, id := range allIDs(result) {
		assert.False(t, seen[id], "%q is reported twice", id)
		seen[id] = true
	}
	assert.Len(t, seen, n)
	assert.Equal(t, len(result.Unconfirmed) > 0, errors.Is(err, memoryplugin.ErrOutcomeUnknown), "unconfirmed %q, error %v", result.Unconfirmed, err)
}

func allIDs(result *memoryplugin.DeleteConversationsResult) []string {
	return slices.Concat(result.Deleted, result.NotDeleted, result.Unconfirmed)
}
