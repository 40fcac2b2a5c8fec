package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// TestScripts runs the tool from outside. Each script has a server of its own, whose
// key and URL are in the environment, and no terminal. Besides the commands of
// testscript, it has these:
//
//	account FILE|N        adds the conversations of a JSON file, or N of them: c-001, ...
//	left [ID...]          the server has these conversations, and no others
//	remove ID...          deletes conversations behind the tool's back
//	fault METHOD [xN] ... makes the next N requests fail: status=, header=, body=FILE, delay=, drop, applied
//	unfault METHOD        makes no more of them fail
//	requests METHOD N     the server has got N requests so far
//	requests              prints the requests so far, one a line
//	ignore PARAMETER      from now on the server ignores a filter
//	append FILE FILE      appends the text of the second file to the first
//	files N PATTERN       N files match a pattern
//	exits CODE COMMAND    runs a command that ends with this code
//	prints FILE           the last command printed this, but for times and durations
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			w := newWorld(env.T().(testing.TB))
			env.Values[worldKey{}] = w
			env.Setenv("MEMORYPLUGIN_API_KEY", memoryplugintest.APIKey)
			env.Setenv("MEMORYPLUGIN_BASE_URL", w.server.URL)
			env.Setenv("HOST", strings.TrimPrefix(w.server.URL, "http://"))
			env.Setenv("TEST_FIRST_WAIT", "50ms")
			env.Setenv("TEST_NO_TERMINAL", "yes")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // The race detector would wait a second at each end.
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"account": account, "left": left, "remove": remove, "fault": fault, "unfault": unfault,
			"requests": requests, "ignore": ignore, "append": appendTo, "files": files, "exits": exits, "prints": prints,
		},
	})
}

// world is the server of a script.
type world struct {
	server *memoryplugintest.Server
	mu     sync.Mutex
	faults map[string][]memoryplugintest.Fault // of the next requests, by method
}

// worldKey is where a script keeps it.
type worldKey struct{}

func newWorld(t testing.TB) *world {
	w := &world{server: memoryplugintest.NewServer(t), faults: map[string][]memoryplugintest.Fault{}}
	w.server.FailFunc(w.fail)
	return w
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func (w *world) fail(r memoryplugintest.Request) memoryplugintest.Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := w.faults[r.Method]
	if len(next) == 0 {
		return memoryplugintest.Fault{}
	}
	w.faults[r.Method] = next[1:]
	return next[0]
}

func account(ts *testscript.TestScript, _ bool, args []string) {
	server := worldOf(ts).server
	if n, err := strconv.Atoi(args[0]); err == nil {
		for i := range n {
			server.AddConversation(conversation(i + 1))
		}
		return
	}
	var conversations []struct {
		memoryplugin.Conversation
		ImportID string
		Messages []memoryplugin.Message
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &conversations))
	for _, c := range conversations {
		server.AddConversation(memoryplugintest.Conversation{Conversation: c.Conversation, ImportID: c.ImportID, Messages: c.Messages})
	}
}

// conversation is one that is not pinned, and was created on the nth day of 2024.
func conversation(n int) memoryplugintest.Conversation {
	created := time.Date(2024, 1, n, 0, 0, 0, 0, time.UTC)
	isPinned, messages := false, 0
	return memoryplugintest.Conversation{Conversation: memoryplugin.Conversation{
		ID: fmt.Sprintf("c-%03d", n), Title: fmt.Sprintf("Conversation %d", n), Platform: "chatgpt",
		MessageCount: &messages, CreatedAt: created, UpdatedAt: created, Pinned: &isPinned,
	}}
}

func left(ts *testscript.TestScript, _ bool, args []string) {
	if got := strings.Join(worldOf(ts).server.Conversations(), " "); got != strings.Join(args, " ") {
		ts.Fatalf("the server has: %s", got)
	}
}

func remove(ts *testscript.TestScript, _ bool, args []string) {
	_, err := worldOf(ts).server.Client().DeleteConversations(context.Background(), args)
	ts.Check(err)
}

func fault(ts *testscript.TestScript, _ bool, args []string) {
	w, n, f := worldOf(ts), 1, memoryplugintest.Fault{}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "status":
			f.Status = number(ts, value)
		case "header":
			key, text, _ := strings.Cut(value, ":")
			f.Header = http.Header{key: {text}}
		case "body":
			f.Body = unescape(ts, ts.ReadFile(value))
		case "delay":
			delay, err := time.ParseDuration(value)
			ts.Check(err)
			f.Delay = delay
		case "drop":
			f.Drop = true
		case "applied":
			f.Applied = true
		default:
			n = number(ts, strings.TrimPrefix(arg, "x"))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		w.faults[args[0]] = append(w.faults[args[0]], f)
	}
}

func unfault(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.faults, args[0])
}

// unescape replaces \uXXXX, so that a script shows what the eye can't see.
func unescape(ts *testscript.TestScript, text string) string {
	return regexp.MustCompile(`\\u[0-9a-f]{4}`).ReplaceAllStringFunc(text, func(escape string) string {
		unquoted, err := strconv.Unquote(`"` + escape + `"`)
		ts.Check(err)
		return unquoted
	})
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

func requests(ts *testscript.TestScript, _ bool, args []string) {
	count := 0
	for _, r := range worldOf(ts).server.Requests() {
		if len(args) == 0 {
			query, _ := url.QueryUnescape(r.Query.Encode())
			path := strings.TrimPrefix(r.Path, "/api/chat-history/")
			fmt.Fprintln(ts.Stdout(), strings.Join(strings.Fields(r.Method+" "+path+" "+query+" "+strings.Join(r.IDs, " ")), " "))
		} else if r.Method == args[0] {
			count++
		}
	}
	if len(args) > 0 && count != number(ts, args[1]) {
		ts.Fatalf("the server has got %d", count)
	}
}

func ignore(ts *testscript.TestScript, _ bool, args []string) {
	target, err := url.Parse(worldOf(ts).server.URL)
	ts.Check(err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		query := r.Out.URL.Query()
		query.Del(args[0])
		r.Out.URL.RawQuery = query.Encode()
	}})
	ts.Defer(proxy.Close)
	ts.Setenv("MEMORYPLUGIN_BASE_URL", proxy.URL)
}

func appendTo(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0]) + strings.TrimSuffix(ts.ReadFile(args[1]), "\n")
	if strings.HasSuffix(text, "}") {
		text += "\n"
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

func files(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	if len(found) != number(ts, args[0]) {
		ts.Fatalf("found %q", found)
	}
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		failed, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = failed.ExitCode()
	}
	if code != number(ts, args[0]) {
		ts.Fatalf("it ended with exit code %d", code)
	}
}

// inexact is what differs from run to run, and what a script has instead.
var inexact = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "HOST"},
	{regexp.MustCompile(` in [0-9.]+m?s\.`), " in 0s."},
	{regexp.MustCompile(`"seconds":[0-9.]+`), `"seconds":0`},
	{regexp.MustCompile(`\d{8}-\d{6}-\d+`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "TIME"},
}

func prints(ts *testscript.TestScript, _ bool, args []string) {
	got, want := ts.ReadFile("stdout"), ts.ReadFile(args[0])
	for _, part := range inexact {
		got = part.pattern.ReplaceAllString(got, part.instead)
	}
	if got != want {
		ts.Fatalf("it printed:\n%s", got)
	}
}
