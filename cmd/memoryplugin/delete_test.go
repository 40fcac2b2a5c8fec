package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
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

// No client can keep a conversation from changing between its copy and its deletion.
func TestWhatChangesAfterItsCopyIsDeletedAndTheCopyIsTheOldOne(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	var reads atomic.Int64
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if !strings.HasSuffix(r.Path, "/conversation") {
			return memoryplugintest.Fault{}
		}
		transcript := fmt.Sprintf(`{"id":"a","messages":[],"total":0,"title":"version %d"}`, reads.Add(1))
		return memoryplugintest.Fault{Status: http.StatusOK, Body: transcript}
	})

	deleting := command(t, srv.URL, "delete", "--yes", "--backup", "b.jsonl", "a")
	got := deleting.run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Empty(t, srv.Conversations())
	assert.Contains(t, deleting.file("b.jsonl"), "version 1")
	assert.NotContains(t, deleting.file("b.jsonl"), "version 2")
}
