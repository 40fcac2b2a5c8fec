package memoryplugin_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// pageOf is a page that has all of a list: these items.
func pageOf(items ...string) string {
	return fmt.Sprintf(`{"items":[%s],"page":1,"pageSize":100,"total":%d,"totalPages":1}`, strings.Join(items, ","), len(items))
}

// listOne lists the only conversation of a server, which sends it as item.
func listOne(t *testing.T, item string) memoryplugin.Conversation {
	t.Helper()
	srv := serve(t, reply(200, pageOf(item)))
	page, err := newClient(t, srv.URL).ListConversations(t.Context(), memoryplugin.ListConversationsOptions{})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	return page.Items[0]
}

func pointerTo[T any](v T) *T { return &v }

func TestAnOptionIsSentAsTheAPINamesItAndAZeroOneIsNot(t *testing.T) {
	type (
		options = memoryplugin.ListConversationsOptions
		filter  = memoryplugin.ConversationFilter
	)
	for name, test := range map[string]struct {
		opts options
		uri  string // after the path
	}{
		"none":      {options{}, ``},
		"page":      {options{Page: 1}, `?page=1`},
		"page size": {options{PageSize: 100}, `?pageSize=100`},
		"provider":  {options{ConversationFilter: filter{Provider: "all"}}, `?provider=all`},
		"title":     {options{ConversationFilter: filter{Title: " a&b=é+"}}, `?title=+a%26b%3D%C3%A9%2B`},
		"date from": {options{ConversationFilter: filter{DateFrom: "2026-01-31"}}, `?dateFrom=2026-01-31`},
		"date to":   {options{ConversationFilter: filter{DateTo: "2024-02-29"}}, `?dateTo=2024-02-29`},
		"one day":   {options{ConversationFilter: filter{DateFrom: "2026-01-31", DateTo: "2026-01-31"}}, `?dateFrom=2026-01-31&dateTo=2026-01-31`},
		"pinned":    {options{ConversationFilter: filter{PinnedOnly: true}}, `?pinnedOnly=true`},
		"import id": {options{ConversationFilter: filter{ImportID: "imp/1"}}, `?importId=imp%2F1`},
		"all": {
			options{filter{"claude", "t", "2025-01-01", "2025-12-31", true, "i"}, 3, 7},
			`?dateFrom=2025-01-01&dateTo=2025-12-31&importId=i&page=3&pageSize=7&pinnedOnly=true&provider=claude&title=t`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(200, pageOf()))

			_, err := newClient(t, srv.URL+"/v1").ListConversations(t.Context(), test.opts)

			require.NoError(t, err)
			require.Len(t, srv.received(), 1)
			assert.Equal(t, "/v1/api/chat-history/chats"+test.uri, srv.received()[0].RequestURI)
		})
	}
}

// unusableFilters are refused, with a text that says why.
var unusableFilters = map[string]struct {
	filter memoryplugin.ConversationFilter
	text   string
}{
	"a date with a time":            {memoryplugin.ConversationFilter{DateFrom: "2026-01-31T00:00:00Z"}, `"2026-01-31T00:00:00Z"`},
	"a date of another order":       {memoryplugin.ConversationFilter{DateTo: "31-01-2026"}, `"31-01-2026"`},
	"a date without zeros":          {memoryplugin.ConversationFilter{DateFrom: "2026-1-31"}, `"2026-1-31"`},
	"a date of no calendar":         {memoryplugin.ConversationFilter{DateTo: "2026-02-29"}, `"2026-02-29"`},
	"a date with a space":           {memoryplugin.ConversationFilter{DateFrom: "2026-01-31 "}, `"2026-01-31 "`},
	"a date of white space":         {memoryplugin.ConversationFilter{DateTo: " "}, `" "`},
	"a last date before the first":  {memoryplugin.ConversationFilter{DateFrom: "2026-01-31", DateTo: "2026-01-30"}, "before"},
	"a provider of white space":     {memoryplugin.ConversationFilter{Provider: " "}, "provider"},
	"a title of white space":        {memoryplugin.ConversationFilter{Title: "\t\n"}, "title"},
	"an import id of white space":   {memoryplugin.ConversationFilter{ImportID: "\u00a0"}, "importId"},
	"a date that would forge a log": {memoryplugin.ConversationFilter{DateFrom: "\n2026"}, `"\n2026"`},
}

func TestAFilterThatCannotBeUsedIsRefusedBeforeAnythingIsSent(t *testing.T) {
	srv := serve(t, reply(200, pageOf()))
	client := newClient(t, srv.URL)
	for name, test := range unusableFilters {
		t.Run(name, func(t *testing.T) {
			page, err := client.ListConversations(t.Context(), memoryplugin.ListConversationsOptions{ConversationFilter: test.filter})
			all, errAll := client.AllConversations(t.Context(), test.filter)

			assert.Nil(t, page)
			assert.Nil(t, all)
			for _, err := range []error{err, errAll} {
				assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
				assert.ErrorContains(t, err, test.text)
			}
		})
	}
	assert.Empty(t, srv.received())
}

func TestAPageThatCannotBeAskedForIsRefusedBeforeAnythingIsSent(t *testing.T) {
	srv := serve(t, reply(200, pageOf()))
	client := newClient(t, srv.URL)
	for name, opts := range map[string]memoryplugin.ListConversationsOptions{
		"-1":  {Page: -1},
		"-2":  {PageSize: -2},
		"101": {PageSize: 101},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := client.ListConversations(t.Context(), opts)

			assert.Nil(t, page)
			assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, name)
		})
	}
	assert.Empty(t, srv.received())
}

func TestAReadThatCannotBeMadeIsRefusedBeforeAnythingIsSent(t *testing.T) {
	srv := serve(t, reply(200, pageOf()))
	for name, test := range map[string]struct {
		client *memoryplugin.Client
		ctx    context.Context
		text   string
	}{
		"nil context": {newClient(t, srv.URL), nil, "the context is nil"},
		"zero Client": {&memoryplugin.Client{}, t.Context(), "not made by NewClient"},
		"nil Client":  {nil, t.Context(), "not made by NewClient"},
	} {
		for operation, read := range reads {
			t.Run(name+", "+operation, func(t *testing.T) {
				err := read.call(test.ctx, test.client)

				assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
				assert.ErrorContains(t, err, test.text)
			})
		}
	}
	assert.Empty(t, srv.received())
}

func TestAPageHasEverythingThatTheServerSends(t *testing.T) {
	srv := serve(t, reply(200, `{
		"items": [
			{"id":"conv-1","title":"Rome","platform":"chatgpt","messageCount":12,"tokenCount":3400,
			 "createdAt":"2026-01-31T08:00:00Z","updatedAt":"2026-02-01T09:30:00.123456789+02:00","pinned":true,"folder":{"id":1}},
			{"id":"conv-2"}
		],
		"page":2, "pageSize":25, "total":123, "totalPages":5, "nextCursor":"x"}`))

	page, err := newClient(t, srv.URL).ListConversations(t.Context(), memoryplugin.ListConversationsOptions{})

	require.NoError(t, err)
	updated := time.Date(2026, 2, 1, 7, 30, 0, 123456789, time.UTC)
	require.Len(t, page.Items, 2)
	assert.WithinDuration(t, updated, page.Items[0].UpdatedAt, 0)
	page.Items[0].UpdatedAt = updated // The zone is the server's.
	assert.Equal(t, &memoryplugin.ConversationPage{
		Items: []memoryplugin.Conversation{
			{
				ID: "conv-1", Title: "Rome", Platform: "chatgpt", MessageCount: pointerTo(12), TokenCount: pointerTo(3400),
				CreatedAt: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC), UpdatedAt: updated, Pinned: pointerTo(true),
			},
			{ID: "conv-2"},
		},
		Page: 2, PageSize: 25, Total: 123, TotalPages: 5,
	}, page)
}

func TestAPageNeedsNoMoreThanItemsAndTotal(t *testing.T) {
	srv := serve(t, reply(200, `{"total":0,"items":[]}`))

	page, err := newClient(t, srv.URL).ListConversations(t.Context(), memoryplugin.ListConversationsOptions{})

	require.NoError(t, err)
	assert.Equal(t, &memoryplugin.ConversationPage{Items: []memoryplugin.Conversation{}}, page)
}

// Whoever deletes by a field must be able to tell 0 and false from nothing.
func TestAFieldThatIsNotSentIsNotZero(t *testing.T) {
	sent := listOne(t, `{"id":"a","messageCount":0,"tokenCount":0,"pinned":false}`)
	null := listOne(t, `{"id":"a","title":null,"platform":null,"messageCount":null,"tokenCount":null,"createdAt":null,"updatedAt":null,"pinned":null}`)
	missing := listOne(t, `{"id":"a"}`)

	assert.Equal(t, memoryplugin.Conversation{ID: "a", MessageCount: pointerTo(0), TokenCount: pointerTo(0), Pinned: pointerTo(false)}, sent)
	assert.Equal(t, memoryplugin.Conversation{ID: "a"}, null)
	assert.Equal(t, memoryplugin.Conversation{ID: "a"}, missing)
}

func TestNothingOfAnItemLeaksIntoTheNext(t *testing.T) {
	var items []string
	for i := range 20 { // More than a slice begins with.
		items = append(items, fmt.Sprintf(`{"id":"full-%d","title":"t","platform":"p","messageCount":1,"tokenCount":1,"createdAt":"2026-01-31T08:00:00Z","updatedAt":"2026-01-31T08:00:00Z","pinned":true}`, i),
			fmt.Sprintf(`{"id":"bare-%d"}`, i))
	}
	srv := serve(t, reply(200, pageOf(items...)))

	page, err := newClient(t, srv.URL).ListConversations(t.Context(), memoryplugin.ListConversationsOptions{})

	require.NoError(t, err)
	require.Len(t, page.Items, 40)
	for i := range 20 {
		assert.Equal(t, memoryplugin.Conversation{ID: fmt.Sprintf("bare-%d", i)}, page.Items[2*i+1])
	}
}

func TestATimeIsReadInEveryFormOfRFC3339(t *testing.T) {
	day := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-01-31T08:00:00Z":           day,
		"2026-01-31T08:00:00.5Z":         day.Add(500 * time.Millisecond),
		"2026-01-31T08:00:00.000Z":       day,
		"2026-01-31T08:00:00.000000001Z": day.Add(1),
		"2026-01-31T10:00:00+02:00":      day,
		"2026-01-30T23:00:00.25-09:00":   day.Add(250 * time.Millisecond),
		"2000-01-01T00:00:00Z":           time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(text, func(t *testing.T) {
			conversation := listOne(t, fmt.Sprintf(`{"id":"a","createdAt":%q,"updatedAt":%[1]q}`, text))

			assert.True(t, want.Equal(conversation.CreatedAt), conversation.CreatedAt)
			assert.True(t, want.Equal(conversation.UpdatedAt), conversation.UpdatedAt)
		})
	}
}

func TestATimeBefore2000CountsAsNotSent(t *testing.T) {
	for _, text := range []string{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z", "1999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"} {
		t.Run(text, func(t *testing.T) {
			conversation := listOne(t, fmt.Sprintf(`{"id":"a","createdAt":%q,"updatedAt":%[1]q}`, text))

			assert.Equal(t, memoryplugin.Conversation{ID: "a"}, conversation)
		})
	}
}

// undocumentedPages are bodies that no page of the API has, and what the error
// says of each.
var undocumentedPages = map[string]struct{ body, text string }{
	"no items":               {`{"total":1}`, "items"},
	"items null":             {`{"items":null,"total":0}`, "items"},
	"items an object":        {`{"items":{},"total":0}`, `"items"`},
	"an item of a string":    {`{"items":["a"],"total":1}`, `"items`},
	"no total":               {`{"items":[]}`, "total"},
	"total null":             {`{"items":[],"total":null}`, "total"},
	"total negative":         {`{"items":[],"total":-1}`, "total"},
	"total a string":         {`{"items":[],"total":"1"}`, `"total"`},
	"total a fraction":       {`{"items":[],"total":1.5}`, `"total"`},
	"total of many digits":   {`{"items":[],"total":` + strings.Repeat("9", 1<<20) + `}`, `"total"`},
	"page a string":          {`{"items":[],"total":0,"page":"1"}`, `"page"`},
	"page size an object":    {`{"items":[],"total":0,"pageSize":{}}`, `"pageSize"`},
	"total pages a list":     {`{"items":[],"total":0,"totalPages":[]}`, `"totalPages"`},
	"no id":                  {pageOf(`{"title":"a"}`), "id"},
	"an item null":           {pageOf(`{"id":"a"}`, `null`), "id"},
	"id null":                {pageOf(`{"id":null}`), "id"},
	"id empty":               {pageOf(`{"id":""}`), "id"},
	"id blank":               {pageOf(`{"id":"\u00a0\t"}`), "id"},
	"id a number":            {pageOf(`{"id":1}`), `id"`},
	"half of a pair":         {pageOf(`{"id":"a\ud83d"}`), "without loss"},
	"the other half":         {pageOf(`{"id":"\ude00a"}`), "without loss"},
	"U+FFFD escaped":         {pageOf(`{"id":"\ufffd"}`), "without loss"},
	"U+FFFD":                 {pageOf("{\"id\":\"\ufffd\"}"), "without loss"},
	"no UTF-8":               {pageOf("{\"id\":\"a\",\"title\":\"\xff\"}"), "UTF-8"},
	"a surrogate as UTF-8":   {pageOf("{\"id\":\"\xed\xa0\xbd\"}"), "UTF-8"},
	"title a number":         {pageOf(`{"id":"a","title":1}`), `title"`},
	"platform a list":        {pageOf(`{"id":"a","platform":[]}`), `platform"`},
	"message count a string": {pageOf(`{"id":"a","messageCount":"1"}`), `messageCount"`},
	"token count a fraction": {pageOf(`{"id":"a","tokenCount":0.5}`), `tokenCount"`},
	"pinned a string":        {pageOf(`{"id":"a","pinned":"false"}`), `pinned"`},
	"pinned a number":        {pageOf(`{"id":"a","pinned":0}`), `pinned"`},
	"a time a number":        {pageOf(`{"id":"a","createdAt":1769846400}`), `createdAt"`},
	"a time an object":       {pageOf(`{"id":"a","updatedAt":{}}`), `updatedAt"`},
	"a time of no zone":      {pageOf(`{"id":"a","createdAt":"2026-01-31T08:00:00"}`), `createdAt"`},
	"a time of words":        {pageOf(`{"id":"a","updatedAt":"yesterday"}`), `updatedAt"`},
	"a day":                  {pageOf(`{"id":"a","createdAt":"2026-01-31"}`), `createdAt"`},
	"something after it":     {pageOf() + `{}`, "JSON"},
	"cut off":                {`{"items":[{"id":"a"`, "JSON"},
	"a comma too many":       {`{"items":[],"total":0,}`, "JSON"},
}

func TestAPageThatIsNotDocumentedIsRefusedAndTheErrorSaysWhere(t *testing.T) {
	for name, test := range undocumentedPages {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(200, test.body))

			page, err := newClient(t, srv.URL).ListConversations(t.Context(), memoryplugin.ListConversationsOptions{Page: 7})

			assert.Nil(t, page)
			require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, test.text)
			assert.ErrorContains(t, err, "page 7: ")
			assert.NotContains(t, err.Error(), "Conversation.", "the API has no such name")
			assert.Less(t, len(err.Error()), 1024)
			assert.Len(t, srv.received(), 1, "it is not asked again")
		})
	}
}

func TestAnErrorOfAllConversationsNamesThePage(t *testing.T) {
	full := `{"items":[{"id":"a"}],"pageSize":1,"total":2}`
	for name, test := range undocumentedPages {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(200, full), reply(200, test.body))

			all, err := newClient(t, srv.URL).AllConversations(t.Context(), memoryplugin.ConversationFilter{})

			assert.Nil(t, all)
			require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, "page 2: ")
		})
	}
}

func TestAnIDIsReadToTheLetter(t *testing.T) {
	for text, id := range map[string]string{
		`"conv-1"`:                 "conv-1",
		`" a "`:                    " a ",
		`"A\u0061\/\"\\\n"`:        "Aa/\"\\\n",
		"\"\u00e9\\u00e9e\u0301\"": "\u00e9\u00e9e\u0301", // Not the same to a server.
		`"\ud83d\ude00😀"`:          "😀😀",
		`"\u0000"`:                 "\x00",
		`"<&>\u2028"`:              "<&>\u2028",
		`"\\ud83d"`:                `\ud83d`,
		`"` + longID + `"`:         longID,
		"\"a\U0010FFFF\uffff\"":    "a\U0010FFFF\uffff",
	} {
		assert.Equal(t, id, listOne(t, `{"id":`+text+`}`).ID)
	}
}

var longID = strings.Repeat("0123456789", 1000)

func TestATitleMayHaveWhatAnIDMayNot(t *testing.T) {
	assert.Equal(t, "a\ufffdb", listOne(t, `{"id":"a","title":"a\ud83db"}`).Title)
	assert.Equal(t, "\ufffd", listOne(t, "{\"id\":\"a\",\"title\":\"\ufffd\"}").Title)
}

// Conversations are private: a JSON object may have some of them.
func TestAnErrorQuotesNothingOfAJSONObject(t *testing.T) {
	const private = `"title":"private","createdAt":"2026-01-31T08:00:00Z"`
	for name, body := range map[string]string{
		"no id":              pageOf(`{` + private + `}`),
		"half of a pair":     pageOf(`{"id":"private\ud83d",` + private + `}`),
		"another type":       pageOf(`{"id":"private",` + private + `,"pinned":"private"}`),
		"no time":            pageOf(`{"id":"private","createdAt":"private"}`),
		"no total":           `{"items":[{"id":"private",` + private + `}]}`,
		"a name of its own":  `{"private":1}`,
		"cut off":            `{"items":[{"id":"private",` + private,
		"something after it": pageOf(`{"id":"private",`+private+`}`) + `private`,
		"no UTF-8":           pageOf("{\"id\":\"private\",\"title\":\"private \xff\"}"),
		"after white space":  "\r\n\t {\"private\"",
	} {
		t.Run(name, func(t *testing.T) {
			for operation, read := range reads {
				srv := serve(t, reply(200, body))

				err := read.call(t.Context(), newClient(t, srv.URL))

				require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse, operation)
				assert.NotContains(t, err.Error(), "private", operation)
			}
		})
	}
}

func TestABodyThatIsNoJSONObjectIsRefusedAndQuoted(t *testing.T) {
	for body, text := range map[string]string{
		`[{"id":"a"}]`: `"[{\"id\":\"a\"}]"`, `null`: `"null"`, `1`: `"1"`, ``: `""`, " \n": `""`, "\ufeff{}": `"\ufeff{}"`,
		`<!DOCTYPE html><title>Sign in</title>`: `"<!DOCTYPE html><title>Sign in</title>"`,
	} {
		t.Run(body, func(t *testing.T) {
			forEachRead(t, func(t *testing.T, read read) {
				srv := serve(t, reply(200, body))

				err := read.call(t.Context(), newClient(t, srv.URL))

				assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
				assert.ErrorContains(t, err, "not a JSON object: "+text)
				assert.Len(t, srv.received(), 1, "it is not asked again")
			})
		})
	}
}

func TestAnErrorQuotesABodyThatIsNoJSONObjectWithoutTheKey(t *testing.T) {
	for operation, read := range reads {
		t.Run(operation, func(t *testing.T) {
			srv := serve(t, reply(200, "<html>\n"+testKey+strings.Repeat("x", 1<<20)))

			err := read.call(t.Context(), newClient(t, srv.URL))

			require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, `"<html>\n****`)
			assert.NotContains(t, err.Error(), testKey)
			assert.Less(t, len(err.Error()), 1024)
		})
	}
}

func TestAnErrorOfAPageIsTheReply(t *testing.T) {
	srv := serve(t, reply(http.StatusForbidden, `{"error":"no"}`, "X-Request-Id", "req_1"))

	page, err := newClient(t, srv.URL).ListConversations(t.Context(), memoryplugin.ListConversationsOptions{})

	assert.Nil(t, page)
	assert.ErrorIs(t, err, memoryplugin.ErrForbidden)
	hasReply(t, 403, err)
	assert.EqualError(t, err, `memoryplugin: list conversations: 403 Forbidden: "no" (1 attempt, request id "req_1")`)
}

// To encoding/json these are all "id" or "items", and the last one counts.
func TestAnIDIsReadFromItsOwnPropertyAlone(t *testing.T) {
	for name, body := range map[string]string{
		"a total twice":                 `{"total":5,"total":1,"items":[{"id":"a"}]}`,
		"a list without end":            `{"total":1,"items":[` + strings.Repeat(`{"id":"a"},`, 1<<17) + `{"id":"a"}]}`,
		"an id twice":                   `{"total":1,"items":[{"id":"a","id":"b"}]}`,
		"items twice":                   `{"total":1,"items":[{"id":"a","pinned":false}],"items":[{"id":"b"}]}`,
		"items twice, then null":        `{"total":1,"items":[{"id":"a"}],"items":[null]}`,
		"the id only in another case":   `{"total":1,"items":[{"ID":"a"}]}`,
		"the id only in a second case":  `{"total":1,"items":[{"Id":"a"}]}`,
		"the id only in a third case":   `{"total":1,"items":[{"iD":"a"}]}`,
		"the id is not a string":        `{"total":1,"items":[{"id":["a"]}]}`,
		"an item that is not an object": `{"total":1,"items":["a"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(200, body))

			err := listFirst(t.Context(), newClient(t, srv.URL))

			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
		})
	}
}

func TestAnotherPropertyThatLooksLikeTheIDIsIgnored(t *testing.T) {
	srv := serve(t, reply(200, `{"total":1,"items":[{"ID":"b","id":"a","Id":"c","iD":7}],"Items":[{"id":"d"}],"Total":9}`))

	page, err := newClient(t, srv.URL).ListConversations(t.Context(), memoryplugin.ListConversationsOptions{})

	require.NoError(t, err)
	assert.Equal(t, "a", page.Items[0].ID)
}

func TestAReplyOfAnotherStatusIsNotQuotedIfItMayBeAConversation(t *testing.T) {
	srv := serve(t, reply(206, `{"id":"a","title":"a secret"}`))

	_, err := newClient(t, srv.URL).GetTranscript(t.Context(), "a")

	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.NotContains(t, err.Error(), "secret")
}
