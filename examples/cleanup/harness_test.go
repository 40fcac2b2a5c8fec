package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// binary is the program as it is built for users. Every test runs it.
var binary string

var buildFlags []string

func TestMain(m *testing.M) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if signal.Ignored(sig) { // As in the background of a shell. The program would inherit it.
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cleanup")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "cleanup.exe")
	if text, err := exec.Command("go", slices.Concat([]string{"build", "-o", binary}, buildFlags, []string{"."})...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, text)
		return 1
	}
	return m.Run()
}

// program is one run of the program. Where nothing else is said its standard
// input is the null device, and its outputs are pipes.
type program struct {
	*exec.Cmd
	t              *testing.T
	stdout, stderr *output
}

// outcome is what a run has come to.
type outcome struct {
	code           int
	stdout, stderr string
}

// cleanup prepares a run against the server at url.
func cleanup(t *testing.T, url string, args ...string) *program {
	t.Helper()
	// Only a program that hangs meets this end.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p := &program{exec.CommandContext(ctx, binary, args...), t, &output{}, &output{}}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MEMORYPLUGIN_") {
			p.Env = append(p.Env, variable)
		}
	}
	p.Env = append(p.Env, "MEMORYPLUGIN_API_KEY="+memoryplugintest.APIKey, "MEMORYPLUGIN_BASE_URL="+url)
	p.Stdout, p.Stderr = p.stdout, p.stderr
	p.WaitDelay = 10 * time.Second
	return p
}

func (p *program) input(text string) *program {
	p.Stdin = strings.NewReader(text)
	return p
}

// env sets a variable of the environment, as NAME=value.
func (p *program) env(variable string) *program {
	p.Env = append(p.Env, variable)
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

// waitFor returns when text has been written.
func (o *output) waitFor(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(o.String(), text) }, 30*time.Second, 2*time.Millisecond,
		"never wrote %q", text)
}

// summary is what --output json prints.
type summary struct {
	Host        string    `json:"host"`
	Requested   int       `json:"requested"`
	Duplicates  int       `json:"duplicates"`
	Skipped     int       `json:"skipped"`
	Deleted     int       `json:"deleted"`
	NotDeleted  int       `json:"not_deleted"`
	Unconfirmed int       `json:"unconfirmed"`
	NotSent     int       `json:"not_sent"`
	Interrupted bool      `json:"interrupted"`
	Seconds     float64   `json:"seconds"`
	Failures    []failure `json:"failures"`
}

type failure struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Error string `json:"error"`
}

// summary reads the summary of a run with --output json. Whatever else a test
// is about, the numbers add up and each failure is named once.
func (o outcome) summary(t *testing.T) summary {
	t.Helper()
	var s summary
	decoder := json.NewDecoder(strings.NewReader(o.stdout))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&s), "stdout %q, stderr %q", o.stdout, o.stderr)
	require.False(t, decoder.More(), "more than one object: %q", o.stdout)
	assert.Equal(t, s.Requested, s.Skipped+s.Deleted+s.NotDeleted+s.Unconfirmed+s.NotSent, "%+v", s)
	named := map[string]bool{}
	for _, failure := range s.Failures {
		assert.False(t, named[failure.ID], "%q is named twice", failure.ID)
		named[failure.ID] = true
	}
	return s
}

// failed are the ids that failed, with their states.
func (s summary) failed() map[string]string {
	states := map[string]string{}
	for _, failure := range s.Failures {
		states[failure.ID] = failure.State
	}
	return states
}

// account starts a server with conversations.
func account(t *testing.T, ids ...string) *memoryplugintest.Server {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations(ids...)
	return srv
}

// sentTo are the ids that the server was asked to delete, as often as it was asked.
func sentTo(srv *memoryplugintest.Server) []string {
	ids := []string{}
	for _, request := range srv.Requests() {
		ids = append(ids, request.IDs...)
	}
	return ids
}

// serve starts a server of the test's own, which answers every deletion by
// answer. The key and the form of a request are for memoryplugintest to check.
func serve(t *testing.T, answer func(w http.ResponseWriter, ids []string)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			IDs []string `json:"ids"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			panic(http.ErrAbortHandler)
		}
		answer(w, body.IDs)
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	return srv.URL
}

// confirm answers that ids are deleted, and no others.
func confirm(w http.ResponseWriter, ids ...string) {
	_ = json.NewEncoder(w).Encode(map[string]any{"deleted": append([]string{}, ids...), "count": len(ids)})
}

// refuse answers with a status and an error.
func refuse(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message})
}

// holding is a server that confirms every deletion, but not before release.
type holding struct {
	URL     string
	arrived chan []string
	release func()
}

func hold(t *testing.T) *holding {
	t.Helper()
	released := make(chan struct{})
	h := &holding{arrived: make(chan []string, 1000), release: sync.OnceFunc(func() { close(released) })}
	h.URL = serve(t, func(w http.ResponseWriter, ids []string) {
		h.arrived <- ids
		<-released
		confirm(w, ids...)
	})
	t.Cleanup(h.release) // Before the server is closed, which waits for its handlers.
	return h
}

// host is what the program calls the server at url.
func host(url string) string { return strings.TrimPrefix(url, "http://") }

// numbered returns n ids.
func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("conv-%04d", i)
	}
	return ids
}

// file writes a file of the test's own.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

func lines(text ...string) string { return strings.Join(text, "\n") + "\n" }

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

func busyFaults(n int) []memoryplugintest.Fault {
	return slices.Repeat([]memoryplugintest.Fault{{Status: http.StatusTooManyRequests}}, n)
}
