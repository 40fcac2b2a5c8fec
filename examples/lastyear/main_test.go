package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestItDeletesTheUnpinnedConversationsOfOnePlatformAndYear(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	t.Setenv("MEMORYPLUGIN_API_KEY", memoryplugintest.APIKey)
	t.Setenv("MEMORYPLUGIN_BASE_URL", srv.URL)
	add := func(id, platform string, year int, pinned *bool) {
		srv.AddConversation(memoryplugintest.Conversation{Conversation: memoryplugin.Conversation{
			ID: id, Platform: platform, CreatedAt: time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC), Pinned: pinned,
		}})
	}
	yes, no := true, false
	add("a", "chatgpt", 2025, &no)
	add("pinned", "chatgpt", 2025, &yes)
	add("may be pinned", "chatgpt", 2025, nil)
	add("of another platform", "claude", 2025, &no)
	add("of another year", "chatgpt", 2026, &no)
	add("b", "chatgpt", 2025, &no)

	main()

	assert.Equal(t, []string{"pinned", "may be pinned", "of another platform", "of another year"}, srv.Conversations())
}
