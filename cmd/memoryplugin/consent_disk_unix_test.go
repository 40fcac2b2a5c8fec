//go:build unix

package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// answerAfter starts a run at a terminal, does something while it asks, and answers.
func (p *program) answerAfter(while func(), answer string) outcome {
	p.t.Helper()
	terminal, err := pty.Start(p.Cmd)
	require.NoError(p.t, err)
	defer terminal.Close()
	screen := &output{}
	go func() { _, _ = io.Copy(screen, terminal) }()
	screen.waitFor(p.t, "Type yes")
	while()
	_, err = io.WriteString(terminal, answer+"\n")
	require.NoError(p.t, err)
	return p.end()
}

// A question may be open for hours.
func TestAFileThatIsRemovedDuringTheQuestionDeletesNothing(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--backup", "--journal"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			srv := memoryplugintest.NewServer(t)
			srv.AddConversations("a", "b")
			path := filepath.Join(t.TempDir(), "file.jsonl")
			p := command(t, srv.URL, "delete", flag, path, "a", "b")

			got := p.answerAfter(func() { require.NoError(t, os.Remove(path)) }, "yes")

			assert.Equal(t, 1, got.code, got.stderr)
			assert.Contains(t, got.stderr+got.stdout, `file.jsonl" was removed or replaced during the run`)
			assert.Empty(t, sent(srv))
			assert.NoFileExists(t, path)
		})
	}
}

func TestANoLeavesNoFileBehind(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	p := command(t, srv.URL, "delete", "--backup", "b.jsonl", "--journal", "j.jsonl", "a", "b")

	got := p.answerAfter(func() { assert.NotEmpty(t, listing(t, p.Dir)) }, "no")

	assert.Equal(t, 3, got.code, got.stderr)
	assert.Empty(t, sent(srv))
	assert.Empty(t, listing(t, p.Dir))
}

func TestANoLeavesTheFilesOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	args := []string{"delete", "--backup", "b.jsonl", "--journal", "j.jsonl", "--yes"}
	first := command(t, srv.URL, append(args, "a")...)
	require.Equal(t, 0, first.run().code)
	before := first.file("j.jsonl") + first.file("b.jsonl")
	again := command(t, srv.URL, append(args[:5], "b")...)
	again.Dir = first.Dir

	got := again.answerAfter(func() {}, "no")

	assert.Equal(t, 3, got.code, got.stderr)
	assert.Equal(t, []string{"b"}, srv.Conversations())
	assert.Equal(t, first.file("j.jsonl"), before[:len(first.file("j.jsonl"))])
	assert.Contains(t, first.file("b.jsonl"), before[len(first.file("j.jsonl")):])
}
