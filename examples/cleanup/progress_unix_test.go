//go:build unix

package main_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shows waits for a line of the screen that matches pattern.
func (term *terminal) shows(pattern string) {
	term.t.Helper()
	re := regexp.MustCompile(pattern)
	require.Eventually(term.t, func() bool {
		for _, line := range rendered(term.screen.String()) {
			if re.MatchString(line) {
				return true
			}
		}
		return false
	}, 30*time.Second, 10*time.Millisecond, "%s never on the screen", pattern)
}

func TestOnATerminalABarShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	url := stuck(t, 5)

	term := cleanup(t, url, append([]string{"--yes", "--batch-size", "1", "--concurrency", "1"}, numbered(10)...)...).atTerminal(0, 2)

	term.shows(`5\D+10.*1 failed`)
	t.Log(strings.Join(rendered(term.screen.String()), "\n"))
}

func TestTheBarIsComplete(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(10)...)

	term := cleanup(t, srv.URL, append([]string{"--yes", "--batch-size", "1"}, numbered(10)...)...).atTerminal(0, 2)
	got := term.end()

	assert.Equal(t, 0, got.code)
	term.shows(`\[=+\] 10 of 10 done`)
	assert.NotContains(t, got.stdout, "\x1b")
}

// Such as that of script in a pipeline.
func TestATerminalThatDoesNotKnowItsSizeShowsTheBarToo(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(10)...)

	term := cleanup(t, srv.URL, append([]string{"--yes", "--batch-size", "1"}, numbered(10)...)...).atTerminalOf(pty.Winsize{}, 0, 2)
	term.end()

	term.shows(`\[=+\] 10 of 10 done`)
}

func TestTheSummaryFollowsTheBarOnALineOfItsOwn(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(10)...)

	term := cleanup(t, srv.URL, append([]string{"--yes", "--batch-size", "1"}, numbered(10)...)...).atTerminal(0, 1, 2)
	term.end()

	term.shows(`^10 of 10 conversations deleted`)
}

func TestQuietShowsNoBar(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(10)...)

	term := cleanup(t, srv.URL, append([]string{"--yes", "--quiet", "--batch-size", "1"}, numbered(10)...)...).atTerminal(0, 2)
	term.end()

	assert.NotContains(t, term.screen.String(), "\x1b")
	for _, line := range rendered(term.screen.String()) {
		assert.NotRegexp(t, `10\D+10`, line)
	}
}

func TestTheLogLeavesTheBarWhole(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(40)...)
	busy := busyFaults(10)
	srv.FailNext(busy...)

	term := cleanup(t, srv.URL, append([]string{"--yes", "-v", "--batch-size", "1", "--concurrency", "4"}, numbered(40)...)...).atTerminal(0, 2)
	got := term.end()

	assert.Equal(t, 0, got.code, term.screen)
	logged := 0
	for _, line := range rendered(term.screen.String()) {
		if strings.Contains(line, "memoryplugin: retrying") {
			logged++
			assert.Regexp(t, `^(time|level)=`, line, "it begins in the middle of the bar")
			assert.Regexp(t, `wait=\S+$`, line, "it ends in the rest of the bar")
		}
	}
	assert.Equal(t, 10, logged)
}

// A bar that hides deleted conversations until they are in the journal is late;
// one that shows them earlier may show what a crash forgets.
func TestTheScreenNeverKnowsMoreThanTheJournal(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(200)...)
	journal := newJournal(t)
	p := cleanup(t, srv.URL, append([]string{"--yes", "--journal", journal, "--batch-size", "1", "--concurrency", "1"}, numbered(200)...)...)
	p.neverShowsMoreThan(journal, 200)
}

func TestTheScreenWaitsForASlowDisk(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(4)...)
	journal := file(t, "")
	p := cleanup(t, srv.URL, append([]string{"--yes", "--journal", journal, "--batch-size", "1", "--concurrency", "1"}, numbered(4)...)...)
	p.underStrace("-o", os.DevNull, "-P", journal, "-e", "trace=write", "-e", "inject=write:delay_enter=400000")
	p.neverShowsMoreThan(journal, 4)
}

// neverShowsMoreThan runs the program at a terminal, and compares its bar with
// its journal as long as it runs.
func (p *program) neverShowsMoreThan(journal string, total int) {
	t := p.t
	t.Helper()
	term := p.atTerminal(0, 2)
	counter := regexp.MustCompile(fmt.Sprintf(`(\d+) of %d done`, total))

	for running := true; running; {
		select {
		case <-term.copied:
			running = false
		default:
		}
		shown := 0
		for _, match := range counter.FindAllStringSubmatch(term.screen.String(), -1) {
			shown = max(shown, number(t, match[1]))
		}
		recorded := 0
		for _, state := range states(wholeRecords(t, journal)) {
			if state != "sent" {
				recorded++
			}
		}
		require.LessOrEqual(t, shown, recorded)
	}
	assert.Equal(t, 0, term.end().code)
	assert.Contains(t, term.screen.String(), fmt.Sprintf("%d of %[1]d done", total))
}
