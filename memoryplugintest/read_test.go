package memoryplugintest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func pointerTo[T any](v T) *T { return &v }

// get sends a GET by hand, and returns the status and the body of the reply.
func get(t *testing.T, srv *memoryplugintest.Server, pathAndQuery string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+pathAndQuery, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+memoryplugintest.APIKey)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	return resp.StatusCode, string(body)
}

func idsOf(conversations []memoryplugin.Conversation) []string {
	ids := []string{}
	for _, c := range conversations {
		ids = append(ids, c.ID)
	}
	return ids
}

// rome is a conversation with everything that the API can show.
var rome = memoryplugintest.Conversation{
	Conversation: memoryplugin.Conversation{
		ID: "rome", Title: "A walk through Rome", Platform: "chatgpt", MessageCount: pointerTo(2), TokenCount: pointerTo(30),
		CreatedAt: time.Date(2026, 1, 31, 23, 59, 59, 999_000_000, time.UTC), UpdatedAt: time.Date(2026, 2, 1, 8, 0, 0, 0, time.UTC),
		Pinned: pointerTo(true),
	},
	Messages: []memoryplugin.Message{
		{Index: 0, Sender: "human", Text: "Where?", Timestamp: time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC)},
		{Index: 1, Sender: "assistant", Text: "There."},
	},
	ImportID: "import-1",
}

func TestAConversationIsListedWithEverythingThatWasAdded(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversation(rome)

	page, err := srv.Client().ListConversations(t.Context(), memoryplugin.ListConversationsOptions{})

	require.NoError(t, err)
	assert.Equal(t, &memoryplugin.ConversationPage{
		Items: []memoryplugin.Conversation{rome.Conversation}, Page: 1, PageSize: 25, Total: 1, TotalPages: 1,
	}, page)
}

func TestABareIDIsListedWithNothingElse(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")

	all, err := srv.Client().AllConversations(t.Context(), memoryplugin.ConversationFilter{})
	transcript, errTranscript := srv.Client().GetTranscript(t.Context(), "a")

	require.NoError(t, err)
	require.NoError(t, errTranscript)
	assert.Equal(t, []memoryplugin.Conversation{{ID: "a"}}, all)
	transcript.Raw = nil
	assert.Equal(t, &memoryplugin.Transcript{ID: "a", Messages: []memoryplugin.Message{}}, transcript)
}

func TestATranscriptHasTheMessages(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversation(rome)

	transcript, err := srv.Client().GetTranscript(t.Context(), "rome")

	require.NoError(t, err)
	transcript.Raw = nil
	assert.Equal(t, &memoryplugin.Transcript{
		ID: "rome", Title: "A walk through Rome", Messages: rome.Messages, Total: 2, TokenCount: pointerTo(30),
	}, transcript)
}

func TestAConversationThatIsThereIsNotAddedASecondTime(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversation(rome)
	srv.AddConversation(memoryplugintest.Conversation{Conversation: memoryplugin.Conversation{ID: "rome", Title: "another"}})
	srv.AddConversations("rome")

	all, err := srv.Client().AllConversations(t.Context(), memoryplugin.ConversationFilter{})

	require.NoError(t, err)
	assert.Equal(t, []memoryplugin.Conversation{rome.Conversation}, all)
}

func TestAPageHasItsPartOfTheList(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	for i := range 60 {
		srv.AddConversations(fmt.Sprintf("conv-%02d", i))
	}
	all := srv.Conversations()
	for name, test := range map[string]struct {
		opts             memoryplugin.ListConversationsOptions
		from, to         int
		page, size, last int
	}{
		"the first":        {memoryplugin.ListConversationsOptions{}, 0, 25, 1, 25, 3},
		"the last":         {memoryplugin.ListConversationsOptions{Page: 3}, 50, 60, 3, 25, 3},
		"one after it":     {memoryplugin.ListConversationsOptions{Page: 4}, 60, 60, 4, 25, 3},
		"one far after it": {memoryplugin.ListConversationsOptions{Page: 1<<31 - 1, PageSize: 100}, 60, 60, 1<<31 - 1, 100, 1},
		"a small one":      {memoryplugin.ListConversationsOptions{Page: 7, PageSize: 7}, 42, 49, 7, 7, 9},
		"a full last one":  {memoryplugin.ListConversationsOptions{Page: 2, PageSize: 30}, 30, 60, 2, 30, 2},
		"the largest":      {memoryplugin.ListConversationsOptions{PageSize: 100}, 0, 60, 1, 100, 1},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := srv.Client().ListConversations(t.Context(), test.opts)

			require.NoError(t, err)
			assert.Equal(t, all[test.from:test.to], idsOf(page.Items))
			assert.Equal(t, []int{test.page, test.size, 60, test.last}, []int{page.Page, page.PageSize, page.Total, page.TotalPages})
		})
	}
}

func TestAListFollowsWhatIsAddedAndDeleted(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	client := srv.Client()
	srv.AddConversations("a", "b", "c")
	list := func() []string {
		all, err := client.AllConversations(t.Context(), memoryplugin.ConversationFilter{})
		require.NoError(t, err)
		return idsOf(all)
	}
	require.Equal(t, []string{"a", "b", "c"}, list())

	_, err := client.DeleteConversations(t.Context(), []string{"b"})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c"}, list())
	srv.AddConversations("d", "b")

	assert.Equal(t, []string{"a", "c", "d", "b"}, list())
}

func TestAFilterSelects(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversation(rome)
	srv.AddConversation(memoryplugintest.Conversation{
		Conversation: memoryplugin.Conversation{
			ID: "paris", Title: "PARIS, été", Platform: "claude", Pinned: pointerTo(false),
			CreatedAt: time.Date(2026, 2, 1, 1, 30, 0, 0, time.FixedZone("", 2*60*60)), // The day before, in UTC.
		},
		ImportID: "import-2",
	})
	srv.AddConversation(memoryplugintest.Conversation{
		Conversation: memoryplugin.Conversation{ID: "oslo", Title: "Oslo", Platform: "claude", CreatedAt: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)},
		ImportID:     "import-1",
	})
	srv.AddConversations("bare")
	type filter = memoryplugin.ConversationFilter
	for name, test := range map[string]struct {
		filter filter
		ids    []string
	}{
		"nothing":                     {filter{}, []string{"rome", "paris", "oslo", "bare"}},
		"all providers":               {filter{Provider: "all"}, []string{"rome", "paris", "oslo", "bare"}},
		"a provider":                  {filter{Provider: "claude"}, []string{"paris", "oslo"}},
		"another provider":            {filter{Provider: "gemini"}, []string{}},
		"part of a title":             {filter{Title: "rough r"}, []string{"rome"}},
		"a title in another case":     {filter{Title: "paris, ÉTÉ"}, []string{"paris"}},
		"from a day":                  {filter{DateFrom: "2026-02-01"}, []string{"oslo"}},
		"to a day":                    {filter{DateTo: "2026-01-31"}, []string{"rome", "paris"}},
		"one day":                     {filter{DateFrom: "2026-01-31", DateTo: "2026-01-31"}, []string{"rome", "paris"}},
		"every day":                   {filter{DateFrom: "2000-01-01", DateTo: "2100-01-01"}, []string{"rome", "paris", "oslo"}},
		"pinned":                      {filter{PinnedOnly: true}, []string{"rome"}},
		"an import":                   {filter{ImportID: "import-1"}, []string{"rome", "oslo"}},
		"part of an import's id":      {filter{ImportID: "import"}, []string{}},
		"a provider, title and a day": {filter{Provider: "claude", Title: "o", DateFrom: "2026-02-01"}, []string{"oslo"}},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := srv.Client().AllConversations(t.Context(), test.filter)

			require.NoError(t, err)
			assert.Equal(t, test.ids, idsOf(all))
		})
	}
}

func TestConversationsAreCounted(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b", "a")

	n, err := srv.Client().CountConversations(t.Context())

	require.NoError(t, err)
	assert.Equal(t, 2, n)
}

func TestAReadIsAnsweredAsDocumented(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a b")
	for uri, body := range map[string]string{
		"/api/chat-history/count":                             `{"count":1}`,
		"/api/chat-history/conversation?conversationId=a%20b": `{"id":"a b","title":"","messages":[],"total":0,"tokenCount":null}`,
		"/api/chat-history/chats?provider=all&pinnedOnly=false": `{"items":[{"id":"a b","title":"","platform":"","messageCount":null,"tokenCount":null,"pinned":null}],
			"page":1,"pageSize":25,"total":1,"totalPages":1}`,
		"/api/chat-history/chats?title=x": `{"items":[],"page":1,"pageSize":25,"total":0,"totalPages":0}`,
	} {
		t.Run(uri, func(t *testing.T) {
			status, got := get(t, srv, uri)

			assert.Equal(t, 200, status)
			assert.JSONEq(t, body, got)
		})
	}
}

func TestAReadThatIsNotDocumentedIsRefused(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	for uri, want := range map[string]int{
		"/api/chat-history/chats?page=0":                  400,
		"/api/chat-history/chats?page=x":                  400,
		"/api/chat-history/chats?page=":                   400,
		"/api/chat-history/chats?pageSize=101":            400,
		"/api/chat-history/chats?pageSize=-1":             400,
		"/api/chat-history/chats?dateFrom=31.01.2026":     400,
		"/api/chat-history/chats?dateTo=2026-02-30":       400,
		"/api/chat-history/chats?pinnedOnly=maybe":        400,
		"/api/chat-history/chats?platform=claude":         400,
		"/api/chat-history/conversation":                  400,
		"/api/chat-history/conversation?conversationId=":  400,
		"/api/chat-history/conversation?conversationId=b": 404,
		"/api/chat-history/conversations":                 404,
		"/api/chat-history/count/":                        404,
	} {
		t.Run(uri, func(t *testing.T) {
			status, body := get(t, srv, uri)

			assert.Equal(t, want, status)
			assert.Contains(t, body, `{"error":"`)
		})
	}
}

func TestAReadWithABodyAnotherMethodOrKeyIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		method, key, body string
		status            int
	}{
		"a body":         {"GET", memoryplugintest.APIKey, "{}", 400},
		"another method": {"DELETE", memoryplugintest.APIKey, "", 405},
		"another key":    {"GET", "wrong", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/api/chat-history/count", "/api/chat-history/conversation?conversationId=a"} {
				srv := memoryplugintest.NewServer(t)
				srv.AddConversations("a")
				req, err := http.NewRequestWithContext(t.Context(), test.method, srv.URL+path, strings.NewReader(test.body))
				require.NoError(t, err)
				req.Header.Set("Authorization", "Bearer "+test.key)

				resp, err := http.DefaultClient.Do(req)

				require.NoError(t, err)
				defer resp.Body.Close()
				assert.Equal(t, test.status, resp.StatusCode)
				assert.Equal(t, []string{"a"}, srv.Conversations())
			}
		})
	}
}

func TestAnUnknownConversationIsTheDocumentedNotFound(t *testing.T) {
	srv := memoryplugintest.NewServer(t)

	_, err := srv.Client().GetTranscript(t.Context(), "a")

	assert.ErrorIs(t, err, memoryplugin.ErrNotFound)
	_, body := get(t, srv, "/api/chat-history/conversation?conversationId=a")
	assert.JSONEq(t, `{"error":"Conversation not found"}`, body)
}

func TestAFaultMeetsAReadAsItMeetsADeletion(t *testing.T) {
	for name, test := range map[string]struct {
		fault memoryplugintest.Fault
		error string
	}{
		"a status":      {memoryplugintest.Fault{Status: 403}, `403 Forbidden: "Forbidden"`},
		"a body":        {memoryplugintest.Fault{Status: 200, Body: `<html>`}, `not a JSON object: "<html>"`},
		"dropped":       {memoryplugintest.Fault{Drop: true}, `"EOF"`},
		"dropped after": {memoryplugintest.Fault{Drop: true, Applied: true}, `"EOF"`},
		"cut short":     {memoryplugintest.Fault{CutReply: true}, `"unexpected EOF"`},
	} {
		t.Run(name, func(t *testing.T) {
			srv := memoryplugintest.NewServer(t)
			srv.AddConversations("a")
			srv.FailNext(test.fault)
			client := srv.Client(memoryplugin.WithMaxRetries(0))

			_, err := client.CountConversations(t.Context())
			assert.ErrorContains(t, err, test.error)

			n, err := client.CountConversations(t.Context())
			require.NoError(t, err, "only the next request fails")
			assert.Equal(t, 1, n)
		})
	}
}

func TestARequestThatReadsIsRecordedWithItsQuery(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if r.Query.Get("conversationId") == "a b" {
			return memoryplugintest.Fault{Status: 403}
		}
		return memoryplugintest.Fault{}
	})

	_, err := srv.Client().GetTranscript(t.Context(), "a b")

	assert.ErrorIs(t, err, memoryplugin.ErrForbidden)
	require.Len(t, srv.Requests(), 1)
	request := srv.Requests()[0]
	assert.Equal(t, "GET", request.Method)
	assert.Equal(t, "/api/chat-history/conversation", request.Path)
	assert.Equal(t, "conversationId=a+b", request.Query.Encode())
	assert.Empty(t, request.Body)
	assert.Nil(t, request.IDs)
}
