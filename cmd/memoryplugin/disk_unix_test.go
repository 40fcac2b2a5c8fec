//go:build unix

package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// through makes another program run the tool: its name and arguments come first.
func (p *program) through(args ...string) *program {
	p.t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		p.t.Skipf("there is no %s here", args[0])
	}
	p.Path, p.Args = path, append(args, p.Args...)
	return p
}

// onASmallDisk makes every file end after some blocks of 512 bytes.
func (p *program) onASmallDisk(blocks int) *program {
	p.t.Helper()
	return p.through("sh", "-c", `ulimit -f "$0" && exec "$@"`, fmt.Sprint(blocks))
}

// withoutPrivileges obeys the permissions of files, even if the tests run as root.
func (p *program) withoutPrivileges() *program {
	p.t.Helper()
	if os.Geteuid() != 0 {
		return p
	}
	return p.through("setpriv", "--bounding-set=-all", "--inh-caps=-all")
}

// sent returns the ids that deletions had, each once.
func sent(srv *memoryplugintest.Server) []string {
	var ids []string
	for _, r := range srv.Requests() {
		ids = append(ids, r.IDs...)
	}
	return ids
}

// states returns the last state of each id in the whole lines of a journal.
func states(t *testing.T, content string) map[string]string {
	t.Helper()
	last := map[string]string{}
	for _, line := range strings.SplitAfter(content, "\n")[1:] {
		if !strings.HasSuffix(line, "\n") {
			continue // It is torn, or nothing.
		}
		_, rest, ok := strings.Cut(line, `"state":"`)
		require.True(t, ok, line)
		state, rest, _ := strings.Cut(rest, `","ids":["`)
		ids, _, _ := strings.Cut(rest, `"]`)
		for id := range strings.SplitSeq(ids, `","`) {
			last[id] = state
		}
	}
	return last
}

// refusal is a file that a command can't use.
type refusal struct {
	make func(t *testing.T, path string) // of the path, in a folder of its own
	want string
}

var refusals = map[string]refusal{
	"a folder": {func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }, "it is a folder"},
	"a FIFO":   {func(t *testing.T, path string) { require.NoError(t, syscall.Mkfifo(path, 0o600)) }, "it is not a regular file"},
	"a symbolic link": {func(t *testing.T, path string) {
		require.NoError(t, os.WriteFile(path+".target", nil, 0o600))
		require.NoError(t, os.Symlink(path+".target", path))
	}, "it is a symbolic link"},
	"a dangling link":        {func(t *testing.T, path string) { require.NoError(t, os.Symlink(path+".nowhere", path)) }, "it is a symbolic link"},
	"a link to a device":     {func(t *testing.T, path string) { require.NoError(t, os.Symlink("/dev/full", path)) }, "it is a symbolic link"},
	"a list of ids":          {func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("a\nb\n"), 0o600)) }, "it is not a"},
	"JSON of something else": {func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte(`{"id":"a"}`), 0o600)) }, "it is not a"},
	"a read-only file":       {func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, nil, 0o400)) }, "permission denied"},
	"a read-only folder": {func(t *testing.T, path string) {
		folder := filepath.Dir(path)
		require.NoError(t, os.Chmod(folder, 0o500))
		t.Cleanup(func() { _ = os.Chmod(folder, 0o700) })
	}, "permission denied"},
	"no folder": {func(t *testing.T, path string) { require.NoError(t, os.Remove(filepath.Dir(path))) }, "no such file or directory"},
}

// listing describes a folder and what is in it.
func listing(t *testing.T, folder string) string {
	t.Helper()
	entries, _ := os.ReadDir(folder)
	var text strings.Builder
	for _, entry := range entries {
		info, err := entry.Info()
		require.NoError(t, err)
		fmt.Fprintln(&text, entry.Name(), info.Mode(), info.Size(), info.ModTime())
	}
	return text.String()
}

func TestAFileThatCannotBeUsedEndsACommandBeforeItSendsADeletion(t *testing.T) {
	t.Parallel()
	for name, refusal := range refusals {
		for _, flag := range []string{"delete --journal", "delete --backup", "backup --to"} {
			t.Run(name+" as "+flag, func(t *testing.T) {
				t.Parallel()
				srv := memoryplugintest.NewServer(t)
				srv.AddConversations("a", "b")
				path := filepath.Join(t.TempDir(), "file.jsonl")
				refusal.make(t, path)
				before := listing(t, filepath.Dir(path))
				args := append(strings.Fields(flag), path, "a", "b")
				if args[0] == "delete" {
					args = append(args, "--yes")
				}
				p := command(t, srv.URL, args...).withoutPrivileges()

				got := p.run()

				assert.Equal(t, 3, got.code, got.stderr)
				assert.Contains(t, got.stderr, refusal.want)
				assert.Contains(t, got.stderr, path)
				assert.Equal(t, 1, strings.Count(strings.TrimSpace(got.stderr), "\n")+1, got.stderr)
				assert.Empty(t, srv.Requests())
				assert.Equal(t, before, listing(t, filepath.Dir(path)), "the file was changed, or another was left behind")
				assert.Empty(t, listing(t, p.Dir))
			})
		}
	}
}

func TestADeviceIsNoJournal(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")

	got := command(t, srv.URL, "delete", "--yes", "--journal", "/dev/null", "a").run()

	assert.Equal(t, 3, got.code)
	assert.Contains(t, got.stderr, `the journal "/dev/null" can't be used: it is not a regular file`)
	assert.Empty(t, srv.Requests())
}

func TestAJournalOfAnotherURLOrKeyIsNotUsed(t *testing.T) {
	t.Parallel()
	srv, other := memoryplugintest.NewServer(t), memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	other.AddConversations("a", "b")
	journal := filepath.Join(t.TempDir(), "j.jsonl")
	backup := filepath.Join(t.TempDir(), "b.jsonl")
	first := command(t, other.URL, "delete", "--yes", "--journal", journal, "--backup", backup, "a", "b").run()
	require.Equal(t, 0, first.code, first.stderr)
	before := listing(t, filepath.Dir(journal)) + listing(t, filepath.Dir(backup))
	for _, file := range []string{"--journal=" + journal, "--backup=" + backup} {
		for name, test := range map[string]struct {
			url, key, want string
		}{
			"another host": {srv.URL, memoryplugintest.APIKey, "it belongs to another URL"},
			"another path": {other.URL + "/v2", memoryplugintest.APIKey, "it belongs to another URL"},
			"another key":  {other.URL, "another-key", "it belongs to another API key"},
		} {
			p := command(t, test.url, "delete", "--yes", file, "a", "b")
			p.Env = append(p.Env, "MEMORYPLUGIN_API_KEY="+test.key)

			got := p.run()

			assert.Equal(t, 3, got.code, name)
			assert.Contains(t, got.stderr, test.want, name)
			assert.NotContains(t, got.stderr, test.key, name)
		}
	}
	assert.Empty(t, srv.Requests())
	assert.Equal(t, before, listing(t, filepath.Dir(journal))+listing(t, filepath.Dir(backup)))
}

// How a URL is written makes no difference.
func TestAJournalOfTheSameURLIsUsed(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	journal := filepath.Join(t.TempDir(), "j.jsonl")
	first := command(t, srv.URL, "delete", "--yes", "--journal", journal, "a").run()
	require.Equal(t, 0, first.code, first.stderr)

	got := command(t, strings.Replace(srv.URL, "http", "HTTP", 1)+"/", "delete", "--yes", "--journal", journal, "a", "b").run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, []string{"a", "b"}, sent(srv))
}

func TestAJournalInUseIsRefusedAndTheOtherRunGoesOn(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	arrived, leave := make(chan struct{}), make(chan struct{})
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		close(arrived)
		<-leave
		return memoryplugintest.Fault{}
	})
	journal := filepath.Join(t.TempDir(), "j.jsonl")
	first := command(t, srv.URL, "delete", "--yes", "--journal", journal, "a").start()
	<-arrived
	before := listing(t, filepath.Dir(journal))

	got := command(t, srv.URL, "delete", "--yes", "--journal", journal, "b").run()

	assert.Equal(t, 3, got.code)
	assert.Contains(t, got.stderr, "j.jsonl")
	assert.Contains(t, got.stderr, "another run has it in use")
	assert.Equal(t, before, listing(t, filepath.Dir(journal)))
	close(leave)
	assert.Equal(t, 0, first.end().code)
	assert.Equal(t, []string{"b"}, srv.Conversations())
}

func TestOneFileForTwoThingsIsRefused(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	p := command(t, srv.URL, "delete", "--yes", "--journal", "file", "--backup", "./file", "a")

	got := p.run()

	assert.Equal(t, 3, got.code)
	assert.Empty(t, srv.Requests())
	assert.Empty(t, listing(t, p.Dir))
}

func TestADiskThatIsFullFromTheStartSendsNothing(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	p := command(t, srv.URL, "delete", "--yes", "--journal", "j.jsonl", "a").onASmallDisk(0)

	got := p.run()

	assert.Equal(t, 3, got.code, got.stderr)
	assert.Contains(t, got.stderr, `the journal "j.jsonl" can't be used: file too large`)
	assert.Empty(t, srv.Requests())
	assert.Empty(t, listing(t, p.Dir), "it left a file behind")
}

func TestADiskThatIsFullBeforeTheFirstStateSendsNothing(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	long := strings.Repeat("x", 600)
	srv.AddConversations(long)
	p := command(t, srv.URL, "delete", "--yes", "--journal", "j.jsonl", "--output", "json", long).onASmallDisk(1)

	got := p.run()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stdout, `"deleted":0`)
	assert.Contains(t, got.stdout, `"reason":"not_sent"`)
	assert.Contains(t, got.stderr, "j.jsonl")
	assert.Empty(t, srv.Requests())
}

func TestADiskThatGetsFullStopsTheRun(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	ids := firstIDs(300)
	srv.AddConversations(ids...)
	args := append([]string{"delete", "--yes", "--journal", "j.jsonl", "--output", "json", "--batch-size", "1", "--concurrency", "2"}, ids...)
	p := command(t, srv.URL, args...).onASmallDisk(8)

	got := p.run()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stderr, "The journal is not complete: \"j.jsonl\" can't be written: file too large")
	recorded := states(t, p.file("j.jsonl"))
	require.NotEmpty(t, sent(srv), "the disk was full too early for this test")
	require.NotEmpty(t, srv.Conversations(), "the disk was full too late for this test")
	for _, id := range sent(srv) {
		assert.Contains(t, recorded, id, "it was sent, and is not in the journal")
	}
	deleted := 300 - len(srv.Conversations())
	assert.Contains(t, got.stdout, fmt.Sprintf(`"deleted":%d,`, deleted))
	unrecorded := 0
	for _, id := range ids {
		if recorded[id] != "deleted" && strings.Contains(got.stderr, "    "+id+"\n") {
			unrecorded++
		}
	}
	recordedDeleted := 0
	for _, state := range recorded {
		if state == "deleted" {
			recordedDeleted++
		}
	}
	assert.Equal(t, deleted, recordedDeleted+unrecorded, "what is deleted is in the journal, or named")

	again := command(t, srv.URL, args...) // With room again, it goes on.
	again.Dir = p.Dir
	got = again.run()

	assert.Equal(t, 0, got.code, got.stderr+got.stdout)
	assert.Empty(t, srv.Conversations())
	assert.Len(t, states(t, p.file("j.jsonl")), 300)
}

func TestABackupOnAFullDiskDeletesNothing(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	ids := firstIDs(100)
	srv.AddConversations(ids...)
	p := command(t, srv.URL, append([]string{"delete", "--yes", "--backup", "b.jsonl"}, ids...)...).onASmallDisk(4)

	got := p.run()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stderr, `nothing was deleted: the backup is not complete: the backup: "b.jsonl" can't be written: file too large`)
	assert.Empty(t, sent(srv))
	fetched := len(srv.Requests())
	assert.Less(t, fetched, 60, "it stops at once")

	again := command(t, srv.URL, append([]string{"delete", "--yes", "--backup", "b.jsonl"}, ids...)...) // With room again, it goes on.
	again.Dir = p.Dir
	got = again.run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Contains(t, got.stderr, "The last line of b.jsonl was torn")
	assert.Empty(t, srv.Conversations())
	assert.Equal(t, 101, strings.Count(again.file("b.jsonl"), "\n"))
}

func TestABackupCommandOnAFullDiskSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	ids := firstIDs(100)
	srv.AddConversations(ids...)

	got := command(t, srv.URL, append([]string{"backup", "--to", "b.jsonl"}, ids...)...).onASmallDisk(4).run()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stderr, `"b.jsonl" can't be written: file too large`)
	assert.Contains(t, got.stdout, "Not copied:")
	assert.Contains(t, got.stdout, "    conv-0099: ")
}

// A file system that is full differs from a file that may not grow.
func TestAFullFileSystemStopsTheRun(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if text, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be made here: %s", text)
	}
	t.Cleanup(func() { assert.NoError(t, exec.Command("umount", folder).Run()) })
	srv := memoryplugintest.NewServer(t)
	ids := firstIDs(400)
	srv.AddConversations(ids...)

	for _, flag := range []string{"--backup", "--journal"} {
		p := command(t, srv.URL, append([]string{"delete", "--yes", "--batch-size", "1", flag, filepath.Join(folder, flag[2:])}, ids...)...)

		got := p.run()

		assert.Equal(t, 1, got.code, got.stderr)
		assert.Contains(t, got.stderr+got.stdout, filepath.Join(folder, flag[2:]))
		assert.Contains(t, got.stderr+got.stdout, "can't be written: no space left on device")
		assert.NotEmpty(t, srv.Conversations())
		if flag == "--backup" {
			assert.Empty(t, sent(srv))
			require.NoError(t, os.Remove(filepath.Join(folder, "backup")))
		}
	}

	require.NoError(t, os.WriteFile(filepath.Join(folder, "rest"), nil, 0o600))
	full, err := os.ReadFile(filepath.Join(folder, "journal"))
	require.NoError(t, err)
	for _, id := range sent(srv) {
		assert.Contains(t, states(t, string(full)), id)
	}
}

func TestAJournalThatIsRemovedOrReplacedDuringARunEndsIt(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"removed":  os.Remove,
		"replaced": func(path string) error { return os.Rename(path+".other", path) },
		"emptied":  func(path string) error { return os.Truncate(path, 0) },
	} {
		for _, n := range []int{1, 300} { // One chunk, and more.
			t.Run(fmt.Sprint(name, " with ", n), func(t *testing.T) {
				t.Parallel()
				srv := memoryplugintest.NewServer(t)
				ids := firstIDs(n)
				srv.AddConversations(ids...)
				journal := filepath.Join(t.TempDir(), "j.jsonl")
				require.NoError(t, os.WriteFile(journal+".other", []byte("other"), 0o600))
				damaged := false
				srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
					if !damaged {
						assert.NoError(t, damage(journal))
						damaged = true
					}
					return memoryplugintest.Fault{}
				})

				got := command(t, srv.URL, append([]string{"delete", "--yes", "--journal", journal, "--batch-size", "1", "--concurrency", "1"}, ids...)...).run()

				assert.Equal(t, 1, got.code, got.stderr)
				assert.Contains(t, got.stdout, "j.jsonl\" was removed or replaced during the run")
				for _, id := range sent(srv) {
					assert.Contains(t, got.stdout, "    "+id+"\n", "it is deleted, not recorded, and not named")
				}
				if n > 1 {
					assert.NotEmpty(t, srv.Conversations(), "the run goes on")
				}
				if name == "replaced" {
					other, err := os.ReadFile(journal)
					require.NoError(t, err)
					assert.Equal(t, "other", string(other))
				}
			})
		}
	}
}

func TestABackupThatIsRemovedDuringItsRunDeletesNothing(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	backup := filepath.Join(t.TempDir(), "b.jsonl")
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if r.Method == http.MethodGet {
			_ = os.Remove(backup)
		}
		return memoryplugintest.Fault{}
	})

	got := command(t, srv.URL, "delete", "--yes", "--backup", backup, "a", "b").run()

	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.stderr, "nothing was deleted")
	assert.Contains(t, got.stderr, "was removed or replaced during the run")
	assert.Empty(t, sent(srv))
}

func TestTheTimesOfAJournalAreUTC(t *testing.T) {
	t.Parallel()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	p := command(t, srv.URL, "delete", "--yes", "--journal", "j.jsonl", "a")
	p.Env = append(p.Env, "TZ=Asia/Tokyo")

	got := p.run()

	require.Equal(t, 0, got.code, got.stderr)
	times := regexp.MustCompile(`"time":"([^"]*)"`).FindAllStringSubmatch(p.file("j.jsonl"), -1)
	require.Len(t, times, 3)
	for _, text := range times {
		at, err := time.Parse(time.RFC3339, text[1])
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), at, time.Minute)
	}
}
