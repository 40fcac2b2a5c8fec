//go:build unix

package main_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onASmallDisk makes every file end after some blocks of 512 bytes.
func (p *program) onASmallDisk(blocks string) *program {
	p.t.Helper()
	shell, err := exec.LookPath("sh")
	require.NoError(p.t, err)
	p.Path, p.Args = shell, append([]string{"sh", "-c", `ulimit -f "$0" && exec "$@"`, blocks}, p.Args...)
	return p
}

func TestAFullDiskStopsTheRun(t *testing.T) {
	t.Parallel()
	ids := numbered(100)
	srv := account(t, ids...)
	journal := newJournal(t)
	args := append([]string{"--yes", "--journal", journal, "--output", "json", "--batch-size", "2", "--concurrency", "3"}, ids...)

	got := cleanup(t, srv.URL, args...).onASmallDisk("4").run()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stderr, journal)
	all := wholeRecords(t, journal)
	require.NotEmpty(t, srv.Requests(), "the disk was full too early for this test")
	recorded := states(all)
	for _, id := range sentTo(srv) {
		assert.Contains(t, recorded, id, "sent, but not in the journal")
	}
	summary := got.summary(t)
	assert.Equal(t, 100-len(srv.Conversations()), summary.Deleted, "what was in flight is accounted for")
	assert.Positive(t, summary.NotSent)
	assert.False(t, summary.Interrupted)

	// With room again, it goes on where it was. What had lost its state may be gone.
	lost := 0
	for _, state := range recorded {
		if state == "sent" {
			lost++
		}
	}
	got = cleanup(t, srv.URL, args...).run()

	summary = got.summary(t)
	assert.Empty(t, srv.Conversations())
	assert.Equal(t, 100, summary.Skipped+summary.Deleted+summary.Unconfirmed)
	assert.LessOrEqual(t, summary.Unconfirmed, lost)
	assert.Len(t, states(records(t, journal)), 100)
}

func TestADiskThatIsFullFromTheStartSendsNothing(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")
	before := lines(sentLine(srv.URL, strings.Repeat("x", 300)), stateLine("deleted", strings.Repeat("x", 300)))
	journal := file(t, before)

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", "a", "b").onASmallDisk("1").run()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Equal(t, 2, got.summary(t).NotSent)
	assert.Empty(t, srv.Requests())
	assert.True(t, strings.HasPrefix(read(t, journal), before))
}

func TestAStateThatIsNotOnDiskIsExitCode1EvenWhereAllIsDeleted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300) // One record of it fits on the disk.
	srv := account(t, long)
	journal := newJournal(t)

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", long).onASmallDisk("1").run()

	assert.Equal(t, 1, got.code)
	assert.Equal(t, 1, got.summary(t).Deleted)
	assert.Contains(t, got.stderr, journal)
	assert.Equal(t, "sent", states(wholeRecords(t, journal))[long])
}

// What is not in the journal can't be looked up there.
func TestAGroupIsWholeWhereTheJournalFailed(t *testing.T) {
	t.Parallel()
	ids := numbered(50)

	got := cleanup(t, account(t).URL, append([]string{"--yes", "--journal", newJournal(t)}, ids...)...).onASmallDisk("1").run()

	assert.Equal(t, 1, got.code)
	assert.Equal(t, 50, strings.Count(got.stdout, "    conv-"), got.stdout)
}

// The lock and the file are of the journal that was opened, whatever its name is by now.
func TestOnlyTheJournalThatWasOpenedIsCutOff(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	journal := file(t, lines(sentLine(srv.URL, "a"))+`{"time":"2026`)
	another := strings.Repeat("x", 2000)

	term := cleanup(t, srv.URL, "--journal", journal, "a").atTerminal(0)
	term.stderr.waitFor(t, "Type yes")
	require.NoError(t, os.Rename(journal, journal+".old"))
	require.NoError(t, os.WriteFile(journal, []byte(another), 0o600))
	term.typed("yes\n")
	got := term.end()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, another, read(t, journal))
	assert.Equal(t, map[string]string{"a": "deleted"}, statesOf(t, journal+".old"))
}

// underStrace lets strace look on, which can also make system calls slow, or
// fail.
func (p *program) underStrace(args ...string) *program {
	p.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		p.t.Skip("strace is not installed")
	}
	if text, err := exec.Command(strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		p.t.Skipf("strace may not be used here: %v, %s", err, text)
	}
	p.Path, p.Args = strace, slices.Concat([]string{"strace", "-f"}, args, p.Args)
	return p
}

// A disk that fails may have written what it was told, or not.
func TestAFailingFsyncStopsTheRun(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")
	journal := file(t, "")

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", "--batch-size", "1", "a", "b").
		underStrace("-o", os.DevNull, "-P", journal, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO").run()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stderr, journal)
	assert.Contains(t, got.stderr, "input/output error")
	assert.Equal(t, 2, got.summary(t).NotSent)
	assert.Empty(t, srv.Requests())
}

// trace runs the program and returns what it did that matters here, in order.
func (p *program) trace(journal string) []string {
	p.t.Helper()
	log := filepath.Join(p.t.TempDir(), "strace")
	got := p.underStrace("-yy", "-s", "256", "-o", log, "-e", "trace=write,pwrite64,writev,fsync,fdatasync,close").run()
	require.Equal(p.t, 0, got.code, got.stderr)
	events := []struct{ what, pattern string }{
		{"sent is written", `write.*<` + regexp.QuoteMeta(journal) + `>.*\\"sent\\"`},
		{"deleted is written", `write.*<` + regexp.QuoteMeta(journal) + `>.*\\"deleted\\"`},
		{"sync", `sync\(\d+<` + regexp.QuoteMeta(journal) + `>`},
		{"sync of the folder", `sync\(\d+<` + regexp.QuoteMeta(filepath.Dir(journal)) + `>`},
		{"request", `write.*"DELETE /`},
		{"counted", `write\(1<`},
	}
	f, err := os.Open(log)
	require.NoError(p.t, err)
	defer f.Close()
	unfinished := map[string]string{} // by process
	var done []string
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		process, call, _ := strings.Cut(scanner.Text(), " ")
		if strings.Contains(call, "resumed>") {
			if what := unfinished[process]; what != "" {
				done = append(done, what)
			}
			delete(unfinished, process)
			continue
		}
		for _, event := range events {
			if !regexp.MustCompile(event.pattern).MatchString(call) {
				continue
			}
			// A sync counts when it has ended, all else when it begins.
			if strings.HasPrefix(event.what, "sync") && strings.Contains(call, "<unfinished") {
				unfinished[process] = event.what
			} else {
				done = append(done, event.what)
			}
		}
	}
	return done
}

func TestTheJournalIsOnDiskBeforeARequestAndBeforeTheSummary(t *testing.T) {
	t.Parallel()
	journal, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	journal = filepath.Join(journal, "journal")
	srv := account(t, "a")

	done := cleanup(t, srv.URL, "--yes", "--journal", journal, "--quiet", "a").trace(journal)

	rest := done
	for _, what := range []string{"sent is written", "sync", "request", "deleted is written", "sync", "counted"} {
		i := slices.Index(rest, what)
		require.GreaterOrEqual(t, i, 0, "no %q in its turn: %v", what, done)
		rest = rest[i+1:]
	}
	assert.Less(t, slices.Index(done, "sync of the folder"), slices.Index(done, "request"))
	assert.GreaterOrEqual(t, slices.Index(done, "sync of the folder"), 0, "a new journal may vanish with its folder's entry: %v", done)
	assert.Less(t, slices.Index(done, "sent is written"), slices.Index(done, "request"))
	assert.Less(t, slices.Index(done, "deleted is written"), slices.Index(done, "counted"))
}

func TestARecordThatIsCompletedIsOnDiskBeforeItIsCounted(t *testing.T) {
	t.Parallel()
	srv := account(t)
	path, err := filepath.EvalSymlinks(file(t, lines(sentLine(srv.URL, "a"))+stateLine("deleted", "a")))
	require.NoError(t, err)

	done := cleanup(t, srv.URL, "--yes", "--journal", path, "a").trace(path)

	require.Contains(t, done, "sync")
	assert.Less(t, slices.Index(done, "sync"), slices.Index(done, "counted"))
}
