//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// accountOf starts a server with n conversations, conv-0000 and so on. One was
// created each day, from 2024-01-01 on.
func accountOf(t *testing.T, n int) *memoryplugintest.Server {
	t.Helper()
	srv := memoryplugintest.NewServer(t)
	for i := range n {
		srv.AddConversation(datedConversation(i))
	}
	return srv
}

func datedConversation(i int) memoryplugintest.Conversation {
	created, pinned := time.Date(2024, 1, 1+i, 12, 0, 0, 0, time.UTC), false
	return memoryplugintest.Conversation{Conversation: memoryplugin.Conversation{
		ID: numbered(i), Title: fmt.Sprintf("Title %d", i), CreatedAt: created, UpdatedAt: created, Pinned: &pinned,
	}}
}

func numbered(i int) string { return fmt.Sprintf("conv-%04d", i) }

// firstIDs returns conv-0000 and so on.
func firstIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = numbered(i)
	}
	return ids
}

// asLines returns texts as lines of a file.
func asLines(texts []string) string { return strings.Join(texts, "\n") + "\n" }

func hostOf(srv *memoryplugintest.Server) string { return strings.TrimPrefix(srv.URL, "http://") }

// deletions returns the ids of each deletion that the server was asked for.
func deletions(srv *memoryplugintest.Server) (sent [][]string) {
	for _, r := range srv.Requests() {
		if r.Method == "DELETE" {
			sent = append(sent, r.IDs)
		}
	}
	return sent
}

// The question is the only thing between a slip and what nothing brings back.
func TestTheQuestionSaysWhatIsAboutToBeDeleted(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 9)
	at := command(t, srv.URL, "delete", "--before", "2024-01-08", "--after", "2024-01-02", "--journal", "j").atTerminal(0, 1, 2)

	shown := at.asked()
	at.typed("no\n")
	at.end()

	for what, text := range map[string]string{
		"the number":        "6 conversations",
		"the host":          hostOf(srv),
		"that it is final":  "Nothing brings them back",
		"the span":          "from 2024-01-02 to 2024-01-07",
		"the first instant": "created since 2024-01-02 00:00 UTC",
		"the last instant":  "created before 2024-01-08 00:00 UTC",
		"the journal":       "Journal: j\n",
		"the first three and the last": "  conv-0001  2024-01-02  Title 1\n  conv-0002  2024-01-03  Title 2\n" +
			"  conv-0003  2024-01-04  Title 3\n  ...\n  conv-0006  2024-01-07  Title 6\n",
	} {
		assert.Contains(t, shown, text, what)
	}
	assert.NotContains(t, shown, "conv-0004")
}

func TestTheQuestionAboutIDsShowsThem(t *testing.T) {
	t.Parallel()
	at := command(t, accountOf(t, 3).URL, "delete", "a", "b", "c", "d", "a").atTerminal(0, 1, 2)

	shown := at.asked()
	at.typed("no\n")
	at.end()

	assert.Contains(t, shown, "4 conversations")
	assert.Contains(t, shown, "Journal: none\n  a\n  b\n  c\n  d\n")
	assert.NotContains(t, shown, "created")
}

func TestTheQuestionSaysWhatAnEarlierRunHasDoneAndLeft(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 4)
	p := command(t, srv.URL, "delete", "--journal", "j", "--no-verify", numbered(0), numbered(1), numbered(2))
	first := command(t, srv.URL, "delete", "--yes", "--journal", "j", "--no-verify", "--patience", "0s", "--max-retries", "0", "--batch-size", "1", "--concurrency", "1", numbered(0), numbered(1))
	first.Dir = p.Dir
	srv.FailNext(memoryplugintest.Fault{}, memoryplugintest.Fault{Applied: true, Drop: true})
	require.Equal(t, 1, first.run().code)

	at := p.atTerminal(0, 1, 2)
	shown := at.asked()
	at.typed("no\n")
	at.end()

	assert.Contains(t, shown, "2 conversations")
	assert.Contains(t, shown, "1 of them: an earlier run sent them")
	assert.Contains(t, shown, "Journal: j (of an earlier run)")
}

func TestYesOrTheNumberIsConsent(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"yes\n", "2\n"} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			srv := accountOf(t, 3)
			at := command(t, srv.URL, "delete", numbered(0), numbered(1)).atTerminal(0, 1, 2)

			at.asked()
			at.typed(answer)
			got := at.end()

			assert.Equal(t, 0, got.code, at.screen)
			assert.Equal(t, []string{numbered(2)}, srv.Conversations())
		})
	}
}

func TestNothingElseIsConsent(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"\n", "y\n", "Y\n", "Yes\n", "YES\n", "yes please\n", "yess\n", "ye\n", "no\nyes\n", "ok\n", " yes\n", "yes \n", "\tyes\n",
		"3\n", "1\n", "2.0\n", "+2\n", "02\n", "0x2\n", "22\n", "2 2\n", "true\n", "yes\x00\n", "\x04", "yes\x04\x04",
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			srv := accountOf(t, 2)
			at := command(t, srv.URL, "delete", "--journal", "j", numbered(0), numbered(1)).atTerminal(0, 1, 2)

			at.asked()
			at.typed(answer)
			got := at.end()

			assert.Equal(t, 3, got.code, at.screen)
			assert.Empty(t, srv.Requests())
			assert.NoFileExists(t, at.Dir+"/j")
		})
	}
}

// Whoever types ahead has not read the question.
func TestTheQuestionIsAskedAtTheTerminalWhateverTheStreamsAre(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 3)
	at := command(t, srv.URL, "delete", "--file", "-").input(asLines(firstIDs(2))).atTerminal()

	at.asked()
	at.typed("yes\n")
	got := at.end()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, []string{numbered(2)}, srv.Conversations())
	assert.NotContains(t, got.stdout+got.stderr, "Type yes")
}

func TestAYesInThePipeIsAnIDAndNoConsent(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"with ids as arguments": {"delete", "a"},
		"with filters":          {"delete", "--all"},
		"as the list of ids":    {"delete", "--file", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := accountOf(t, 2)

			got := command(t, srv.URL, args...).input("yes\n").run()

			assert.Equal(t, 3, got.code)
			assert.Contains(t, got.stderr, "there is no terminal to ask at")
			assert.Empty(t, deletions(srv))
		})
	}
}

func TestAYesInThePipeDoesNotAnswerTheTerminal(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 2)
	at := command(t, srv.URL, "delete", numbered(0)).input("yes\n").atTerminal(1, 2)

	at.asked()
	at.typed("no\n")
	got := at.end()

	assert.Equal(t, 3, got.code)
	assert.Empty(t, srv.Requests())
}

func TestWithYesNothingIsAsked(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 1)

	at := command(t, srv.URL, "delete", "--yes", numbered(0)).atTerminal(0, 1, 2)
	got := at.end()

	assert.Equal(t, 0, got.code, at.screen)
	assert.Empty(t, srv.Conversations())
	assert.NotContains(t, at.screen.String(), "Type yes")
}

func TestNothingIsAskedIfNothingIsLeftToDelete(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 1)
	p := command(t, srv.URL, "delete", "--journal", "j", numbered(0))
	first := command(t, srv.URL, "delete", "--yes", "--journal", "j", numbered(0))
	first.Dir = p.Dir
	require.Equal(t, 0, first.run().code)

	at := p.atTerminal(0, 1, 2)
	got := at.end()

	assert.Equal(t, 0, got.code, at.screen)
	assert.NotContains(t, at.screen.String(), "Type yes")
}

func TestANoLeavesNoFileBehind(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"a journal that is named":     {"--journal", "j"},
		"a journal that is not named": {},
		"a backup":                    {"--no-journal", "--backup", "b"},
		"both":                        {"--journal", "j", "--backup", "b"},
	} {
		for ending, end := range map[string]struct {
			typed string
			code  int
		}{"no": {"no\n", 3}, "Ctrl-C": {"\x03", 130}} {
			t.Run(name+", "+ending, func(t *testing.T) {
				t.Parallel()
				srv := accountOf(t, 120)
				at := command(t, srv.URL, append([]string{"delete", "--all", "--concurrency", "8"}, args...)...).atTerminal(0, 1, 2)

				at.asked()
				at.typed(end.typed)
				got := at.end()

				assert.Equal(t, end.code, got.code, at.screen)
				assert.Empty(t, deletions(srv))
				left, err := filepath.Glob(filepath.Join(at.Dir, "*"))
				require.NoError(t, err)
				if ending == "Ctrl-C" { // That is not a no: the copies may have taken hours.
					left = slices.DeleteFunc(left, func(path string) bool { return filepath.Base(path) == "b" })
				}
				assert.Empty(t, left)
			})
		}
	}
}

func TestMoreThanAHundredHaveAJournalThatTheQuestionNames(t *testing.T) {
	t.Parallel()
	at := command(t, accountOf(t, 101).URL, "delete", "--all").atTerminal(0, 1, 2)

	shown := at.asked()
	files, err := os.ReadDir(at.Dir)
	at.typed("yes\n")
	at.end()

	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Contains(t, shown, "Journal: "+files[0].Name()+"\n")
	assert.FileExists(t, at.Dir+"/"+files[0].Name())
}

// An earlier run's record is not this one's to remove.
func TestANoLeavesFilesOfAnEarlierRunAsTheyAre(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 3)
	p := command(t, srv.URL, "delete", "--journal", "j", "--backup", "b", numbered(1))
	first := command(t, srv.URL, "delete", "--yes", "--journal", "j", "--backup", "b", numbered(0))
	first.Dir = p.Dir
	require.Equal(t, 0, first.run().code)
	journal, copies := p.file("j"), p.file("b")

	at := p.atTerminal(0, 1, 2)
	at.asked()
	at.typed("no\n")
	at.end()

	assert.Equal(t, journal, p.file("j"))
	assert.Contains(t, p.file("b"), copies)
}

func TestATerminalThatGoesAwayAtTheQuestionIsNoConsent(t *testing.T) {
	t.Parallel()
	for range 5 { // The signal and the end of the input race each other.
		srv := accountOf(t, 2)
		at := command(t, srv.URL, "delete", "--journal", "j", "--backup", "b", numbered(0)).atTerminal(0)

		at.asked()
		at.hangUp()
		got := at.end()

		assert.Contains(t, []int{3, 130}, got.code, got.stderr)
		assert.Empty(t, deletions(srv))
		assert.NoFileExists(t, at.Dir+"/j")
		assert.FileExists(t, at.Dir+"/b", "the copies may have taken hours")
	}
}

// Who sits at a terminal would type ids after a program that says nothing.
func TestATerminalIsNoListOfIDs(t *testing.T) {
	t.Parallel()

	at := command(t, accountOf(t, 1).URL, "delete").atTerminal(0, 1, 2)
	got := at.end()

	assert.Equal(t, 3, got.code)
	assert.Contains(t, at.screen.String(), "nothing is selected")
}

func TestNothingInTheQuestionMovesTheCursor(t *testing.T) {
	t.Parallel()
	const hostile = "\x1b[2J\x1b[1;1H\r\n\b\u009b2J\u202eevil\u200b"
	srv := memoryplugintest.NewServer(t)
	pinned := false
	srv.AddConversation(memoryplugintest.Conversation{Conversation: memoryplugin.Conversation{
		ID: "id" + hostile, Title: "title" + hostile, Platform: hostile, Pinned: &pinned,
	}})
	at := command(t, srv.URL, "delete", "--all", "--journal", "j\x1b[2J").atTerminal(0, 1, 2)

	shown := at.asked()
	at.typed("yes\n")
	at.end()

	assert.Contains(t, shown, `title\x1b[2J`)
	assert.NotContains(t, at.screen.String(), "\x1b[2J")
	assert.False(t, strings.ContainsAny(at.screen.String(), "\b\u009b\u202e\u200b"), "%q", at.screen)
}

// Whoever types ahead has not read the question.
func TestWhatIsTypedBeforeTheQuestionIsNoConsent(t *testing.T) {
	t.Parallel()
	srv, g := accountOf(t, 2), newGate(t)
	srv.FailFunc(g.holdAll)
	at := command(t, srv.URL, "delete", "--backup", "b", numbered(0)).atTerminal(0, 1, 2)
	arrived(t, srv, 1)

	at.typed("yes\n")
	at.shows("^yes$") // The terminal has it.
	g.release()
	at.asked()
	at.typed("no\n")
	got := at.end()

	assert.Equal(t, 3, got.code, at.screen)
	assert.Empty(t, deletions(srv))
}

// What is asked about is what is deleted.
func TestAListThatChangesAtTheQuestionChangesNothing(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 3)
	at := command(t, srv.URL, "delete", "--all").atTerminal(0, 1, 2)
	at.asked()

	srv.AddConversation(datedConversation(3))
	at.typed("yes\n")
	got := at.end()

	assert.Equal(t, 0, got.code, at.screen)
	assert.Equal(t, []string{numbered(3)}, srv.Conversations())
}

func TestAHostThatCouldDeceiveIsRefused(t *testing.T) {
	t.Parallel()

	got := command(t, "https://evil\u202e.example", "delete", "--yes", "a").run()

	assert.Equal(t, 3, got.code)
	assert.Contains(t, got.stderr, "the base URL's host is not ASCII")
	assert.NotContains(t, got.stderr, "\u202e")
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

// A question may be open for hours.
func TestAFileThatIsRemovedAtTheQuestionDeletesNothing(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--backup", "--journal"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			srv := accountOf(t, 3)
			at := command(t, srv.URL, "delete", flag, "file.jsonl", numbered(0)).atTerminal(0)
			at.asked()
			require.NoError(t, os.Remove(at.Dir+"/file.jsonl"))

			at.typed("yes\n")
			got := at.end()

			assert.Equal(t, 1, got.code, got.stderr)
			assert.Contains(t, got.stderr+got.stdout, `"file.jsonl" was removed or replaced during the run`)
			assert.Empty(t, deletions(srv))
			assert.NoFileExists(t, at.Dir+"/file.jsonl")
		})
	}
}
