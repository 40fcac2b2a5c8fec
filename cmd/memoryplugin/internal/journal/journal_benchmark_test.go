package journal_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

// BenchmarkOpen opens a journal of a million lines, each with one id.
func BenchmarkOpen(b *testing.B) {
	const lines = 1_000_000
	content := bytes.NewBufferString(header)
	for i := range lines / 2 {
		id := fmt.Sprintf("6f9619ff-8b86-d011-b42d-%012d", i)
		fmt.Fprintf(content, `{"time":"2026-01-02T03:04:05.000Z","state":"sent","ids":["%s"]}`+"\n", id)
		fmt.Fprintf(content, `{"time":"2026-01-02T03:04:06.000Z","state":"deleted","ids":["%s"],"request_id":"req-%d"}`+"\n", id, i)
	}
	path := filepath.Join(b.TempDir(), "journal.jsonl")
	require.NoError(b, os.WriteFile(path, content.Bytes(), 0o600))
	b.SetBytes(int64(content.Len()))
	for b.Loop() {
		j, err := journal.Open(path, account)
		require.NoError(b, err)
		require.Empty(b, j.InDoubt())
		require.NoError(b, j.Close())
	}
}
