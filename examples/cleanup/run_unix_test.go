//go:build unix

package main_test

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// interrupt sends a signal, and returns when the program says that it got it.
func (p *program) interrupt(signal os.Signal) {
	p.t.Helper()
	said := p.stderr.String()
	require.NoError(p.t, p.Process.Signal(signal))
	require.Eventually(p.t, func() bool { return p.stderr.String() != said }, 30*time.Second, 2*time.Millisecond)
}

// inBatches are the flags of a run of n ids, one a batch and two at a time.
func inBatches(n int, flags ...string) []string {
	return append(append(flags, "--yes", "--output", "json", "--quiet", "--batch-size", "1", "--concurrency", "2"), numbered(n)...)
}

func TestASignalFinishesWhatIsInFlightAndStartsNothing(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			srv := hold(t)
			journal := newJournal(t)
			p := cleanup(t, srv.URL, inBatches(20, "--journal", journal)...).start()
			inFlight := append(<-srv.arrived, <-srv.arrived...)

			p.interrupt(signal)
			srv.release()
			got := p.end()

			assert.Equal(t, 130, got.code)
			// One batch may have waited for a free worker.
			assert.LessOrEqual(t, len(srv.arrived), 1)
			for len(srv.arrived) > 0 {
				inFlight = append(inFlight, <-srv.arrived...)
			}
			summary := got.summary(t)
			assert.True(t, summary.Interrupted)
			assert.Equal(t, len(inFlight), summary.Deleted)
			assert.Equal(t, 20-len(inFlight), summary.NotSent)
			last := statesOf(t, journal)
			assert.LessOrEqual(t, len(last), 3, "of what is not handed over the journal says nothing")
			for _, id := range inFlight {
				assert.Equal(t, "deleted", last[id])
			}
		})
	}
}

func TestAnInterruptedRunIsGoneOnWith(t *testing.T) {
	t.Parallel()
	srv := hold(t)
	journal := newJournal(t)
	p := cleanup(t, srv.URL, inBatches(6, "--journal", journal)...).start()
	<-srv.arrived
	p.interrupt(os.Interrupt)
	srv.release()
	first := p.end().summary(t)

	got := cleanup(t, srv.URL, inBatches(6, "--journal", journal)...).run()

	assert.Equal(t, 0, got.code)
	assert.Equal(t, first.Deleted, got.summary(t).Skipped)
}

// interrupted is a run of n ids, one a batch, that a signal interrupts while two
// are in flight.
func interrupted(t *testing.T, n int, flags ...string) outcome {
	t.Helper()
	srv := hold(t)
	p := cleanup(t, srv.URL, append(inBatches(n, flags...), "--output", "text")...).start()
	<-srv.arrived
	<-srv.arrived
	p.interrupt(os.Interrupt)
	srv.release()
	return p.end()
}

func TestAnInterruptedRunSaysWhatIsLeftAndHowToGoOn(t *testing.T) {
	t.Parallel()

	got := interrupted(t, 6, "--journal", newJournal(t))

	assert.Equal(t, 130, got.code)
	assert.Contains(t, got.stdout, "Stopped early: interrupted by a signal (interrupt)\n")
	assert.Regexp(t, `\n[34] not sent\n`, got.stdout)
	assert.Contains(t, got.stdout, "run the same command again: the journal skips what is deleted.")
}

func TestAnInterruptedRunWithNothingLeftIsExitCode0(t *testing.T) {
	t.Parallel()

	got := interrupted(t, 2)

	assert.Equal(t, 0, got.code)
	assert.NotContains(t, got.stdout, "Stopped early")
}

// nohup asks a program so to outlive its terminal.
func TestASignalThatIsIgnoredFromTheStartStaysIgnored(t *testing.T) {
	t.Parallel()
	srv := hold(t)
	p := cleanup(t, srv.URL, inBatches(6)...)
	p.Path, p.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" HUP && exec "$0" "$@"`}, p.Args...)
	p.start()
	<-srv.arrived

	for range 5 {
		require.NoError(t, p.Process.Signal(syscall.SIGHUP))
		time.Sleep(10 * time.Millisecond) // It would be heard meanwhile.
	}
	srv.release()
	got := p.end()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, 6, got.summary(t).Deleted)
}

// Such as one whose summary nobody reads.
func TestAThirdSignalEndsARunThatHangs(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	defer reader.Close()
	p := cleanup(t, account(t).URL, "--yes", "--output", "json").input(lines(numbered(5000)...))
	p.Stdout = writer
	p.start()
	require.NoError(t, writer.Close())
	p.stderr.waitFor(t, "5000 of 5000 done")

	ended := make(chan struct{})
	go func() {
		_ = p.Wait()
		close(ended)
	}()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-time.After(20 * time.Millisecond):
			_ = p.Process.Signal(os.Interrupt)
		}
	}
	status := p.ProcessState.Sys().(syscall.WaitStatus)
	assert.True(t, status.Signaled() && status.Signal() == syscall.SIGINT, "%v", p.ProcessState)
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			srv := hold(t) // Until the end of the test.
			journal := newJournal(t)
			p := cleanup(t, srv.URL, inBatches(20, "--journal", journal)...).start()
			inFlight := append(<-srv.arrived, <-srv.arrived...)

			p.interrupt(signal)
			require.NoError(t, p.Process.Signal(signal))
			got := p.end()

			assert.Equal(t, 130, got.code)
			assert.Contains(t, got.stderr, "cleanup: stopped at once by a second signal")
			last := states(wholeRecords(t, journal))
			for _, id := range inFlight {
				assert.Contains(t, []string{"sent", "unconfirmed"}, last[id])
			}
		})
	}
}

// Whoever closes a terminal takes away the screen and sends a SIGHUP.
func TestATerminalThatGoesAwayFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	arrived, seen := make(chan struct{}, 5000), make(chan string, 5000)
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		arrived <- struct{}{}
		confirm(w, ids...)
		seen <- ids[0]
	})
	journal := newJournal(t)
	ids := file(t, lines(numbered(5000)...))
	term := cleanup(t, url, "--yes", "--journal", journal, "--batch-size", "1", "--file", ids).atTerminal(0, 1, 2)
	<-arrived
	<-arrived

	term.hangUp()
	got := term.end()

	assert.Equal(t, 130, got.code)
	assert.Less(t, len(seen), 5000)
	last := statesOf(t, journal)
	for len(seen) > 0 {
		id := <-seen
		assert.Equal(t, "deleted", last[id], id)
	}
}

// Shell and kernel may each send a SIGHUP for one terminal: the second one is no
// second wish.
func TestATerminalThatGoesAwayTwiceIsOneSignal(t *testing.T) {
	t.Parallel()
	srv := hold(t)
	journal := newJournal(t)
	term := cleanup(t, srv.URL, inBatches(20, "--journal", journal)...).atTerminal(0, 1, 2)
	inFlight := append(<-srv.arrived, <-srv.arrived...)

	term.hangUp()
	for range 10 {
		time.Sleep(5 * time.Millisecond)
		require.NoError(t, term.Process.Signal(syscall.SIGHUP))
	}
	srv.release()
	term.end()

	last := statesOf(t, journal)
	for _, id := range inFlight {
		assert.Equal(t, "deleted", last[id], id)
	}
}

func TestATerminalThatGoesAwayAfterASignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	srv := hold(t) // Until the end of the test.
	term := cleanup(t, srv.URL, inBatches(20)...).atTerminal(0)
	<-srv.arrived
	term.interrupt(syscall.SIGTERM)

	term.hangUp()

	assert.Equal(t, 130, term.end().code)
}

// Ctrl-C reaches all of `cleanup ... 2>&1 | tee log`: the program must outlive
// the reader of its output.
func TestAnOutputThatNobodyReadsDoesNotEndTheRun(t *testing.T) {
	t.Parallel()
	srv := hold(t)
	journal := newJournal(t)
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	p := cleanup(t, srv.URL, "--yes", "-v", "--journal", journal, "--batch-size", "1", "a", "b", "c")
	p.Stdout, p.Cmd.Stderr = writer, writer
	p.start()
	defer writer.Close()
	<-srv.arrived

	require.NoError(t, reader.Close())
	// A process that another test has just forked may have it a moment longer.
	require.Eventually(t, func() bool {
		_, err := writer.WriteString("\n")
		return err != nil
	}, 30*time.Second, time.Millisecond)
	srv.release()
	got := p.end()

	assert.Equal(t, 1, got.code, "the summary could not be written")
	assert.Equal(t, map[string]string{"a": "deleted", "b": "deleted", "c": "deleted"}, states(records(t, journal)))
}

func TestCtrlCInTheTerminalIsASignal(t *testing.T) {
	t.Parallel()
	srv := hold(t)
	term := cleanup(t, srv.URL, inBatches(20)...).atTerminal(0, 2)
	<-srv.arrived
	<-srv.arrived
	said := term.screen.String()

	term.typed("\x03")
	require.Eventually(t, func() bool { return len(term.screen.String()) > len(said)+len("^C\r\n") }, 30*time.Second, 2*time.Millisecond)
	srv.release()
	got := term.end()

	assert.Equal(t, 130, got.code, term.screen)
	summary := got.summary(t)
	assert.True(t, summary.Interrupted)
	assert.GreaterOrEqual(t, summary.Deleted, 2)
}

func TestARefusedKeyIsExitCode3EvenWhereTheRunWasInterrupted(t *testing.T) {
	t.Parallel()
	arrived, released := make(chan struct{}, 10), make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, _ []string) {
		arrived <- struct{}{}
		<-released
		refuse(w, http.StatusUnauthorized, "no")
	})
	p := cleanup(t, url, inBatches(20)...).start()
	<-arrived

	p.interrupt(os.Interrupt)
	close(released)

	assert.Equal(t, 3, p.end().code)
}

func TestAWriteThatFailsIsExitCode1EvenWhereTheRunWasInterrupted(t *testing.T) {
	t.Parallel()
	arrived, released := make(chan struct{}, 10), make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, _ []string) {
		arrived <- struct{}{}
		<-released
		refuse(w, http.StatusForbidden, strings.Repeat("x", 600)) // Too long for the disk.
	})
	p := cleanup(t, url, inBatches(20, "--journal", newJournal(t))...).onASmallDisk("1").start()
	<-arrived

	p.interrupt(os.Interrupt)
	close(released)

	assert.Equal(t, 1, p.end().code)
}

func TestARefusedKeyIsExitCode3EvenWhereTheDiskIsFull(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ []string) {
		refuse(w, http.StatusUnauthorized, strings.Repeat("x", 600)) // Too long for the disk.
	})

	got := cleanup(t, url, inBatches(20, "--journal", newJournal(t))...).onASmallDisk("1").run()

	assert.Equal(t, 3, got.code, got.stderr)
}
