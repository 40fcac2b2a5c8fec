package journal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

// FuzzOpen opens whatever a journal may have come to. What is refused is left as it
// is, and what is accepted says the same once more.
func FuzzOpen(f *testing.F) {
	for _, content := range []string{
		"", header, header + lastLines, header + lastLines + `{"torn`, header + lastLines[:70] + "\x00\x00", header + "\n",
		header[:40], "conv-1\n", header[:len(header)-1], `{"a":1}`, header + lastLines[:len(lastLines)-1], "\x00\x00",
		header + `{"state":"kept","ids":["\ud83d\ude00"]}` + "\n", header + `{"state":"kept","ids":["a"]}`,
	} {
		f.Add([]byte(content))
	}
	path := filepath.Join(f.TempDir(), "journal.jsonl")
	f.Fuzz(func(t *testing.T, content []byte) {
		require.NoError(t, os.WriteFile(path, content, 0o600))

		looked, lookErr := journal.Look(path, account)
		first, err := journal.Open(path, account)

		require.Equal(t, err == nil, lookErr == nil, "Look: %v, Open: %v", lookErr, err)
		if err != nil {
			require.Equal(t, string(content), read(t, path), "it is refused, and was changed")
			return
		}
		require.Equal(t, looked.InDoubt(), first.InDoubt())
		require.NoError(t, first.Write(&journal.Record{State: journal.Sent, IDs: []string{"last"}}))
		require.NoError(t, first.Close())
		repaired := []byte(read(t, path))
		whole := content[:bytes.LastIndexByte(content, '\n')+1]
		require.True(t, bytes.HasPrefix(repaired, whole), "a whole line was changed")

		second, err := journal.Open(path, account)
		require.NoError(t, err)
		defer second.Close()
		require.Zero(t, second.CutOff())
		require.Equal(t, journal.Sent, second.State("last"))
		for _, id := range first.InDoubt() {
			require.True(t, second.State(id).IsInDoubt(), id)
		}
		require.Len(t, second.InDoubt(), len(first.InDoubt())+1-n(first.State("last").IsInDoubt()))
	})
}

func n(b bool) int {
	if b {
		return 1
	}
	return 0
}
