//go:build unix

package main_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The question is the only thing between a slip and an irreversible deletion.
func TestTheQuestionNamesTheNumberTheHostAndThatItIsFinal(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b", "c")
	journal := file(t, lines(
		`{"time":"2026-11-24T10:00:00.123Z","state":"sent","host":"`+host(srv.URL)+`","ids":["c"]}`,
		`{"time":"2026-11-24T10:00:00.456Z","state":"deleted","ids":["c"]}`,
	))

	term := cleanup(t, srv.URL, "--journal", journal, "a", "b", "a", "c").atTerminal(0)
	term.stderr.waitFor(t, "yes")
	term.typed("no\n")
	got := term.end()

	assert.Equal(t, 2, got.code)
	assert.Regexp(t, `\b2\b.*`+host(srv.URL), got.stderr)
	assert.Regexp(t, `can't be undone`, got.stderr)
	assert.Empty(t, got.stdout)
	assert.Empty(t, srv.Requests())
}

func TestYesOrTheNumberIsConsent(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"yes\n", "2\n"} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a", "b")

			term := cleanup(t, srv.URL, "a", "b", "b").atTerminal(0, 2)
			term.screen.waitFor(t, "yes")
			term.typed(answer)
			got := term.end()

			assert.Equal(t, 0, got.code, term.screen)
			assert.Empty(t, srv.Conversations())
		})
	}
}

func TestNothingElseIsConsent(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"\n", "y\n", "Y\n", "Yes\n", "YES\n", "yes please\n", "yess\n", "ye\n", "no\nyes\n", "ok\n", " yes\n", "yes \n",
		"3\n", "1\n", "2.0\n", "+2\n", "0x2\n", "22\n", "2 2\n", "true\n", "\x04", "yes\x04\x04",
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a", "b")

			term := cleanup(t, srv.URL, "a", "b", "b").atTerminal(0, 2)
			term.screen.waitFor(t, "yes")
			term.typed(answer)
			got := term.end()

			assert.Equal(t, 2, got.code, term.screen)
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestCtrlCAtTheQuestionIsExitCode130(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")

	term := cleanup(t, srv.URL, "a").atTerminal(0, 2)
	term.screen.waitFor(t, "yes")
	term.typed("\x03")
	got := term.end()

	assert.Equal(t, 130, got.code, term.screen)
	assert.Empty(t, srv.Requests())
}

func TestATerminalThatGoesAwayAtTheQuestionIsExitCode130(t *testing.T) {
	t.Parallel()
	for range 5 { // The signal and the end of the input race each other.
		srv := account(t, "a")

		term := cleanup(t, srv.URL, "a").atTerminal(0)
		term.stderr.waitFor(t, "yes")
		term.hangUp()
		got := term.end()

		assert.Equal(t, 130, got.code, got.stderr)
		assert.Empty(t, srv.Requests())
	}
}

// Who types ids at a terminal would type them after a program that says nothing.
func TestATerminalIsNoInput(t *testing.T) {
	t.Parallel()

	got := cleanup(t, account(t).URL, "--yes").atTerminal(0, 2).end()

	assert.Equal(t, 2, got.code)
}

func TestYesAtATerminalAsksNothing(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")

	term := cleanup(t, srv.URL, "--yes", "a").atTerminal(0, 2)
	got := term.end()

	assert.Equal(t, 0, got.code, term.screen)
	assert.Empty(t, srv.Conversations())
}

// The terminal that the program was started from could answer, but so could
// whoever made the pipe believe that it would be asked.
func TestIDsFromAPipeNeedYesEvenAtATerminal(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")

	p := cleanup(t, srv.URL).input("a\n")
	got := p.atTerminal(2).end()

	assert.Equal(t, 2, got.code)
	assert.Empty(t, srv.Requests())
}

func TestNoQuestionIsAskedWhereNothingIsLeftToDelete(t *testing.T) {
	t.Parallel()
	srv := account(t)
	journal := file(t, lines(
		`{"time":"2026-11-24T10:00:00.123Z","state":"sent","host":"`+host(srv.URL)+`","ids":["c"]}`,
		`{"time":"2026-11-24T10:00:00.456Z","state":"deleted","ids":["c"]}`,
	))

	term := cleanup(t, srv.URL, "--journal", journal, "c").atTerminal(0, 2)
	got := term.end()

	assert.Equal(t, 0, got.code, term.screen)
	assert.Empty(t, srv.Requests())
}

func TestTheQuestionQuotesAHostThatCouldDeceive(t *testing.T) {
	t.Parallel()
	term := cleanup(t, "https://evil\u202e.example", "a").atTerminal(0)
	term.typed("no\n")
	got := term.end()

	assert.Equal(t, 2, got.code)
	assert.False(t, strings.ContainsRune(got.stderr, '\u202e'), "%q", got.stderr)
}

func TestTheQuestionIsAskedBeforeTheJournalIsWritten(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	journal := file(t, "")

	term := cleanup(t, srv.URL, "--journal", journal, "a").atTerminal(0, 2)
	term.screen.waitFor(t, "yes")
	term.typed("no\n")
	got := term.end()

	assert.Equal(t, 2, got.code)
	info, err := os.Stat(journal)
	assert.NoError(t, err)
	assert.Zero(t, info.Size())
}
