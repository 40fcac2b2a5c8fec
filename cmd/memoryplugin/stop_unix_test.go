//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// gate keeps requests waiting for their reply.
type gate struct {
	closed  chan struct{}
	release func()
}

func newGate(t *testing.T) *gate {
	closed := make(chan struct{})
	g := &gate{closed, sync.OnceFunc(func() { close(closed) })}
	t.Cleanup(g.release) // Before the server closes, which waits for its requests.
	return g
}

func (g *gate) wait() { <-g.closed }

// holdAll keeps any request waiting.
func (g *gate) holdAll(memoryplugintest.Request) memoryplugintest.Fault {
	g.wait()
	return memoryplugintest.Fault{}
}

// arrived waits for n requests.
func arrived(t *testing.T, srv *memoryplugintest.Server, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(srv.Requests()) >= n }, 30*time.Second, 2*time.Millisecond, "%d requests never arrived", n)
}

// interrupt sends a signal, and returns when the tool says that it stops.
func (p *program) interrupt(sig os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.Process.Signal(sig))
	p.stderr.waitFor(p.t, sig.String()+": ")
}

// goesOn looks on for a moment, in which the run must not come to its end.
func (p *program) goesOn() {
	p.t.Helper()
	require.Never(p.t, func() bool { return p.stdout.String() != "" }, 50*time.Millisecond, 5*time.Millisecond)
}

// summaryOf reads the summary of a run with --output json. Whatever else a test is
// about, its numbers add up.
func summaryOf(t *testing.T, got outcome) *jsonSummary {
	t.Helper()
	s := &jsonSummary{}
	require.NoError(t, json.Unmarshal([]byte(got.stdout), s), "%q, %q", got.stdout, got.stderr)
	left := 0
	for _, g := range s.Left {
		left += len(g.IDs)
	}
	require.Equal(t, s.Selected, s.Skipped+s.Deleted+s.Gone+s.Absent+left, got.stdout)
	require.Equal(t, left, s.Kept+s.Unconfirmed+s.NotDeleted, got.stdout)
	return s
}

type jsonSummary struct {
	Selected, Skipped, Deleted, Gone, Absent, Kept, Unconfirmed int

	NotDeleted int `json:"not_deleted"`
	Left       []struct {
		Reason, Error string
		IDs           []string
	}
}

// situation is where a signal meets a run.
type situation struct {
	args   []string // besides those that select
	faults func(*gate, memoryplugintest.Request) memoryplugintest.Fault
	// The signal is sent once so many requests have arrived, and this was said.
	requests int
	said     string
	deleted  int // in the end, of 20
	env      string
}

func isDelete(r memoryplugintest.Request) bool { return r.Method == http.MethodDelete }

var situations = map[string]situation{
	"a slow reply": {
		args:     []string{"--batch-size", "5", "--concurrency", "2"},
		requests: 3, deleted: 10, // One lists.
		faults: func(g *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if isDelete(r) {
				g.wait()
			}
			return memoryplugintest.Fault{}
		},
	},
	"a Retry-After": {
		args:     []string{"--batch-size", "5", "--concurrency", "2"},
		requests: 2, said: "waiting until",
		faults: func(_ *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if isDelete(r) {
				return memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}}
			}
			return memoryplugintest.Fault{}
		},
	},
	"a rate limit": {
		args:     []string{"--batch-size", "5", "--concurrency", "2", "--rate", "5"},
		requests: 2, deleted: 5,
		faults: func(g *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if isDelete(r) {
				g.wait()
			}
			return memoryplugintest.Fault{}
		},
	},
	"a backoff": {
		args:     []string{"--max-retries", "30", "--concurrency", "1"},
		requests: 2, said: "waiting until",
		faults: func(_ *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if isDelete(r) {
				return memoryplugintest.Fault{Status: http.StatusServiceUnavailable}
			}
			return memoryplugintest.Fault{}
		},
	},
	"a failure that would be retried": {
		args:     []string{"--concurrency", "1"},
		requests: 2,
		faults: func(g *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if isDelete(r) {
				g.wait()
				return memoryplugintest.Fault{Status: http.StatusServiceUnavailable}
			}
			return memoryplugintest.Fault{}
		},
	},
	"a batch that is too large": {
		args:     []string{"--concurrency", "1"},
		requests: 2,
		faults: func(g *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if isDelete(r) {
				g.wait()
				return memoryplugintest.Fault{Status: http.StatusRequestEntityTooLarge}
			}
			return memoryplugintest.Fault{}
		},
	},
	"half of a batch": {
		args:     []string{"--concurrency", "1"},
		requests: 3, deleted: 10,
		faults: func(g *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			switch {
			case len(r.IDs) > 10:
				return memoryplugintest.Fault{Status: http.StatusRequestEntityTooLarge}
			case isDelete(r):
				g.wait()
			}
			return memoryplugintest.Fault{}
		},
	},
	"a wait between two rounds": {
		args: []string{"--max-retries", "0"}, env: "TEST_FIRST_WAIT=10m",
		requests: 2, said: "waiting until",
		faults: func(_ *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if isDelete(r) {
				return memoryplugintest.Fault{Status: http.StatusTooManyRequests}
			}
			return memoryplugintest.Fault{}
		},
	},
	"a listing": {
		requests: 1,
		faults: func(g *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			g.wait()
			return memoryplugintest.Fault{}
		},
	},
	"a backup": {
		args:     []string{"--backup", "b", "--concurrency", "3"},
		requests: 4,
		faults: func(g *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if r.Query.Has("conversationId") {
				g.wait()
			}
			return memoryplugintest.Fault{}
		},
	},
	"a backup that waits": {
		args:     []string{"--backup", "b", "--concurrency", "1"},
		requests: 2, said: "waiting until",
		faults: func(_ *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			if r.Query.Has("conversationId") {
				return memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}}
			}
			return memoryplugintest.Fault{}
		},
	},
	"settling": {
		args:     []string{"--max-retries", "0"},
		requests: 3, deleted: 20,
		faults: func(g *gate, r memoryplugintest.Request) memoryplugintest.Fault {
			switch {
			case isDelete(r):
				return memoryplugintest.Fault{Applied: true, Drop: true}
			case r.Query.Get("page") == "1" && !r.Query.Has("dateTo"):
				g.wait()
			}
			return memoryplugintest.Fault{}
		},
	},
}

func TestAfterASignalNothingMoreIsSent(t *testing.T) {
	t.Parallel()
	for name, test := range situations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, g := accountOf(t, 20), newGate(t)
			srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault { return test.faults(g, r) })
			p := command(t, srv.URL, append([]string{"delete", "--before", "2025-01-01", "--yes", "--journal", "j"}, test.args...)...)
			p.Env = append(p.Env, test.env)
			p.start()
			arrived(t, srv, test.requests)
			p.stderr.waitFor(t, test.said)

			p.interrupt(os.Interrupt)
			before := len(srv.Requests())
			g.release()
			got := p.end()

			assert.Equal(t, 130, got.code, got.stderr)
			assert.Equal(t, before, len(srv.Requests()), "%v", srv.Requests()[before:])
			assert.Len(t, srv.Conversations(), 20-test.deleted)
		})
	}
}

// held is a run of 20 ids, five a batch and two at a time, whose first two
// deletions wait for the gate.
func held(t *testing.T, args ...string) (*program, *memoryplugintest.Server, *gate) {
	t.Helper()
	srv, g := accountOf(t, 20), newGate(t)
	srv.FailFunc(g.holdAll)
	args = append([]string{"delete", "--yes", "--journal", "j", "--output", "json", "--batch-size", "5", "--concurrency", "2"}, args...)
	return command(t, srv.URL, append(args, firstIDs(20)...)...), srv, g
}

var stopSignals = map[string]syscall.Signal{
	"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP, "SIGQUIT": syscall.SIGQUIT,
}

func TestWhatIsOnTheWireIsAwaitedAfterASignal(t *testing.T) {
	t.Parallel()
	for name, sig := range stopSignals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, srv, g := held(t)
			p.start()
			arrived(t, srv, 2)

			p.interrupt(sig)
			g.release()
			got := p.end()

			assert.Equal(t, 130, got.code, got.stderr)
			assert.Contains(t, got.stderr, "nothing more is sent, and what is on the wire is awaited. A second signal cuts that off.")
			assert.Len(t, srv.Requests(), 2)
			s := summaryOf(t, got)
			assert.Equal(t, 10, s.Deleted)
			require.Len(t, s.Left, 1)
			assert.Equal(t, "not_sent", s.Left[0].Reason)
			assert.Equal(t, firstIDs(20)[10:], s.Left[0].IDs)
		})
	}
}

func TestASecondSignalCancels(t *testing.T) {
	t.Parallel()
	for name, sigs := range map[string][2]syscall.Signal{
		"SIGINT twice":            {syscall.SIGINT, syscall.SIGINT},
		"SIGTERM twice":           {syscall.SIGTERM, syscall.SIGTERM},
		"SIGQUIT twice":           {syscall.SIGQUIT, syscall.SIGQUIT},
		"SIGHUP, then SIGTERM":    {syscall.SIGHUP, syscall.SIGTERM},
		"SIGINT, then SIGQUIT":    {syscall.SIGINT, syscall.SIGQUIT},
		"Ctrl-C, then a terminal": {syscall.SIGINT, syscall.SIGHUP},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, srv, _ := held(t) // Nothing is ever answered.
			p.start()
			arrived(t, srv, 2)

			p.interrupt(sigs[0])
			require.NoError(t, p.Process.Signal(sigs[1]))
			got := p.end()

			assert.Equal(t, 130, got.code, got.stderr)
			s := summaryOf(t, got)
			assert.Equal(t, 10, s.Unconfirmed)
			assert.Equal(t, 10, s.NotDeleted)
			assert.Len(t, srv.Requests(), 2)
		})
	}
}

// Shell and kernel may each send one for a terminal that is gone.
func TestTwoSIGHUPsCountOnce(t *testing.T) {
	t.Parallel()
	p, srv, g := held(t)
	p.start()
	arrived(t, srv, 2)

	p.interrupt(syscall.SIGHUP)
	for range 3 {
		require.NoError(t, p.Process.Signal(syscall.SIGHUP))
		p.goesOn()
	}
	g.release()
	got := p.end()

	assert.Equal(t, 130, got.code)
	assert.Equal(t, 10, summaryOf(t, got).Deleted)
}

func TestASignalThatLeavesNothingIsExitCode0(t *testing.T) {
	t.Parallel()
	srv, g := accountOf(t, 5), newGate(t)
	srv.FailFunc(g.holdAll)
	p := command(t, srv.URL, append([]string{"delete", "--yes", "--output", "json"}, firstIDs(5)...)...).start()
	arrived(t, srv, 1)

	p.interrupt(os.Interrupt)
	g.release()
	got := p.end()

	assert.Equal(t, 0, got.code)
	assert.Equal(t, 5, summaryOf(t, got).Deleted)
}

func TestAnInterruptedRunIsGoneOnWith(t *testing.T) {
	t.Parallel()
	p, srv, g := held(t)
	p.start()
	arrived(t, srv, 2)
	p.interrupt(os.Interrupt)
	g.release()
	require.Equal(t, 130, p.end().code)

	again := command(t, srv.URL, p.Args[1:]...)
	again.Dir = p.Dir
	got := again.run()

	assert.Equal(t, 0, got.code, got.stderr)
	s := summaryOf(t, got)
	assert.Equal(t, 10, s.Skipped)
	assert.Equal(t, 10, s.Deleted)
	assert.Empty(t, slices.DeleteFunc(srv.Conversations(), func(id string) bool { return id >= numbered(20) }))
}

func TestACommandThatReadsEndsWithASignal(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"list": {"list"}, "count": {"count"}, "backup": {"backup", "--all", "--to", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, sig := range stopSignals {
				srv, g := accountOf(t, 3), newGate(t)
				srv.FailFunc(g.holdAll)
				p := command(t, srv.URL, args...).start()
				arrived(t, srv, 1)

				require.NoError(t, p.Process.Signal(sig))
				got := p.end()

				assert.Equal(t, 130, got.code, "%v: %s", sig, got.stderr)
				assert.Len(t, srv.Requests(), 1)
				assert.Empty(t, got.stdout)
			}
		})
	}
}

// Such as a pipe whose writer hangs.
func TestASignalEndsTheReadingOfIDs(t *testing.T) {
	t.Parallel()
	for name, sig := range stopSignals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := accountOf(t, 3)
			reader, writer, err := os.Pipe()
			require.NoError(t, err)
			defer reader.Close()
			defer writer.Close()
			p := command(t, srv.URL, "delete", "--yes")
			p.Stdin = reader
			p.start()
			_, err = writer.WriteString(strings.Repeat("# More than a pipe takes.\n", 10_000))
			require.NoError(t, err) // So it reads.

			require.NoError(t, p.Process.Signal(sig))
			got := p.end()

			assert.Equal(t, 130, got.code, got.stderr)
			assert.Empty(t, srv.Requests())
		})
	}
}

// countStates counts the conversations of a journal by their last state.
func countStates(t *testing.T, journal string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, state := range lastStates(t, journal) {
		counts[state]++
	}
	return counts
}

// lastStates reads a journal. A kill may have torn its last line.
func lastStates(t *testing.T, journal string) map[string]string {
	t.Helper()
	states := map[string]string{}
	for line := range strings.Lines(journal) {
		var r struct {
			State string
			IDs   []string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			require.False(t, strings.HasSuffix(line, "\n"), "a torn line in the middle: %q", line)
		}
		for _, id := range r.IDs {
			states[id] = r.State
		}
	}
	return states
}

// Ctrl-S stops a terminal, and with it a run that writes to it.
func TestAThirdSignalEndsARunThatHangs(t *testing.T) {
	t.Parallel()
	for name, sig := range stopSignals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, srv, _ := held(t)
			at := p.atTerminal(0, 1, 2)
			arrived(t, srv, 2)
			at.shows("0 of 20 done")
			at.typed("\x13")
			ended := make(chan struct{})
			go func() {
				_ = p.Wait()
				close(ended)
			}()

			require.Eventually(t, func() bool {
				select {
				case <-ended:
					return true
				default:
					_ = p.Process.Signal(sig)
					if sig == syscall.SIGHUP { // It counts once.
						_ = p.Process.Signal(syscall.SIGTERM)
					}
					return false
				}
			}, 30*time.Second, 20*time.Millisecond)

			assert.Equal(t, 130, p.ProcessState.ExitCode(), p.ProcessState)
		})
	}
}

// nohup and shells ask so to outlive a terminal.
func TestASignalThatWasIgnoredAtTheStartStaysIgnored(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, srv, g := held(t)
			p.Path, p.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" ` + name + ` && exec "$0" "$@"`}, p.Args...)
			p.start()
			arrived(t, srv, 2)

			for range 3 {
				require.NoError(t, p.Process.Signal(sig))
				p.goesOn()
			}
			g.release()
			got := p.end()

			assert.Equal(t, 0, got.code, got.stderr)
			assert.Equal(t, 20, summaryOf(t, got).Deleted)
		})
	}
}

func TestCtrlCAtATerminalIsASignal(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"Ctrl-C": "\x03", `Ctrl-\`: "\x1c"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, srv, g := held(t)
			at := p.atTerminal(0, 2)
			arrived(t, srv, 2)

			at.typed(key)
			at.shows("nothing more is sent")
			g.release()
			got := at.end()

			assert.Equal(t, 130, got.code, at.screen)
			assert.Equal(t, 10, summaryOf(t, got).Deleted)
		})
	}
}

// It takes away the screen, and sends a SIGHUP.
func TestATerminalThatGoesAwayStopsTheRun(t *testing.T) {
	t.Parallel()
	p, srv, g := held(t)
	at := p.atTerminal(0, 1)
	arrived(t, srv, 2)

	at.hangUp()
	p.stderr.waitFor(t, "hangup: ")
	require.NoError(t, p.Process.Signal(syscall.SIGHUP)) // The shell may send one too.
	p.goesOn()
	g.release()
	at.end()

	assert.Len(t, srv.Conversations(), 10)
	assert.Len(t, srv.Requests(), 2)
	assert.Equal(t, 10, countStates(t, p.file("j"))["deleted"])
}

// Ctrl-C reaches all of `memoryplugin delete ... 2>&1 | tee log`: a run must
// outlive whoever reads its outputs.
func TestOutputsThatNobodyReadsDoNotEndADelete(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"plain": nil, "with a log": {"--verbose"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, srv, g := held(t, args...)
			reader, writer, err := os.Pipe()
			require.NoError(t, err)
			defer writer.Close()
			p.Stdout, p.Stderr = writer, writer
			p.start()
			arrived(t, srv, 2)

			require.NoError(t, reader.Close())
			// A process that another test has just forked may have it a moment longer.
			require.Eventually(t, func() bool {
				_, err := writer.WriteString("\n")
				return err != nil
			}, 30*time.Second, time.Millisecond)
			srv.FailNext(memoryplugintest.Fault{Status: http.StatusServiceUnavailable}) // So that there is something to log.
			g.release()
			got := p.end()

			assert.Equal(t, 1, got.code, "the summary can't be written")
			assert.Empty(t, srv.Conversations())
			assert.Equal(t, 20, countStates(t, p.file("j"))["deleted"])
		})
	}
}

func TestARefusedKeyCountsMoreThanAnInterruption(t *testing.T) {
	t.Parallel()
	p, srv, g := held(t)
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		g.wait()
		return memoryplugintest.Fault{Status: http.StatusUnauthorized}
	})
	p.start()
	arrived(t, srv, 2)

	p.interrupt(os.Interrupt)
	g.release()

	assert.Equal(t, 4, p.end().code)
}
