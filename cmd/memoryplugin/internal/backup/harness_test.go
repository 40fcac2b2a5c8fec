package backup_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/backup"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/patience"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

var account = appendfile.Account{URL: "https://api.example", APIKey: "key-1"}

const header = `{"backup":"memoryplugin","version":1,"time":"2026-01-02T03:04:05Z","url":"https://api.example",` +
	`"account":"000102030405060708090a0b0c0d0e0f:2325d6d77dcfe6fe53c2caffc2cf7117"}` + "\n"

// begun is when the file of header was begun.
var begun = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t *testing.T, path string) *backup.Backup {
	t.Helper()
	b, err := backup.Open(path, account)
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func newPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "backup.jsonl")
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := newPath(t)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// conversations returns n conversations with the ids conv-0, conv-1, ...
func conversations(n int) []memoryplugin.Conversation {
	all := make([]memoryplugin.Conversation, n)
	for i := range all {
		all[i].ID = fmt.Sprint("conv-", i)
	}
	return all
}

func newServer(t *testing.T, n int) *memoryplugintest.Server {
	t.Helper()
	srv := memoryplugintest.NewServer(t)
	for _, c := range conversations(n) {
		srv.AddConversations(c.ID)
	}
	return srv
}

// settings wait for milliseconds, and send each request once.
func settings(srv *memoryplugintest.Server) *backup.Fetch {
	return &backup.Fetch{
		Client:      srv.Client(memoryplugin.WithMaxRetries(0)),
		Concurrency: 2,
		Patience:    &patience.Patience{Limit: 100 * time.Millisecond, First: time.Millisecond, OnWait: func(time.Time, error) {}},
		OnCopy:      func() {},
	}
}

// fetch copies conversations, and closes the backup.
func fetch(t *testing.T, path string, settings *backup.Fetch, all []memoryplugin.Conversation) ([]error, error) {
	t.Helper()
	b := open(t, path)
	defer b.Close()
	return b.Fetch(context.Background(), settings, all)
}

// reply makes the next request succeed with a body.
func reply(body string) memoryplugintest.Fault {
	return memoryplugintest.Fault{Status: http.StatusOK, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}
}
