//go:build unix

package main

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// oneByOne is a run of ten ids, one a batch and one at a time. From the sixth on,
// deletions wait for the gate.
func oneByOne(t *testing.T, args ...string) (*program, *gate) {
	t.Helper()
	srv, g := accountOf(t, 10), newGate(t)
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if isDelete(r) && r.IDs[0] >= numbered(5) {
			g.wait()
		}
		return memoryplugintest.Fault{}
	})
	args = append([]string{"delete", "--yes", "--batch-size", "1", "--concurrency", "1"}, args...)
	return command(t, srv.URL, append(args, firstIDs(10)...)...), g
}

func TestABarShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	p, _ := oneByOne(t)

	at := p.atTerminal(0, 2)

	at.shows(`^\s*\[=+>-+\] 5 of 10 done, 5 left, \d+\.\d/s, \d+s to go$`)
}

func TestTheBarOfABackupShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	srv, g := accountOf(t, 10), newGate(t)
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if r.Query.Get("conversationId") >= numbered(5) {
			g.wait()
		}
		return memoryplugintest.Fault{}
	})

	at := command(t, srv.URL, "backup", "--all", "--to", "b", "--concurrency", "1").atTerminal(0, 2)

	at.shows(`^\s*\[=+>-+\] 5 of 10 copied, 5 left`)
}

func TestTheBarIsWholeInTheEndAndTheSummaryFollowsIt(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]pty.Winsize{
		"usual": {Rows: 24, Cols: 80}, "narrow": {Rows: 24, Cols: 40}, "very narrow": {Rows: 24, Cols: 12}, "wide": {Rows: 50, Cols: 300},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, g := oneByOne(t)
			g.release()
			at := p.atTerminalOf(size, 0, 1, 2)
			got := at.end()

			shown := rendered(at.screen.String())
			assert.Equal(t, 0, got.code)
			bars := 0
			for _, line := range shown {
				if strings.Contains(line, "10 of 10 do") {
					bars++
					assert.LessOrEqual(t, len([]rune(line)), int(size.Cols), line)
				}
			}
			assert.Equal(t, 1, bars, strings.Join(shown, "\n"))
			assert.True(t, slices.ContainsFunc(shown, regexp.MustCompile(`^10 of 10 conversations done on `).MatchString), strings.Join(shown, "\n"))
			if size.Cols >= 80 {
				at.shows(`^\s*\[=+\] 10 of 10 done, 0 left`)
			}
		})
	}
}

func TestWithoutACursorThereAreLinesInsteadOfABar(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"NO_COLOR=1", "TERM=dumb", "TERM=", "CI=true"} {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			p, g := oneByOne(t)
			g.release()
			p.Env = append(p.Env, variable)

			at := p.atTerminal(0, 1, 2)
			at.end()

			assert.NotContains(t, at.screen.String(), "\x1b")
			assert.NotContains(t, at.screen.String(), "[=")
			at.shows(`^10 of 10 done, 0 left`)
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		t.Parallel()
		p, g := oneByOne(t)
		g.release()

		got := p.atTerminal(0, 1).end()

		assert.NotContains(t, got.stderr, "\x1b")
		assert.Contains(t, got.stderr, "10 of 10 done, 0 left")
	})
}

func TestQuietShowsNothingAtATerminal(t *testing.T) {
	t.Parallel()
	p, g := oneByOne(t, "--quiet")
	g.release()

	at := p.atTerminal(0, 2)
	got := at.end()

	assert.Equal(t, 0, got.code)
	assert.Empty(t, at.screen.String())
}

// waiting is what a wait of more than two seconds shows.
const waiting = `waiting until \d\d:\d\d:\d\d: 429 Too Many Requests`

func TestALongWaitIsShown(t *testing.T) {
	t.Parallel()
	retryAfter := memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}}
	for name, test := range map[string]struct {
		fault memoryplugintest.Fault
		args  []string
		env   string
	}{
		"a Retry-After that the SDK obeys":       {fault: retryAfter},
		"between two rounds":                     {fault: memoryplugintest.Fault{Status: http.StatusTooManyRequests}, args: []string{"--max-retries", "0"}, env: "TEST_FIRST_WAIT=30s"},
		"between two rounds, with a Retry-After": {fault: retryAfter, args: []string{"--max-retries", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := accountOf(t, 3)
			srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault { return test.fault })
			start := func() *program {
				p := command(t, srv.URL, append(append([]string{"delete", "--yes"}, test.args...), firstIDs(3)...)...)
				p.Env = append(p.Env, test.env)
				return p
			}

			start().atTerminal(0, 2).shows(`0 of 3 done, 3 left, ` + waiting + `$`)

			inPipe := start().start()
			inPipe.stderr.waitFor(t, "waiting until")
			assert.Regexp(t, `(?m)^`+waiting+`$`, inPipe.stderr.String())
		})
	}
}

// What was on the wire is answered while the others wait.
func TestALongWaitStaysOnTheScreenWhenAnotherBatchIsDone(t *testing.T) {
	t.Parallel()
	srv, g, both := accountOf(t, 4), newGate(t), newGate(t)
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if r.IDs[0] == numbered(0) {
			both.wait()
			return memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}}
		}
		both.release()
		g.wait()
		return memoryplugintest.Fault{}
	})
	at := command(t, srv.URL, append([]string{"delete", "--yes", "--batch-size", "1", "--concurrency", "2"}, firstIDs(4)...)...).atTerminal(0, 2)
	at.shows(`0 of 4 done, 4 left, ` + waiting)

	g.release()

	at.shows(`1 of 4 done, 3 left, ` + waiting)
}

func TestAShortWaitIsNotShown(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 3)
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}})

	got := command(t, srv.URL, append([]string{"delete", "--yes"}, firstIDs(3)...)...).run()

	assert.Equal(t, 0, got.code)
	assert.NotContains(t, got.stderr, "waiting")
}

func TestTheLogGoesAboveTheBar(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 40)
	srv.FailNext(slices.Repeat([]memoryplugintest.Fault{{Status: http.StatusTooManyRequests}}, 10)...)

	at := command(t, srv.URL, append([]string{"delete", "--yes", "-v", "--batch-size", "1"}, firstIDs(40)...)...).atTerminalOf(pty.Winsize{Rows: 24, Cols: 250}, 0, 1, 2)
	got := at.end()

	assert.Equal(t, 0, got.code, at.screen)
	shown := rendered(at.screen.String())
	logged := 0
	for _, line := range shown {
		if strings.Contains(line, "memoryplugin: retrying") {
			logged++
			assert.Regexp(t, `^time=.* wait=\S+$`, line)
		}
	}
	assert.Equal(t, 10, logged)
	bar := slices.IndexFunc(shown, func(line string) bool { return strings.Contains(line, "40 of 40 done") })
	require.Positive(t, bar)
	assert.NotContains(t, strings.Join(shown[bar+1:], "\n"), "retrying")
}

func TestWithoutVerboseNoRetryIsLogged(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 3)
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusServiceUnavailable})

	got := command(t, srv.URL, append([]string{"delete", "--yes"}, firstIDs(3)...)...).run()

	assert.Equal(t, 0, got.code)
	assert.NotContains(t, got.stderr, "retrying")
}

// A screen that shows more than the journal may show what a crash forgets.
func TestTheScreenNeverKnowsMoreThanTheJournal(t *testing.T) {
	t.Parallel()
	srv := accountOf(t, 100)
	at := command(t, srv.URL, append([]string{"delete", "--yes", "--journal", "j", "--batch-size", "1"}, firstIDs(100)...)...).atTerminal(0, 2)
	counter := regexp.MustCompile(`(\d+) of 100 done`)
	arrived(t, srv, 1)

	for running := true; running; {
		select {
		case <-at.copied:
			running = false
		default:
		}
		shown := 0
		for _, match := range counter.FindAllStringSubmatch(at.screen.String(), -1) {
			shown, _ = strconv.Atoi(match[1])
		}
		require.LessOrEqual(t, shown, countStates(t, at.file("j"))["deleted"])
	}
	assert.Equal(t, 0, at.end().code)
}
