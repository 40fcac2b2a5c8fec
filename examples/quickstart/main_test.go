package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// TestMain is the program itself where startProgram has started this binary.
func TestMain(m *testing.M) {
	if os.Getenv("QUICKSTART_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

type outcome struct {
	code           int
	stdout, stderr string
}

// run runs the program at a terminal where the answer is typed.
func run(typed string, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	p := program{stdin: strings.NewReader(typed), stdout: &stdout, stderr: &stderr}
	code := p.run(args)
	return outcome{code, stdout.String(), stderr.String()}
}

// account makes a server with conversations the account of the environment.
func account(t *testing.T, ids ...string) *memoryplugintest.Server {
	t.Helper()
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations(ids...)
	t.Setenv("MEMORYPLUGIN_API_KEY", memoryplugintest.APIKey)
	t.Setenv("MEMORYPLUGIN_BASE_URL", srv.URL)
	return srv
}

// noAccount leaves a server in the environment that must not be used.
func noAccount(t *testing.T) *memoryplugintest.Server {
	t.Helper()
	srv := account(t, "a", "b")
	t.Setenv("MEMORYPLUGIN_API_KEY", "")
	return srv
}

func TestWithoutAKeyAllThreeListsAreShown(t *testing.T) {
	srv := noAccount(t)

	got := run("")

	assert.Equal(t, 0, got.code)
	assert.Empty(t, got.stderr)
	for _, line := range []string{
		"  Deleted (the server confirms it; gone for good):\n    conv-1\n    conv-2\n",
		"  NotDeleted (there is no such conversation; nothing to do):\n    conv-9\n",
		"  Unconfirmed (may be gone, but no reply says so; send them again):\n    conv-3\n    conv-4\n  err is memoryplugin: ",
		"  NotDeleted (there is no such conversation; nothing to do):\n    conv-3\n    conv-4\n",
		"\nConversations left: conv-5\n",
	} {
		assert.Contains(t, got.stdout, line)
	}
	assert.Empty(t, srv.Requests())
}

func TestWithoutAKeyRetriesAreShownAsTheyHappen(t *testing.T) {
	noAccount(t)

	got := run("")

	_, first, _ := strings.Cut(got.stdout, "\n1. ")
	first, second, _ := strings.Cut(first, "\n2. ")
	for _, call := range []string{first, second} {
		_, log, _ := strings.Cut(call, "\n")
		assert.Regexp(t, `^level=WARN msg="memoryplugin: retrying" `, log)
	}
}

func TestWithoutAKeyTheOutputIsTheSameEveryTime(t *testing.T) {
	noAccount(t)

	first := run("")

	for range 5 {
		assert.Equal(t, first, run(""))
	}
}

func TestWithAKeyTheGivenConversationsAreDeleted(t *testing.T) {
	srv := account(t, "a", "b", "c")

	got := run("yes\n", "a", "b")

	assert.Equal(t, 0, got.code)
	assert.Equal(t, "  Deleted (the server confirms it; gone for good):\n    a\n    b\n", got.stdout)
	assert.Equal(t, []string{"c"}, srv.Conversations())
}

func TestTheQuestionNamesTheNumberTheHostAndThatItIsFinal(t *testing.T) {
	srv := account(t, "a", "b")

	got := run("yes\n", "a", "b", "a")

	host := strings.TrimPrefix(srv.URL, "http://")
	assert.Equal(t, "About to delete 2 conversation(s) from "+host+". This can't be undone.\nType yes to go on: ", got.stderr)
}

func TestTheHostIsTheRealOneByDefault(t *testing.T) {
	t.Setenv("MEMORYPLUGIN_API_KEY", memoryplugintest.APIKey)
	t.Setenv("MEMORYPLUGIN_BASE_URL", "")

	got := run("no\n", "a")

	assert.Equal(t, 2, got.code)
	assert.Contains(t, got.stderr, " from www.memoryplugin.com. ")
}

func TestYesSkipsOnlyTheQuestion(t *testing.T) {
	for _, args := range [][]string{{"--yes", "a"}, {"a", "--yes"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			srv := account(t, "a")

			got := run("", args...)

			assert.Equal(t, 0, got.code)
			assert.Contains(t, got.stderr, "About to delete 1 conversation(s)")
			assert.NotContains(t, got.stderr, "Type yes")
			assert.Empty(t, srv.Conversations())
		})
	}
}

func TestOnlyYesIsConsent(t *testing.T) {
	for _, typed := range []string{"", "\n", "y\n", "Yes\n", "YES\n", "yes please\n", "no\nyes\n", "yes"} {
		t.Run(typed, func(t *testing.T) {
			srv := account(t, "a")

			got := run(typed, "a")

			assert.Equal(t, 2, got.code)
			assert.Contains(t, got.stderr, "quickstart: nothing was deleted: the answer was not yes\n")
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestALineEndOfWindowsIsConsentToo(t *testing.T) {
	account(t, "a")

	assert.Equal(t, 0, run("yes\r\n", "a").code)
}

func TestBadInputDeletesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		line string
	}{
		{"no ids", []string{"--yes"}, "no ids given"},
		{"unknown flag", []string{"--yes", "--force", "a"}, `unknown flag "--force"`},
		{"unknown flag after an id", []string{"--yes", "a", "-y"}, `unknown flag "-y"`},
		{"empty id", []string{"--yes", "a", ""}, "id 2 of 2 is blank"},
		{"blank id", []string{"--yes", " \t", "a"}, "id 1 of 2 is blank"},
		{"blank id after --", []string{"--yes", "--", "a", " "}, "id 2 of 2 is blank"},
		{"id that is not UTF-8", []string{"--yes", "a", "\xff"}, "ids[1] is not valid UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := account(t, "a")

			got := run("yes\n", c.args...)

			assert.Equal(t, 2, got.code)
			assert.Contains(t, got.stderr, "quickstart: nothing was deleted: ")
			assert.Contains(t, got.stderr, c.line)
			assert.Empty(t, got.stdout)
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestArgumentsWithoutAKeyAreRefused(t *testing.T) {
	for _, arg := range []string{"a", "--yes"} {
		t.Run(arg, func(t *testing.T) {
			srv := noAccount(t)

			got := run("yes\n", arg)

			assert.Equal(t, 2, got.code)
			assert.Equal(t, "quickstart: nothing was deleted: MEMORYPLUGIN_API_KEY is not set\n", got.stderr)
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestABadSettingIsRefusedBeforeTheQuestion(t *testing.T) {
	for name, value := range map[string]string{
		"MEMORYPLUGIN_API_KEY":  "two words",
		"MEMORYPLUGIN_BASE_URL": "ftp://127.0.0.1",
	} {
		t.Run(name, func(t *testing.T) {
			srv := account(t, "a")
			t.Setenv(name, value)

			got := run("yes\n", "a")

			assert.Equal(t, 2, got.code)
			assert.NotContains(t, got.stderr, "Type yes")
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestAnIDThatLooksLikeAFlagFollowsTwoDashes(t *testing.T) {
	srv := account(t, "-a", "--yes")

	got := run("yes\n", "--", "-a", "--yes")

	assert.Equal(t, 0, got.code)
	assert.Contains(t, got.stderr, "Type yes")
	assert.Empty(t, srv.Conversations())
}

func TestHelpIsNoError(t *testing.T) {
	srv := account(t, "a")

	got := run("yes\n", "--help", "--yes", "a")

	assert.Equal(t, outcome{stdout: usage}, got)
	assert.Empty(t, srv.Requests())
}

func TestOneThatIsNotDeletedIsExitCode1(t *testing.T) {
	account(t, "a")

	got := run("yes\n", "a", "b")

	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.stdout, "  NotDeleted (there is no such conversation; nothing to do):\n    b\n")
	assert.Contains(t, got.stderr, "quickstart: 1 not deleted\n")
}

func TestAnErrorIsExitCode1AndSaysWhatBecameOfEachID(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault memoryplugintest.Fault
		list  string
		err   string
	}{
		{"refused", memoryplugintest.Fault{Status: http.StatusUnauthorized},
			"  NotDeleted (see the error; send them again once it is solved):\n    a\n    b\n", "401 Unauthorized"},
		{"unconfirmed", memoryplugintest.Fault{Applied: true, Status: http.StatusOK, Body: "{}"},
			"  Unconfirmed (may be gone, but no reply says so; send them again):\n    a\n    b\n", "2 of 2 unconfirmed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			account(t, "a", "b").FailNext(c.fault)

			got := run("yes\n", "a", "b")

			assert.Equal(t, 1, got.code)
			assert.Equal(t, c.list, got.stdout)
			assert.Contains(t, got.stderr, "quickstart: memoryplugin: delete conversations: "+c.err)
		})
	}
}

func TestRetriesOfTheRealAccountAreShownOnStderr(t *testing.T) {
	account(t, "a").FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests})

	got := run("yes\n", "a")

	assert.Equal(t, 0, got.code)
	assert.Contains(t, got.stderr, `msg="memoryplugin: retrying"`)
}

func TestAnIDThatCouldDeceiveATerminalIsQuoted(t *testing.T) {
	ids := []string{"a\x1b[2K\rb", "c\nd", `"e"`, "f ", "\u202eg", "gr\u00fc\u00df"}
	account(t, ids...)

	got := run("yes\n", ids...)

	assert.Equal(t, `  Deleted (the server confirms it; gone for good):
    "a\x1b[2K\rb"
    "c\nd"
    "\"e\""
    "f "
    "\u202eg"
    grüß
`, got.stdout)
}

// startProgram starts the program as a process of its own.
func startProgram(t *testing.T, stdin string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd = exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "QUICKSTART_TEST_MAIN=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), stdout, stderr
	require.NoError(t, cmd.Start())
	return cmd, stdout, stderr
}

func TestAYesThatIsNotTypedAtATerminalIsNoConsent(t *testing.T) {
	srv := account(t, "a")

	cmd, _, stderr := startProgram(t, "yes\n", "a")

	require.Error(t, cmd.Wait())
	assert.Equal(t, 2, cmd.ProcessState.ExitCode())
	assert.Contains(t, stderr.String(), "quickstart: nothing was deleted: standard input is no terminal")
	assert.Empty(t, srv.Requests())
}

func TestAnInterruptedRunSaysWhatMayBeGone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process can't be sent an interrupt")
	}
	srv := account(t, "a")
	srv.FailNext(memoryplugintest.Fault{Delay: time.Hour})

	cmd, stdout, _ := startProgram(t, "", "--yes", "a")
	require.Eventually(t, func() bool { return len(srv.Requests()) == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))

	require.Error(t, cmd.Wait())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	assert.Equal(t, "  Unconfirmed (may be gone, but no reply says so; send them again):\n    a\n", stdout.String())
}
