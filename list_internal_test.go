package memoryplugin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// assertRefused checks what holds for the error of every reply that is not taken.
func assertRefused(t *testing.T, err error) {
	t.Helper()
	assert.ErrorIs(t, err, ErrUnexpectedResponse)
	assert.Less(t, len(err.Error()), 200, "it repeats nothing of the reply")
}

// requireObject checks that body is what encoding/json takes for an object.
func requireObject(t *testing.T, body []byte) {
	t.Helper()
	var object map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(body, &object))
	require.NotNil(t, object)
	require.True(t, utf8.Valid(body))
}

// requireWholeID checks that id can be deleted by, and was read to the letter.
func requireWholeID(t *testing.T, id string) {
	t.Helper()
	require.NotEmpty(t, strings.TrimSpace(id))
	require.True(t, utf8.ValidString(id))
	require.NotContains(t, id, "\ufffd")
}

func requireKnownTime(t *testing.T, at time.Time) {
	t.Helper()
	require.True(t, at.IsZero() || at.Year() >= 2000, "%v", at)
}

// oddBodies are those that no reply should be.
var oddBodies = []string{
	``, `null`, `[]`, `{}`, `1`, `"a"`, `{`, `{}{}`, "\ufeff{}", "{\"\xff\":1}", `{"items":[],"total":0} x`,
	`{"items":{"a":1},"messages":1,"count":"1"}`, `{"ITEMS":[{"ID":"a"}],"TOTAL":1,"COUNT":1}`,
	strings.Repeat("[", 20_000), strings.Repeat(`{"items":`, 20_000),
}

func FuzzDecodePage(f *testing.F) {
	for _, body := range oddBodies {
		f.Add([]byte(body))
	}
	for _, body := range []string{
		`{"items":[{"id":"a","title":"t","platform":"p","messageCount":1,"tokenCount":2,"createdAt":"2026-01-31T08:00:00Z","updatedAt":"2026-01-31T08:00:00.5+02:00","pinned":true}],"page":1,"pageSize":25,"total":1,"totalPages":1}`,
		`{"items":[{"id":"a","pinned":true},{"id":"b"}],"total":2}`, `{"items":[],"total":0}`, `{"items":null,"total":0}`, `{"items":[null],"total":1}`,
		`{"items":[{"id":""}],"total":1}`, `{"items":[{"id":" \u00a0"}],"total":1}`, `{"items":[{}],"total":1}`, `{"items":[{"id":null}],"total":1}`,
		`{"items":[{"id":"\ud83d\ude00"}],"total":1}`, `{"items":[{"id":"\ud83d"}],"total":1}`, `{"items":[{"id":"\ufffd"}],"total":1}`,
		`{"items":[{"id":"a","id":"\ude00"}],"total":1}`, `{"items":[{"id":"a","ID":"\ud83d"}],"total":1}`,
		`{"items":[{"id":"a"}],"items":[{}],"total":1}`, `{"items":[{"id":"a"}],"items":null,"total":1}`,
		`{"items":[{"id":"a","createdAt":"1970-01-01T00:00:00Z","updatedAt":""}],"total":1}`,
		`{"items":[{"id":"a","createdAt":0}],"total":1}`, `{"items":[],"total":-1}`, `{"items":[],"total":1e9}`, `{"items":[],"total":99999999999999999999}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		page, err := decodePage(body)

		if err != nil {
			assertRefused(t, err)
			assert.Nil(t, page)
			return
		}
		requireObject(t, body)
		require.NotNil(t, page.Items)
		require.GreaterOrEqual(t, page.Total, 0)
		for _, item := range page.Items {
			requireWholeID(t, item.ID)
			requireKnownTime(t, item.CreatedAt)
			requireKnownTime(t, item.UpdatedAt)
		}
	})
}

func FuzzDecodeTranscript(f *testing.F) {
	for _, body := range oddBodies {
		f.Add([]byte(body), "a")
	}
	for _, body := range []string{
		`{"id":"a","title":"t","messages":[{"message_index":0,"sender":"human","text":"Hi","timestamp":"2026-01-31T08:00:00Z"}],"total":1,"platformConversationId":"p","sourceId":"s","tokenCount":3}`,
		`{"id":"a"}`, `{"id":"b"}`, `{"id":null}`, `{"id":"a","messages":null}`, `{"id":"a","messages":[null,{}]}`, `{"id":"a","messages":{}}`,
		`{"id":"a","messages":[{"timestamp":"1970-01-01T00:00:00Z"},{"timestamp":"now"}]}`, `{"id":"a","total":1e99}`, `{"id":"a","other":1e999}`, `{"id":"b","ID":"a"}`,
	} {
		f.Add([]byte(body), "a")
	}
	f.Add([]byte(`{"id":"\ud83d\ude00"}`), "😀")
	f.Add([]byte(`{"id":"\ud83d"}`), "\ufffd")
	f.Fuzz(func(t *testing.T, body []byte, id string) {
		if checkID(id) != nil {
			return // Never sent.
		}

		transcript, err := decodeTranscript(body, id)

		if err != nil {
			assertRefused(t, err)
			assert.Nil(t, transcript)
			return
		}
		requireObject(t, body)
		requireWholeID(t, transcript.ID)
		require.Equal(t, id, transcript.ID)
		require.Equal(t, body, []byte(transcript.Raw))
		require.NotNil(t, transcript.Messages)
		for _, message := range transcript.Messages {
			requireKnownTime(t, message.Timestamp)
		}
	})
}

func FuzzDecodeCount(f *testing.F) {
	for _, body := range oddBodies {
		f.Add([]byte(body))
	}
	for _, body := range []string{
		`{"count":123}`, `{"count":0}`, `{"count":-0}`, `{"count":-1}`, `{"count":1.5}`, `{"count":null}`, `{"count":"1"}`, `{"count":1,"count":2}`,
		`{"count":9223372036854775807}`, `{"count":9223372036854775808}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := decodeCount(body)

		if err != nil {
			assertRefused(t, err)
			assert.Zero(t, n)
			return
		}
		requireObject(t, body)
		require.GreaterOrEqual(t, n, 0)
	})
}
