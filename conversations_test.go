package memoryplugin_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
