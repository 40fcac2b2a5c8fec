package backup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/backup"
)

// FuzzOpen opens whatever a backup may have come to. What is refused is left as it
// is, and what is accepted says the same once more.
func FuzzOpen(f *testing.F) {
	for _, content := range []string{
		"", header, header + lastLines, header + lastLines + `{"torn`, header + lastLines[:70] + "\x00\x00", header + "\n",
		header[:40], "conv-1\n", header[:len(header)-1], `{"a":1}`, header + lastLines[:len(lastLines)-1], "\x00\x00",
		header + `{"id":"b","text":"\ud800"}` + "\n", header + `{"id":"b","text":"\udfff"}`, header + `{"id":"\ud800"}` + "\n",
	} {
		f.Add([]byte(content))
	}
	path := filepath.Join(f.TempDir(), "backup.jsonl")
	f.Fuzz(func(t *testing.T, content []byte) {
		require.NoError(t, os.WriteFile(path, content, 0o600))

		first, err := backup.Open(path, account)

		if err != nil {
			require.Equal(t, string(content), read(t, path), "it is refused, and was changed")
			return
		}
		require.NoError(t, first.Close())
		repaired := []byte(read(t, path))
		whole := content[:bytes.LastIndexByte(content, '\n')+1]
		require.True(t, bytes.HasPrefix(repaired, whole), "a whole line was changed")

		second, err := backup.Open(path, account)
		require.NoError(t, err)
		defer second.Close()
		require.Zero(t, second.CutOff())
		require.Equal(t, string(repaired), read(t, path))
		require.Equal(t, first.HasAny("a"), second.HasAny("a"))
		require.Equal(t, first.HasAny("b"), second.HasAny("b"))
	})
}
