package memoryplugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestDeleteConversationsSendsTheDocumentedRequest(t *testing.T) {
	srv := serve(t, reply(200, `{"deleted":["a","b"],"count":2}`))

	_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b"})

	require.NoError(t, err)
	require.Len(t, srv.received(), 1)
	sent := srv.received()[0]
	assert.Equal(t, "DELETE", sent.Method)
	assert.Equal(t, "/api/chat-history/chats", sent.RequestURI)
	assert.Equal(t, "Bearer "+testKey, sent.Header.Get("Authorization"))
	assert.Equal(t, "application/json", sent.Header.Get("Content-Type"))
	assert.Equal(t, "identity", sent.Header.Get("Accept-Encoding"))
	assert.JSONEq(t, `{"ids":["a","b"]}`, sent.body)
	assert.Equal(t, int64(len(sent.body)), sent.ContentLength)
}

func TestDeleteConversationsSaysWhatBecameOfEachID(t *testing.T) {
	srv := serve(t, reply(200, `{"deleted":["b","a"],"count":2}`, "X-Request-Id", "req_1"))

	result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"a", "b", "c"})

	require.NoError(t, err)
	assert.Equal(t, &memoryplugin.DeleteConversationsResult{
		Deleted:     []string{"a", "b"},
		NotListed:   []string{"c"},
		NotDeleted:  []string{},
		Unconfirmed: []string{},
		Count:       2,
		Attempts:    1,
		RequestID:   "req_1",
	}, result)
}

func TestNoIDsAreNoErrorAndNothingIsSent(t *testing.T) {
	srv := serve(t, reply(200, `{"count":0}`))
	client := newClient(t, srv.URL)
	for name, ids := range map[string][]string{"nil": nil, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			result, err := client.DeleteConversations(t.Context(), ids)

			require.NoError(t, err)
			assertAccounted(t, result, err, 0)
			assert.Zero(t, result.Attempts)
		})
	}
	assert.Empty(t, srv.received())
}

func TestAnArgumentThatCannotBeUsedIsRefusedBeforeAnythingIsSent(t *testing.T) {
	srv := serve(t, reply(200, `{"count":1}`))
	client := newClient(t, srv.URL)
	for name, test := range map[string]struct {
		client *memoryplugin.Client
		ctx    context.Context
		text   string
	}{
		"nil context": {client, nil, "the context is nil"},
		"zero Client": {&memoryplugin.Client{}, t.Context(), "not made by NewClient"},
		"nil Client":  {nil, t.Context(), "not made by NewClient"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := test.client.DeleteConversations(test.ctx, []string{"b", "a", "b"})

			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, test.text)
			assertAccounted(t, result, err, 2)
			assert.Equal(t, []string{"b", "a"}, result.NotDeleted)
			assert.Zero(t, result.Attempts)
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
			result, err := client.DeleteConversations(t.Context(), []string{"a", "b", id, "c"})

			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, "ids[2]")
			assertAccounted(t, result, err, 4)
			assert.Equal(t, []string{"a", "b", id, "c"}, result.NotDeleted)
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
	assert.Equal(t, []string{"b"}, result.NotListed)
}

// endings fill each of the lists, in each of the ways that there are.
var endings = map[string]struct {
	step http.HandlerFunc
	list func(*memoryplugin.DeleteConversationsResult) []string
}{
	"deleted as sent":   {reply(200, `{"deleted":["c","a","b"],"count":3}`), deletedOf},
	"deleted, listed":   {reply(200, `{"deleted":["a","b","c"]}`), deletedOf},
	"deleted, counted":  {reply(200, `{"count":3}`), deletedOf},
	"not listed":        {reply(200, `{"deleted":[],"count":0}`), notListedOf},
	"not deleted":       {reply(400, ``), notDeletedOf},
	"unknown":           {reply(302, ``), unconfirmedOf},
	"tells nothing":     {reply(200, `{}`), unconfirmedOf},
	"contradicts":       {reply(200, `{"deleted":["x"]}`), unconfirmedOf},
	"not the API's 200": {reply(200, `<html>`), unconfirmedOf},
}

func deletedOf(r *memoryplugin.DeleteConversationsResult) []string     { return r.Deleted }
func notListedOf(r *memoryplugin.DeleteConversationsResult) []string   { return r.NotListed }
func notDeletedOf(r *memoryplugin.DeleteConversationsResult) []string  { return r.NotDeleted }
func unconfirmedOf(r *memoryplugin.DeleteConversationsResult) []string { return r.Unconfirmed }

func TestEveryListKeepsTheOrderOfTheRequest(t *testing.T) {
	for name, ending := range endings {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, ending.step)

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"c", "a", "c", "b"})

			assert.Equal(t, []string{"c", "a", "b"}, ending.list(result))
			assertAccounted(t, result, err, 3)
		})
	}
}

func TestTheCallerMayReuseItsIDs(t *testing.T) {
	for name, ending := range endings {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, ending.step)
			ids := []string{"c", "a", "b"}

			result, _ := newClient(t, srv.URL).DeleteConversations(t.Context(), ids)
			clear(ids)

			assert.Equal(t, []string{"c", "a", "b"}, ending.list(result))
		})
	}
}

func TestAResultIsJSONWithoutNulls(t *testing.T) {
	const empty = `{"deleted":[],"notListed":[],"notDeleted":[],"unconfirmed":[],"count":0,"attempts":0,"requestId":""}`
	for name, test := range map[string]struct {
		ids  []string
		step http.HandlerFunc
		json string
	}{
		"answered": {
			[]string{"a", "b"}, reply(200, `{"deleted":["b"]}`, "X-Request-Id", "req_1"),
			`{"deleted":["b"],"notListed":["a"],"notDeleted":[],"unconfirmed":[],"count":1,"attempts":1,"requestId":"req_1"}`,
		},
		"refused": {
			[]string{"a", "b"}, reply(400, ``),
			`{"deleted":[],"notListed":[],"notDeleted":["a","b"],"unconfirmed":[],"count":0,"attempts":1,"requestId":""}`,
		},
		"unknown": {
			[]string{"a", "b"}, reply(302, ``),
			`{"deleted":[],"notListed":[],"notDeleted":[],"unconfirmed":["a","b"],"count":0,"attempts":1,"requestId":""}`,
		},
		"no ids": {nil, reply(200, ``), empty},
		"an id that can't be sent": {
			[]string{" "}, reply(200, ``),
			`{"deleted":[],"notListed":[],"notDeleted":[" "],"unconfirmed":[],"count":0,"attempts":0,"requestId":""}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, test.step)

			result, _ := newClient(t, srv.URL).DeleteConversations(t.Context(), test.ids)

			text, err := json.Marshal(result)
			require.NoError(t, err)
			assert.JSONEq(t, test.json, string(text))
		})
	}
}

func TestAfterAnUnknownAttemptNoRefusalMakesAnIDNotDeleted(t *testing.T) {
	for name, test := range map[string]struct {
		steps    []http.HandlerFunc
		attempts int
		unknown  bool
	}{
		"lost, refused":                  {[]http.HandlerFunc{drop, reply(403, ``)}, 2, true},
		"failed, refused":                {[]http.HandlerFunc{reply(500, ``), reply(401, ``)}, 2, true},
		"timed out at a proxy, refused":  {[]http.HandlerFunc{reply(408, ``), reply(403, ``)}, 2, true},
		"lost, limited, refused":         {[]http.HandlerFunc{drop, reply(429, ``), reply(400, ``)}, 3, true},
		"limited, failed, limited":       {[]http.HandlerFunc{reply(429, ``), reply(502, ``), reply(429, ``)}, 5, true},
		"lost, another shape":            {[]http.HandlerFunc{drop, reply(200, `[]`)}, 2, true},
		"failed, redirected":             {[]http.HandlerFunc{reply(500, ``), reply(307, ``)}, 2, true},
		"refused only":                   {[]http.HandlerFunc{reply(429, ``), reply(425, ``), reply(403, ``)}, 3, false},
		"limited, redirected to itself":  {[]http.HandlerFunc{reply(429, ``), reply(308, ``)}, 2, false},
		"limited, redirected to another": {[]http.HandlerFunc{reply(429, ``), reply(303, ``)}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, test.steps...)

			result, err := newClient(t, srv.URL).DeleteConversations(t.Context(), []string{"b", "a"})

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
		"408 late":     {Status: 408, Applied: true},
		"499 late":     {Status: 499, Applied: true},
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
		"error late":   {Status: 200, Body: `{"deleted":[],"count":0,"error":"busy"}`, Applied: true},
		"partial late": {Status: 200, Body: `{"deleted":["b"]}`, Applied: true, CutReply: true},
		"stranger":     {Status: 200, Body: `{"deleted":["x"]}`, Applied: true},
	}
	for firstName, first := range faults {
		for secondName, second := range faults {
			t.Run(firstName+", "+secondName, func(t *testing.T) {
				srv := memoryplugintest.NewServer(t)
				srv.AddConversations("a", "b")
				srv.FailNext(first, second)
				client := srv.Client(memoryplugin.WithBackoff(0, 0))

				result, err := client.DeleteConversations(t.Context(), []string{"a", "never there", "b"})

				assertAccounted(t, result, err, 3)
				left := append(srv.Conversations(), "never there")
				for _, id := range result.Deleted {
					assert.NotContains(t, left, id, "reported deleted")
				}
				for _, id := range append(result.NotListed, result.NotDeleted...) {
					assert.Contains(t, left, id, "reported not deleted")
				}
			})
		}
	}
}
