package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	// Most tests wait for a queue, not for a processor.
	_ = flag.Set("test.parallel", "16")
	code := m.Run()
	stopPostgres()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

const patience = 90 * time.Second // for what must come, but at its own time

// onEngines runs a test on SQLite, and on PostgreSQL if it is installed.
func onEngines(t *testing.T, test func(t *testing.T, s settings)) {
	t.Helper()
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, testSettings(t, ""))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, testSettings(t, postgresDatabase(t)))
	})
}

func testSettings(t *testing.T, databaseURL string) settings {
	dir := t.TempDir()
	s := settings{
		addr:        "127.0.0.1:0",
		baseURL:     "http://127.0.0.1:1", // Nobody listens there.
		databaseURL: databaseURL,
		sqlite:      filepath.Join(dir, "erasures #%.db"),
		vault:       keysIn(keysFile(dir)),
		jobTimeout:  2 * time.Second,
		keyWait:     100 * time.Millisecond,
		log:         slog.New(slog.DiscardHandler),
		listening:   func(string) {},
	}
	writeKeys(t, s, "alice")
	return s
}

func keysFile(dir string) string { return filepath.Join(dir, "keys.json") }

// writeKeys gives the service a key for this account alone.
func writeKeys(t *testing.T, s settings, account string) {
	t.Helper()
	content, err := json.Marshal(map[string]string{account: memoryplugintest.APIKey})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(keysFile(filepath.Dir(s.sqlite)), content, 0o600))
}

// startService runs the service in this process and returns its URL. stop shuts it
// down as a signal would.
func startService(t *testing.T, s settings) (url string, stop func()) {
	t.Helper()
	urls, served := make(chan string, 1), make(chan error, 1)
	s.listening = func(url string) { urls <- url }
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- serve(ctx, s) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-served)
	}
	t.Cleanup(stop)
	select {
	case url = <-urls:
	case err := <-served:
		stopped = true
		cancel()
		require.NoError(t, err)
	}
	return url, stop
}

type reply struct {
	status   int
	location string
	body     string
}

func (r reply) field(t *testing.T) string {
	t.Helper()
	var p struct{ Error, Field string }
	require.NoError(t, json.Unmarshal([]byte(r.body), &p), "body: %s", r.body)
	require.NotEmpty(t, p.Error)
	return p.Field
}

func post(url, key, body string, header ...string) (reply, error) {
	request, err := http.NewRequest(http.MethodPost, url+"/erasures", strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return do(request)
}

func do(request *http.Request) (reply, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header.Get("Location"), string(body)}, err
}

func erasureBody(account string, ids ...string) string {
	content, err := json.Marshal(map[string]any{"account": account, "conversationIds": ids})
	if err != nil {
		panic(err)
	}
	return string(content)
}

// ask posts an erasure of alice's and returns its location.
func ask(t *testing.T, url string, ids ...string) string {
	t.Helper()
	r, err := post(url, "", erasureBody("alice", ids...))
	require.NoError(t, err)
	require.Equal(t, http.StatusAccepted, r.status, r.body)
	return r.location
}

func get(t *testing.T, url string) erasure {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	r, err := do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, r.status, r.body)
	var e erasure
	require.NoError(t, json.Unmarshal([]byte(r.body), &e))
	return e
}

// waitFor polls an erasure until it is in state.
func waitFor(t *testing.T, url, state string) (e erasure) {
	t.Helper()
	require.Eventually(t, func() bool {
		e = get(t, url)
		return e.State == state
	}, patience, 20*time.Millisecond, "%s is not %s", url, state)
	return e
}

// requireTruth checks every fate of a finished erasure against what the server knows:
// the conversations it had, and those that are left.
func requireTruth(t *testing.T, e erasure, asked, had, left []string) {
	t.Helper()
	isLeft, existed := set(left), set(had)
	for _, id := range e.Conversations[deleted] {
		require.True(t, existed[id] && !isLeft[id], "%s is not deleted", id)
	}
	for _, id := range e.Conversations[gone] {
		require.False(t, isLeft[id], "%s is not gone", id)
	}
	for _, id := range e.Conversations[notListed] {
		require.False(t, existed[id], "%s is reported as not listed, but it was there", id)
	}
	for _, id := range e.Conversations[stillThere] {
		require.True(t, isLeft[id], "%s is not there any more", id)
	}
	require.Empty(t, e.Conversations[unconfirmed])
	require.Empty(t, e.Conversations[pending])
	require.ElementsMatch(t, asked, slices.Concat(slices.Collect(maps.Values(e.Conversations))...), "an id is lost")
}

func set(ids []string) map[string]bool {
	m := make(map[string]bool, len(ids))
	for _, id := range ids {
		m[id] = true
	}
	return m
}

func numbered(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return ids
}

// moment is a point in the life of a deletion at which a test takes over.
type moment string

const (
	onArrival     moment = "on arrival"
	afterApplying moment = "after applying"
	afterReplying moment = "after replying"
)

// proxy stands before a fake API, and calls at for each moment of each deletion. If
// the first call returns false, the deletion is not passed on.
func proxy(api *memoryplugintest.Server, at func(moment) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		report := func(m moment) bool { return r.Method != http.MethodDelete || at(m) }
		body, err := io.ReadAll(r.Body)
		if err != nil || !report(onArrival) {
			panic(http.ErrAbortHandler)
		}
		forward, err := http.NewRequest(r.Method, api.URL+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		forward.Header = r.Header
		response, err := http.DefaultClient.Do(forward)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		report(afterApplying)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
		w.WriteHeader(response.StatusCode)
		_, _ = w.Write(content)
		_ = http.NewResponseController(w).Flush()
		report(afterReplying)
	}
}
