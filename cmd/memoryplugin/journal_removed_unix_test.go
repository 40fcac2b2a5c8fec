//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAFileThatIsLostDuringARunIsSaid(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(path string) error{
		"removed": os.Remove,
		"renamed": func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error {
			if err := os.WriteFile(path+".new", []byte("another\n"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, srv, g := held(t, "--output", "text")
			p.start()
			arrived(t, srv, 2)

			require.NoError(t, lose(filepath.Join(p.Dir, "j")))
			g.release()
			got := p.end()

			assert.Equal(t, 1, got.code, got.stderr)
			assert.Contains(t, got.stdout, `"j" was removed or replaced during the run`)
			assert.Contains(t, got.stdout, "Keep this list:")
			for _, id := range firstIDs(20) {
				assert.Contains(t, got.stdout, "    "+id+"\n", "it is deleted, but recorded nowhere")
			}
			assert.NotContains(t, got.stdout, "run the command again with --journal")
		})
	}
}

// Nothing may leave that is not in the journal.
func TestARunStopsAtTheNextChunkOnceItsJournalIsLost(t *testing.T) {
	t.Parallel()
	p, srv, g := held(t)
	p.Args = append(p.Args[:1:1], "delete", "--yes", "--journal", "j", "--output", "json", "--batch-size", "1", "--concurrency", "1")
	p.input(asLines(firstIDs(300))).start()
	arrived(t, srv, 1)

	require.NoError(t, os.Remove(filepath.Join(p.Dir, "j")))
	g.release()
	got := p.end()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stderr, `"j" was removed or replaced during the run`)
	assert.Less(t, summaryOf(t, got).NotDeleted, 300)
	assert.Less(t, len(srv.Requests()), 150)
}

func TestAJournalThatIsReplacedAtTheQuestionIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"yes\n", "no\n"} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			srv := accountOf(t, 3)
			at := command(t, srv.URL, "delete", "--journal", "j", numbered(0)).atTerminal(0, 1, 2)
			at.asked()
			require.NoError(t, os.Rename(at.Dir+"/j", at.Dir+"/old"))
			require.NoError(t, os.WriteFile(at.Dir+"/j", []byte("another"), 0o600))

			at.typed(answer)
			at.end()

			assert.Equal(t, "another", at.file("j"))
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestABackupThatIsLostBeforeTheQuestionDeletesNothing(t *testing.T) {
	t.Parallel()
	srv, g := accountOf(t, 3), newGate(t)
	srv.FailFunc(g.holdAll)
	p := command(t, srv.URL, "delete", "--yes", "--backup", "b", numbered(0), numbered(1)).start()
	arrived(t, srv, 1)

	require.NoError(t, os.Remove(filepath.Join(p.Dir, "b")))
	g.release()
	got := p.end()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stderr, `"b" was removed or replaced during the run`)
	assert.Empty(t, deletions(srv))
}
