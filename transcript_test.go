package memoryplugin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// transcriptOf gets the transcript of a from a server that sends body for it.
func transcriptOf(t *testing.T, body string) (*memoryplugin.Transcript, error) {
	t.Helper()
	srv := serve(t, reply(200, body))
	return newClient(t, srv.URL).GetTranscript(t.Context(), "a")
}

func TestATranscriptIsAskedForByItsID(t *testing.T) {
	for id, query := range map[string]string{
		"conv-1":   "conv-1",
		" a ":      "+a+",
		"a&b=c":    "a%26b%3Dc",
		"a/b?c#d+": "a%2Fb%3Fc%23d%2B",
		"é😀":       "%C3%A9%F0%9F%98%80",
		"%41":      "%2541",
	} {
		t.Run(id, func(t *testing.T) {
			srv := serve(t, reply(200, fmt.Sprintf(`{"id":%q}`, id)))

			transcript, err := newClient(t, srv.URL+"/v1").GetTranscript(t.Context(), id)

			require.NoError(t, err)
			assert.Equal(t, id, transcript.ID)
			require.Len(t, srv.received(), 1)
			assert.Equal(t, "/v1/api/chat-history/conversation?conversationId="+query, srv.received()[0].RequestURI)
		})
	}
}

func TestATranscriptHasEverythingThatTheServerSends(t *testing.T) {
	const body = ` {
		"id":"a", "title":"Rome", "total":3, "platformConversationId":"p-1", "sourceId":"s-1", "tokenCount":0, "language":"en",
		"messages":[
			{"message_index":0,"sender":"human","text":"Where?","timestamp":"2026-01-31T08:00:00.25Z","model":{}},
			{"message_index":1,"sender":"assistant","text":"\ud83d\ude00 half \ud83d","timestamp":null},
			{"timestamp":"1970-01-01T00:00:00Z"}
		]} ` + "\n"

	transcript, err := transcriptOf(t, body)

	require.NoError(t, err)
	assert.Equal(t, body, string(transcript.Raw), "as received")
	transcript.Raw = nil
	assert.Equal(t, &memoryplugin.Transcript{
		ID: "a", Title: "Rome", Total: 3, PlatformConversationID: "p-1", SourceID: "s-1", TokenCount: pointerTo(0),
		Messages: []memoryplugin.Message{
			{Index: 0, Sender: "human", Text: "Where?", Timestamp: time.Date(2026, 1, 31, 8, 0, 0, 250_000_000, time.UTC)},
			{Index: 1, Sender: "assistant", Text: "😀 half \ufffd"},
			{},
		},
	}, transcript)
}

func TestATranscriptNeedsNoMoreThanItsID(t *testing.T) {
	for name, body := range map[string]string{
		"missing": `{"id":"a"}`,
		"null":    `{"id":"a","title":null,"messages":null,"total":null,"platformConversationId":null,"sourceId":null,"tokenCount":null}`,
	} {
		t.Run(name, func(t *testing.T) {
			transcript, err := transcriptOf(t, body)

			require.NoError(t, err)
			assert.Equal(t, &memoryplugin.Transcript{ID: "a", Messages: []memoryplugin.Message{}, Raw: []byte(body)}, transcript)
		})
	}
}

// Its reader sees that it is not whole.
func TestATranscriptMayHaveFewerMessagesThanItsTotal(t *testing.T) {
	transcript, err := transcriptOf(t, `{"id":"a","messages":[{"text":"1"}],"total":2}`)

	require.NoError(t, err)
	assert.Len(t, transcript.Messages, 1)
	assert.Equal(t, 2, transcript.Total)
}

// A cache that ignores the query would give the transcript of another one.
func TestATranscriptOfAnotherConversationIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"another id":     `{"id":"b","messages":[{"text":"private"}]}`,
		"no id":          `{"messages":[{"text":"private"}]}`,
		"null":           `{"id":null}`,
		"an empty id":    `{"id":""}`,
		"another case":   `{"id":"A"}`,
		"a space more":   `{"id":"a "}`,
		"half of a pair": `{"id":"a\ud83d"}`,
		"nothing":        `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			transcript, err := transcriptOf(t, body)

			assert.Nil(t, transcript)
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.NotContains(t, err.Error(), "private")
		})
	}
}

// U+FFFD may stand for anything that could not be read.
func TestATranscriptWhoseIDWasNotReadToTheLetterIsRefused(t *testing.T) {
	for _, sent := range []string{`\ud83d`, `\ude00`, `\ufffd`, "\ufffd"} {
		t.Run(sent, func(t *testing.T) {
			srv := serve(t, reply(200, `{"id":"a`+sent+`"}`))

			transcript, err := newClient(t, srv.URL).GetTranscript(t.Context(), "a\ufffd")

			assert.Nil(t, transcript)
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
		})
	}
}

func TestATranscriptThatIsNotDocumentedIsRefusedAndTheErrorSaysWhere(t *testing.T) {
	for name, test := range map[string]struct{ body, text string }{
		"id a number":                {`{"id":1}`, `"id"`},
		"title an object":            {`{"id":"a","title":{}}`, `"title"`},
		"messages an object":         {`{"id":"a","messages":{}}`, `"messages"`},
		"a message a string":         {`{"id":"a","messages":["hello"]}`, `"messages`},
		"total a string":             {`{"id":"a","total":"2"}`, `"total"`},
		"token count a fraction":     {`{"id":"a","tokenCount":1.5}`, `"tokenCount"`},
		"token count of many digits": {`{"id":"a","tokenCount":` + strings.Repeat("9", 1<<20) + `}`, `"tokenCount"`},
		"platform's id a number":     {`{"id":"a","platformConversationId":1}`, `"platformConversationId"`},
		"source id a list":           {`{"id":"a","sourceId":[]}`, `"sourceId"`},
		"index a string":             {`{"id":"a","messages":[{"message_index":"0"}]}`, `message_index"`},
		"sender an object":           {`{"id":"a","messages":[{"sender":{}}]}`, `sender"`},
		"text a list":                {`{"id":"a","messages":[{"text":["hello"]}]}`, `text"`},
		"a time a number":            {`{"id":"a","messages":[{"timestamp":0}]}`, `timestamp"`},
		"a time of words":            {`{"id":"a","messages":[{"timestamp":"hello"}]}`, `timestamp"`},
		"no UTF-8":                   {"{\"id\":\"a\",\"title\":\"hello \xff\"}", "UTF-8"},
		"cut off":                    {`{"id":"a","messages":[{"text":"hello`, "JSON"},
		"something after it":         {`{"id":"a"} hello`, "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			transcript, err := transcriptOf(t, test.body)

			assert.Nil(t, transcript)
			require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, test.text)
			assert.NotContains(t, err.Error(), "hello")
			assert.NotContains(t, err.Error(), "Message.", "the API has no such name")
			assert.Less(t, len(err.Error()), 1024)
		})
	}
}

func TestAnIDThatNoTranscriptCanHaveIsRefusedBeforeAnythingIsSent(t *testing.T) {
	srv := serve(t, reply(200, `{"id":"a"}`))
	client := newClient(t, srv.URL)
	for name, test := range map[string]struct{ id, text string }{
		"empty":       {"", "the id is blank"},
		"white space": {"\u00a0\t", "the id is blank"},
		"no UTF-8":    {"a\xff", "the id is not valid UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			transcript, err := client.GetTranscript(t.Context(), test.id)

			assert.Nil(t, transcript)
			assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, test.text)
		})
	}
	assert.Empty(t, srv.received())
}

func TestANotFoundOfTheAPIIsErrNotFound(t *testing.T) {
	for _, body := range []string{`{"error":"Conversation not found"}`, ` { "text":"x", "error" : "no" , "score":1 } `} {
		forEachRead(t, func(t *testing.T, read read) {
			srv := serve(t, reply(404, body))

			err := read.call(t.Context(), newClient(t, srv.URL))

			assert.ErrorIs(t, err, memoryplugin.ErrNotFound)
			assert.NotErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			hasReply(t, 404, err)
			assert.Len(t, srv.received(), 1)
		})
	}
}

// strangeNotFounds are 404s that say nothing about a conversation.
var strangeNotFounds = map[string]http.HandlerFunc{
	"HTML":               reply(404, `<html>no such page</html>`, "Content-Type", "text/html"),
	"empty":              reply(404, ``),
	"no error":           reply(404, `{"message":"Conversation not found"}`),
	"text alone":         reply(404, `{"text":"Conversation not found"}`),
	"an empty error":     reply(404, `{"error":""}`),
	"error null":         reply(404, `{"error":null}`),
	"error an object":    reply(404, `{"error":{"message":"no"}}`),
	"error a number":     reply(404, `{"error":404}`),
	"error true":         reply(404, `{"error":true}`),
	"another case":       reply(404, `{"Error":"no"}`),
	"a list":             reply(404, `[{"error":"no"}]`),
	"a string":           reply(404, `"error"`),
	"something after it": reply(404, `{"error":"no"} x`),
	"cut":                reply(404, `{"error":"no"`, "Content-Length", "99"),
	"still encoded":      reply(404, `{"error":"no"}`, "Content-Encoding", "br"),
}

func TestAnotherNotFoundIsNotErrNotFoundButIsTheReply(t *testing.T) {
	for name, step := range strangeNotFounds {
		t.Run(name, func(t *testing.T) {
			forEachRead(t, func(t *testing.T, read read) {
				srv := serve(t, step)

				err := read.call(t.Context(), newClient(t, srv.URL))

				assert.NotErrorIs(t, err, memoryplugin.ErrNotFound)
				assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
				hasReply(t, 404, err)
				assert.ErrorContains(t, err, "base URL")
				assert.Len(t, srv.received(), 1)
			})
		})
	}
}

// A deletion is not about one conversation: its 404 is what it always was.
func TestA404ToADeleteIsErrNotFoundWhateverItsBodyIs(t *testing.T) {
	for name, step := range strangeNotFounds {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, step)

			_, err := deleteA(t.Context(), newClient(t, srv.URL))

			assert.ErrorIs(t, err, memoryplugin.ErrNotFound)
			assert.NotErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
		})
	}
}

func TestConversationsAreCountedAsTheServerCountsThem(t *testing.T) {
	for body, n := range map[string]int{
		`{"count":0}`:                        0,
		`{"count":123}`:                      123,
		` {"blocked":1,"count":2147483647} `: 2147483647,
	} {
		t.Run(body, func(t *testing.T) {
			srv := serve(t, reply(200, body))

			count, err := newClient(t, srv.URL+"/v1").CountConversations(t.Context())

			require.NoError(t, err)
			assert.Equal(t, n, count)
			require.Len(t, srv.received(), 1)
			assert.Equal(t, "/v1/api/chat-history/count", srv.received()[0].RequestURI)
		})
	}
}

func TestACountThatIsNotDocumentedIsRefused(t *testing.T) {
	for _, body := range []string{
		`{}`, `{"total":1}`, `{"count":null}`, `{"count":-1}`, `{"count":"1"}`, `{"count":1.5}`, `{"count":[]}`,
		`{"count":99999999999999999999}`, `{"count":1} 2`, "{\"count\":1,\"x\":\"\xff\"}",
	} {
		t.Run(body, func(t *testing.T) {
			srv := serve(t, reply(200, body))

			count, err := newClient(t, srv.URL).CountConversations(t.Context())

			assert.Zero(t, count)
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.NotContains(t, err.Error(), "9999")
			assert.Len(t, srv.received(), 1)
		})
	}
}

func TestA404ThatIsNotTheAPIsOwnIsNotQuotedIfItMayBeAConversation(t *testing.T) {
	srv := serve(t, reply(404, `{"id":"a","title":"a secret"}`))

	_, err := newClient(t, srv.URL).GetTranscript(t.Context(), "a")

	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.NotContains(t, err.Error(), "secret")
}

func TestATranscriptWithANegativeTotalIsRefused(t *testing.T) {
	srv := serve(t, reply(200, `{"id":"a","total":-1}`))

	_, err := newClient(t, srv.URL).GetTranscript(t.Context(), "a")

	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
}
