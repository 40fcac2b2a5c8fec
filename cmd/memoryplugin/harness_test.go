package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// TestMain makes this test program the tool itself if it is run as "memoryplugin".
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "memoryplugin" { // Under nohup, the tool would inherit that it is ignored.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	testscript.Main(m, map[string]func(){"memoryplugin": func() {
		if wait, err := time.ParseDuration(os.Getenv("TEST_FIRST_WAIT")); err == nil {
			firstWait = wait
		}
		if os.Getenv("TEST_NO_TERMINAL") != "" {
			leaveTerminal()
		}
		main()
	}})
}

// program is one run of the tool. Unless a test says otherwise, its standard input
// is the null device, its outputs are pipes, and it has no terminal.
type program struct {
	*exec.Cmd
	t              *testing.T
	stdout, stderr *output
}

// outcome is what a run has come to.
type outcome struct {
	code           int // -1 if a signal ended it
	stdout, stderr string
}

// command prepares a run in a folder of its own, against the server at url.
func command(t *testing.T, url string, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // Only a run that hangs meets this end.
	t.Cleanup(cancel)
	p := &program{exec.CommandContext(ctx, "memoryplugin", args...), t, &output{}, &output{}}
	p.Dir = t.TempDir()
	p.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TERM=xterm", "TEST_FIRST_WAIT=50ms",
		"MEMORYPLUGIN_API_KEY=" + memoryplugintest.APIKey, "MEMORYPLUGIN_BASE_URL=" + url,
	}
	p.Stdout, p.Stderr = p.stdout, p.stderr
	p.WaitDelay = 10 * time.Second
	withoutTerminal(p.Cmd)
	return p
}

func (p *program) input(text string) *program {
	p.Stdin = strings.NewReader(text)
	return p
}

func (p *program) start() *program {
	p.t.Helper()
	require.NoError(p.t, p.Start())
	return p
}

// end waits for the end of the run.
func (p *program) end() outcome {
	p.t.Helper()
	_ = p.Wait() // The exit code says it.
	require.NotNil(p.t, p.ProcessState)
	return outcome{p.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()}
}

func (p *program) run() outcome {
	p.t.Helper()
	return p.start().end()
}

// file returns the content of a file in the folder of the run.
func (p *program) file(name string) string {
	p.t.Helper()
	content, err := os.ReadFile(filepath.Join(p.Dir, name))
	require.NoError(p.t, err)
	return string(content)
}

// output is what a program has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// waitFor returns once text has been written.
func (o *output) waitFor(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(o.String(), text) }, 30*time.Second, 2*time.Millisecond,
		"it never wrote %q", text)
}
