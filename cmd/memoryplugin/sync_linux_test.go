package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// underStrace lets strace look on, which can also make system calls slow, or fail.
func (p *program) underStrace(args ...string) *program {
	p.t.Helper()
	if text, err := exec.Command("strace", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		p.t.Skipf("strace can't be used here: %v, %s", err, text)
	}
	return p.through(append([]string{"strace", "-f"}, args...)...)
}

// withFailing makes a system call fail.
func (p *program) withFailing(call, failure string) *program {
	p.t.Helper()
	return p.underStrace("-o", os.DevNull, "-e", "trace="+call, "-e", "inject="+call+":error="+failure)
}

func TestAFileThatCannotBeLockedOrSyncedIsFoundBeforeADeletionIsSent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ call, failure, want string }{
		"no locks, as on NFS": {"flock", "ENOLCK", "it can't be locked, as on some network disks: no locks available"},
		"no locks at all":     {"flock", "ENOSYS", "it can't be locked, as on some network disks: function not implemented"},
		"no sync, as on SMB":  {"fsync", "EINVAL", "it can't be synced to its disk: invalid argument"},
		"a broken disk":       {"fsync", "EIO", "it can't be synced to its disk: input/output error"},
	} {
		for _, flag := range []string{"delete --yes --journal", "delete --yes --backup", "backup --to"} {
			t.Run(name+" "+flag, func(t *testing.T) {
				t.Parallel()
				srv := memoryplugintest.NewServer(t)
				srv.AddConversations("a", "b")
				p := command(t, srv.URL, append(strings.Fields(flag), "file.jsonl", "a", "b")...).withFailing(test.call, test.failure)

				got := p.run()

				assert.Equal(t, 3, got.code, got.stderr)
				assert.Contains(t, got.stderr, `"file.jsonl" can't be used: `+test.want)
				assert.Empty(t, srv.Requests())
				assert.Empty(t, listing(t, p.Dir), "it left a file behind")
			})
		}
	}
}

func TestAJournalOfAnEarlierRunIsKeptIfItCannotBeLockedOrSynced(t *testing.T) {
	t.Parallel()
	for call, failure := range map[string]string{"flock": "ENOLCK", "fsync": "EIO"} {
		srv := memoryplugintest.NewServer(t)
		srv.AddConversations("a", "b")
		first := command(t, srv.URL, "delete", "--yes", "--journal", "j.jsonl", "a")
		require.Equal(t, 0, first.run().code)
		before := listing(t, first.Dir)
		again := command(t, srv.URL, "delete", "--yes", "--journal", "j.jsonl", "b")
		again.Dir = first.Dir

		got := again.withFailing(call, failure).run()

		assert.Equal(t, 3, got.code, got.stderr)
		assert.Equal(t, before, listing(t, first.Dir))
		assert.Equal(t, []string{"b"}, srv.Conversations())
	}
}

// The file is replaced after the run has opened it, and before it has locked it.
func TestAJournalThatIsReplacedBeforeItIsLockedIsLeftAlone(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	journal := filepath.Join(t.TempDir(), "j.jsonl")
	require.NoError(t, os.WriteFile(journal+".other", nil, 0o600))
	p := command(t, srv.URL, "delete", "--yes", "--journal", journal, "a").
		underStrace("-o", os.DevNull, "-e", "trace=flock", "-e", "inject=flock:delay_enter=3s").start()
	require.Eventually(t, func() bool { _, err := os.Stat(journal); return err == nil }, 30*time.Second, time.Millisecond)
	require.NoError(t, os.Rename(journal+".other", journal))

	got := p.end()

	assert.Equal(t, 3, got.code, got.stderr)
	assert.Contains(t, got.stderr, `j.jsonl" can't be used: another run has removed it just now`)
	assert.Empty(t, srv.Requests())
	content, err := os.ReadFile(journal)
	require.NoError(t, err, "it has removed another's file")
	assert.Empty(t, content)
}

// breakDisk makes each sync of a running program fail from now on.
func (p *program) breakDisk() {
	p.t.Helper()
	strace := exec.Command("strace", "-f", "-p", fmt.Sprint(p.Process.Pid), "-o", os.DevNull, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO")
	said := &output{}
	strace.Stderr = said
	require.NoError(p.t, strace.Start())
	p.t.Cleanup(func() { _ = strace.Wait() })
	require.Eventually(p.t, func() bool { return strings.Contains(said.String(), "attach") }, 30*time.Second, 2*time.Millisecond)
	if strings.Contains(said.String(), "not permitted") {
		p.t.Skip("strace may not look on at a program that runs")
	}
}

// onABreakingDisk starts a run whose disk breaks while its first request is on the
// wire.
func onABreakingDisk(t *testing.T, srv *memoryplugintest.Server, args ...string) outcome {
	t.Helper()
	if text, err := exec.Command("strace", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace can't be used here: %v, %s", err, text)
	}
	arrived, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		once.Do(func() { close(arrived) })
		<-leave
		return memoryplugintest.Fault{}
	})
	release := sync.OnceFunc(func() { close(leave) })
	defer release()
	p := command(t, srv.URL, args...).start()
	select {
	case <-arrived:
	case <-time.After(30 * time.Second):
		require.Fail(t, "nothing was sent")
	}
	p.breakDisk()
	release()
	return p.end()
}

// A disk that fails may have written what it was told, or not.
func TestWhatIsDeletedButNotSyncedIsNamed(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")

	got := onABreakingDisk(t, srv, "delete", "--yes", "--journal", "j.jsonl", "a")

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Empty(t, srv.Conversations())
	assert.Contains(t, got.stdout, `The journal is not complete: "j.jsonl" can't be written: lines that were written may be lost: input/output error`)
	assert.Contains(t, got.stdout, "Keep this list:\n    a\n")
}

func TestASyncThatFailsDuringARunStopsIt(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	ids := firstIDs(300)
	srv.AddConversations(ids...)

	got := onABreakingDisk(t, srv, append([]string{"delete", "--yes", "--journal", "j.jsonl", "--batch-size", "1"}, ids...)...)

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stdout, "lines that were written may be lost: input/output error")
	assert.NotEmpty(t, srv.Conversations(), "the run goes on")
	for _, id := range sent(srv) {
		assert.Contains(t, got.stdout, "    "+id+"\n", "it is deleted, may not be recorded, and is not named")
	}
}

func TestABackupThatCannotBeSyncedDeletesNothing(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"delete --yes --backup", "backup --to"} {
		srv := memoryplugintest.NewServer(t)
		srv.AddConversations("a", "b")

		got := onABreakingDisk(t, srv, append(strings.Fields(args), "b.jsonl", "a", "b")...)

		assert.Equal(t, 1, got.code, got.stderr)
		assert.Contains(t, got.stderr, `"b.jsonl" can't be written: lines that were written may be lost: input/output error`)
		assert.NotContains(t, got.stdout, "2 of 2")
		assert.Empty(t, sent(srv))
	}
}

func TestASlowDiskIsAwaited(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	ids := firstIDs(100)
	srv.AddConversations(ids...)
	p := command(t, srv.URL, append([]string{"delete", "--yes", "--journal", "j.jsonl", "--batch-size", "1"}, ids...)...).
		underStrace("-o", os.DevNull, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=200000")

	got := p.run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Empty(t, srv.Conversations())
	assert.Len(t, states(t, p.file("j.jsonl")), 100)
}

// events returns what a traced program did with a file, in order: "write sent",
// "sync", "sync folder", "GET", "DELETE", "summary".
func events(t *testing.T, log, file string) []string {
	t.Helper()
	content, err := os.ReadFile(log)
	require.NoError(t, err)
	name, folder := regexp.QuoteMeta(file), regexp.QuoteMeta(filepath.Dir(file))
	patterns := []struct {
		event   string
		pattern *regexp.Regexp
	}{
		{"write sent", regexp.MustCompile(`write.*<` + name + `>, .*\\"sent\\"`)},
		{"write deleted", regexp.MustCompile(`write.*<` + name + `>, .*\\"deleted\\"`)},
		{"write copy", regexp.MustCompile(`write.*<` + name + `>, .*\\"messages\\"`)},
		{"sync", regexp.MustCompile(`sync\(\d+<` + name + `>`)},
		{"sync folder", regexp.MustCompile(`sync\(\d+<` + folder + `>`)},
		{"GET", regexp.MustCompile(`write.*"GET /`)},
		{"DELETE", regexp.MustCompile(`write.*"DELETE /`)},
		{"summary", regexp.MustCompile(`write\(1<`)},
	}
	unfinished := map[string]string{} // by process
	var all []string
	for line := range strings.SplitSeq(string(content), "\n") {
		process, call, _ := strings.Cut(line, " ")
		if strings.Contains(call, "resumed>") {
			if event := unfinished[process]; event != "" {
				all = append(all, event)
			}
			delete(unfinished, process)
			continue
		}
		for _, p := range patterns {
			switch {
			case !p.pattern.MatchString(call):
			case strings.HasPrefix(p.event, "sync") && strings.Contains(call, "<unfinished"):
				unfinished[process] = p.event // A sync counts when it has ended, all else when it begins.
			default:
				all = append(all, p.event)
			}
		}
	}
	return all
}

// traced returns a program whose system calls are in a log.
func (p *program) traced(log string) *program {
	p.t.Helper()
	return p.underStrace("-yy", "-s", "256", "-o", log, "-e", "trace=write,pwrite64,writev,fsync,fdatasync,close")
}

// assertOrder wants events in an order, whatever is between them.
func assertOrder(t *testing.T, got []string, want ...string) {
	t.Helper()
	rest := got
	for _, event := range want {
		i := slices.Index(rest, event)
		require.GreaterOrEqual(t, i, 0, "no %q in its turn: %v", event, got)
		rest = rest[i+1:]
	}
}

// newFile returns the path of a file as strace names it.
func newFile(t *testing.T) string {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return filepath.Join(folder, "file.jsonl")
}

func TestWhatIsSentIsOnDiskBeforeItLeavesAndResultsBeforeTheSummary(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	journal, log := newFile(t), filepath.Join(t.TempDir(), "strace")

	got := command(t, srv.URL, "delete", "--yes", "--journal", journal, "a").traced(log).run()

	require.Equal(t, 0, got.code, got.stderr)
	done := events(t, log, journal)
	assertOrder(t, done, "sync", "sync folder", "write sent", "sync", "DELETE", "write deleted", "sync", "summary")
	assert.Less(t, slices.Index(done, "write sent"), slices.Index(done, "DELETE"))
	assert.Equal(t, slices.Index(done, "DELETE"), slices.Index(done, "write deleted")-1)
}

// Each chunk is on disk before any of its ids leaves.
func TestEachChunkIsOnDiskBeforeItLeaves(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	ids := firstIDs(150)
	srv.AddConversations(ids...)
	journal := filepath.Join(t.TempDir(), "j.jsonl")
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		content, err := os.ReadFile(journal)
		assert.NoError(t, err)
		for _, id := range r.IDs {
			assert.Contains(t, states(t, string(content)), id)
		}
		return memoryplugintest.Fault{}
	})

	got := command(t, srv.URL, append([]string{"delete", "--yes", "--journal", journal, "--batch-size", "1"}, ids...)...).run()

	assert.Equal(t, 0, got.code, got.stderr)
}

// The request that is on the wire meanwhile ends only once the test has seen the sync.
func TestResultsAreOnDiskSoonWhileTheRunGoesOn(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	leave := make(chan struct{})
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if slices.Contains(r.IDs, "b") {
			<-leave
		}
		return memoryplugintest.Fault{}
	})
	journal, log := newFile(t), filepath.Join(t.TempDir(), "strace")
	p := command(t, srv.URL, "delete", "--yes", "--journal", journal, "--batch-size", "1", "--concurrency", "1", "a", "b").traced(log).start()
	defer p.end()
	defer close(leave)

	require.Eventually(t, func() bool {
		done := eventsSoFar(t, log, journal)
		return slices.Contains(done, "write deleted") && slices.Contains(done[slices.Index(done, "write deleted"):], "sync")
	}, 20*time.Second, 20*time.Millisecond, "what is deleted is not synced")
}

// eventsSoFar is events of a log that may not be there yet.
func eventsSoFar(t *testing.T, log, file string) []string {
	t.Helper()
	if _, err := os.Stat(log); err != nil {
		return nil
	}
	return events(t, log, file)
}

func TestCopiesAreOnDiskBeforeADeletionLeaves(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	backup, log := newFile(t), filepath.Join(t.TempDir(), "strace")

	got := command(t, srv.URL, "delete", "--yes", "--backup", backup, "a", "b").traced(log).run()

	require.Equal(t, 0, got.code, got.stderr)
	assertOrder(t, events(t, log, backup), "sync", "sync folder", "GET", "write copy", "write copy", "sync", "DELETE", "summary")
}

func TestARecordThatIsCompletedIsOnDiskBeforeItCounts(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	journal, log := newFile(t), filepath.Join(t.TempDir(), "strace")
	first := command(t, srv.URL, "delete", "--yes", "--journal", journal, "a").run()
	require.Equal(t, 0, first.code, first.stderr)
	content, err := os.ReadFile(journal)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(journal, content[:len(content)-1], 0o600))

	got := command(t, srv.URL, "delete", "--yes", "--journal", journal, "a").traced(log).run()

	require.Equal(t, 0, got.code, got.stderr)
	assertOrder(t, events(t, log, journal), "sync", "summary")
	again, err := os.ReadFile(journal)
	require.NoError(t, err)
	assert.Equal(t, string(content), string(again))
	for _, r := range srv.Requests()[1:] {
		assert.Equal(t, http.MethodGet, r.Method)
	}
}
