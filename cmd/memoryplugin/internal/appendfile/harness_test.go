package appendfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
)

var account = appendfile.Account{URL: "https://api.example/v1", APIKey: "key-1"}

// header is the first line of a journal of account, which an earlier run wrote.
const header = `{"journal":"memoryplugin","version":1,"time":"2026-01-02T03:04:05Z","url":"https://api.example/v1",` +
	`"account":"000102030405060708090a0b0c0d0e0f:2325d6d77dcfe6fe53c2caffc2cf7117"}` + "\n"

// open opens a journal, and returns its lines too.
func open(t *testing.T, path string) (*appendfile.File, []string) {
	t.Helper()
	var lines []string
	f, err := appendfile.Open(path, appendfile.Journal, account, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	})
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f, lines
}

// openError returns why a journal can't be opened.
func openError(t *testing.T, path string) error {
	t.Helper()
	f, err := appendfile.Open(path, appendfile.Journal, account, func([]byte) error { return nil })
	if err == nil {
		f.Close()
	}
	require.Error(t, err)
	return err
}

// newPath returns a path at which there is nothing yet.
func newPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "file.jsonl")
}

// write makes a file as old as an earlier run.
func write(t *testing.T, content string) string {
	t.Helper()
	path := newPath(t)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	old := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, old, old))
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// unchanged returns a function that fails the test unless a file is still what it
// was: its content, its permissions, and when it was written.
func unchanged(t *testing.T, path string) func() {
	t.Helper()
	describe := func() string {
		info, err := os.Lstat(path)
		require.NoError(t, err)
		return fmt.Sprintf("%v %v %q", info.ModTime(), info.Mode(), read(t, path))
	}
	before := describe()
	return func() {
		t.Helper()
		assert.Equal(t, before, describe(), "the file was changed")
	}
}
