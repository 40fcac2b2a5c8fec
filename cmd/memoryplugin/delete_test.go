package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestDeleteDeletesWhatItIsGiven(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b", "c")

	got := command(t, srv.URL, "delete", "--yes", "a", "b").run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, []string{"c"}, srv.Conversations())
}
