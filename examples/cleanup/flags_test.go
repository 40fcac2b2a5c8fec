package main_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestHelpSaysWhatEachFlagAndExitCodeIs(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--help", "-h"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			got := cleanup(t, "", flag).env("MEMORYPLUGIN_API_KEY=").run()

			assert.Equal(t, 0, got.code)
			assert.Empty(t, got.stderr)
			for _, name := range []string{
				"--file", "--json", "--yes", "--dry-run", "--output", "--journal", "--quiet", "--batch-size",
				"--concurrency", "--rate", "--timeout", "--max-retries", "--base-url", "-v", "--api-key-file",
				"--keep-going", "--demo", "MEMORYPLUGIN_API_KEY", "MEMORYPLUGIN_BASE_URL",
			} {
				assert.Contains(t, got.stdout, name)
			}
			_, codes, found := strings.Cut(strings.ToLower(got.stdout), "exit code")
			assert.True(t, found)
			for _, code := range []string{"0", "1", "2", "3", "130"} {
				assert.Regexp(t, `(?m)^\s*`+code+`\b`, codes)
			}
		})
	}
}

func TestTheBatchSizeIsTheMostIDsOfARequest(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(10)...)

	cleanup(t, srv.URL, append([]string{"--yes", "--batch-size", "4", "--concurrency", "1"}, numbered(10)...)...).run()

	assert.Equal(t, []int{4, 4, 2}, sizes(srv))
}

func TestTheBatchSizeIsAHundredByDefault(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(250)...)

	cleanup(t, srv.URL, append([]string{"--yes", "--concurrency", "1"}, numbered(250)...)...).run()

	assert.Equal(t, []int{100, 100, 50}, sizes(srv))
}

// sizes are the numbers of ids in the requests that a server got.
func sizes(srv *memoryplugintest.Server) []int {
	var sizes []int
	for _, request := range srv.Requests() {
		sizes = append(sizes, len(request.IDs))
	}
	return sizes
}

func TestTheConcurrencyIsTheNumberOfRequestsInFlight(t *testing.T) {
	t.Parallel()
	var inFlight, most atomic.Int64
	full := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		defer inFlight.Add(-1)
		now := inFlight.Add(1)
		for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
		}
		if now == 3 {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		<-full // None is answered before three are in flight.
		confirm(w, ids...)
	})

	got := cleanup(t, url, append([]string{"--yes", "--batch-size", "1", "--concurrency", "3"}, numbered(30)...)...).run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.EqualValues(t, 3, most.Load())
}

// Retries count: it is the server that must not be overrun.
func TestTheRateIsThatOfRequestsNotOfBatches(t *testing.T) {
	t.Parallel()
	var times []time.Time
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		times = append(times, time.Now())
		if len(times) == 1 {
			refuse(w, http.StatusServiceUnavailable, "busy")
			return
		}
		confirm(w, ids...)
	})

	// A first retry waits for half a second at most by itself.
	got := cleanup(t, url, "--yes", "--rate", "1", "--concurrency", "1", "--batch-size", "1", "a", "b").run()

	assert.Equal(t, 0, got.code, got.stderr)
	if assert.Len(t, times, 3) {
		assert.Greater(t, times[1].Sub(times[0]), 800*time.Millisecond)
		assert.Greater(t, times[2].Sub(times[1]), 800*time.Millisecond)
	}
}

func TestTheTimeoutIsThatOfOneAttempt(t *testing.T) {
	t.Parallel()
	srv := hold(t)

	got := cleanup(t, srv.URL, "--yes", "--timeout", "150ms", "--max-retries", "1", "--output", "json", "a").run()

	assert.Equal(t, 1, got.code)
	assert.Len(t, srv.arrived, 2)
	summary := got.summary(t)
	assert.Equal(t, 1, summary.Unconfirmed)
	assert.Contains(t, summary.Failures[0].Error, "150ms")
}

func TestMaxRetriesIsTheNumberOfFurtherAttempts(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]int{"0": 1, "2": 3} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a")
			busy := memoryplugintest.Fault{Status: http.StatusServiceUnavailable}
			srv.FailNext(busy, busy, busy, busy)

			got := cleanup(t, srv.URL, "--yes", "--max-retries", flag, "a").run()

			assert.Equal(t, 1, got.code)
			assert.Len(t, srv.Requests(), want)
		})
	}
}

func TestTheBaseURLWinsOverTheEnvironment(t *testing.T) {
	t.Parallel()
	srv, other := account(t, "a"), account(t, "a")

	got := cleanup(t, other.URL, "--yes", "--base-url", srv.URL, "--output", "json", "a").run()

	assert.Equal(t, 0, got.code)
	assert.Equal(t, host(srv.URL), got.summary(t).Host)
	assert.Len(t, srv.Requests(), 1)
	assert.Empty(t, other.Requests())
}

// The SDK's words are those of Go code.
func TestASettingThatTheSDKRefusesIsSaidInTheWordsOfFlags(t *testing.T) {
	t.Parallel()
	for says, args := range map[string][]string{
		"the base URL would send the API key in the clear: use https": {"--base-url", "http://example.com"},
		"the number of retries is negative: -1":                       {"--max-retries", "-1"},
		"the attempt's time-out is negative: -5s":                     {"--timeout", "-5s"},
	} {
		got := cleanup(t, "", append(args, "a")...).run()

		assert.Equal(t, "cleanup: nothing was sent: "+says+"\n", got.stderr)
	}
}

func TestTheHostIsTheRealOneByDefault(t *testing.T) {
	t.Parallel()

	got := cleanup(t, "", "--dry-run", "--output", "json", "a").run()

	assert.Equal(t, "www.memoryplugin.com", got.summary(t).Host)
}

func TestRetriesAreShownOnlyWithV(t *testing.T) {
	t.Parallel()
	for _, verbose := range []bool{true, false} {
		srv := account(t, "a")
		srv.FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests})
		args := []string{"--yes", "--quiet", "a"}
		if verbose {
			args = append(args, "-v")
		}

		got := cleanup(t, srv.URL, args...).run()

		assert.Equal(t, 0, got.code)
		assert.Equal(t, verbose, strings.Contains(got.stderr, "memoryplugin: retrying"), got.stderr)
		assert.NotContains(t, got.stdout, "memoryplugin: retrying")
	}
}

func TestTheKeyIsReadFromAFile(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"with a newline":    memoryplugintest.APIKey + "\n",
		"without a newline": memoryplugintest.APIKey,
		"with CRLF":         memoryplugintest.APIKey + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a")
			key := file(t, content)

			got := cleanup(t, srv.URL, "--yes", "--api-key-file", key, "a").env("MEMORYPLUGIN_API_KEY=another").run()

			assert.Equal(t, 0, got.code, got.stderr)
		})
	}
}

func TestWithoutAKeyNothingIsSent(t *testing.T) {
	t.Parallel()
	empty := file(t, "\n")
	for name, args := range map[string][]string{
		"none":             {"--yes", "a"},
		"an empty file":    {"--yes", "--api-key-file", empty, "a"},
		"two keys in file": {"--yes", "--api-key-file", file(t, "one\ntwo\n"), "a"},
		"a key and spaces": {"--yes", "--api-key-file", file(t, " two \n"), "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a")

			got := cleanup(t, srv.URL, args...).env("MEMORYPLUGIN_API_KEY=").run()

			assert.Equal(t, 2, got.code)
			assert.Regexp(t, `(?i)key`, got.stderr)
			assert.NotContains(t, got.stderr, "two")
			assert.Empty(t, srv.Requests())
		})
	}
}

// Whoever gives the key itself by mistake must not find it in a log.
func TestTheNameOfAKeyFileIsNotShown(t *testing.T) {
	t.Parallel()

	got := cleanup(t, account(t, "a").URL, "--yes", "--api-key-file", "sk-secret-0123456789", "a").run()

	assert.Equal(t, 2, got.code)
	assert.NotContains(t, got.stderr, "sk-secret")
	assert.Contains(t, got.stderr, "--api-key-file can't be read: no such file")
}

// A reply that is longer than it says is what net/http would log.
func TestTheKeyIsNotLoggedFromBytesAfterAReply(t *testing.T) {
	t.Parallel()
	const key = "sk-secret-0123456789"
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		body := `{"count":1}`
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sAuthorization: Bearer %s", len(body), body, key)
		_, _ = io.Copy(io.Discard, conn) // Until the other side closes it.
	})

	got := cleanup(t, url, "--yes", "--batch-size", "1", "--concurrency", "1", "a", "b", "c").env("MEMORYPLUGIN_API_KEY=" + key).run()

	assert.Equal(t, 0, got.code)
	assert.NotContains(t, got.stdout+got.stderr, key)
}

// The server echoes what it was sent, as a careless one does.
func TestTheKeyIsInNoOutput(t *testing.T) {
	t.Parallel()
	const key = "sk-secret-0123456789"
	for _, status := range []int{http.StatusUnauthorized, http.StatusBadRequest, http.StatusOK} {
		url := serve(t, func(w http.ResponseWriter, _ []string) {
			w.Header().Set("X-Request-Id", key)
			refuse(w, status, "Bearer "+key+" is no good")
		})
		journal := newJournal(t)

		for _, output := range []string{"text", "json"} {
			got := cleanup(t, url, "--yes", "-v", "--journal", journal, "--output", output, "a").env("MEMORYPLUGIN_API_KEY=" + key).run()

			assert.NotEqual(t, 0, got.code)
			assert.NotContains(t, got.stdout+got.stderr+read(t, journal), key)
			if status != http.StatusOK { // The error of a 200 that answers for nothing has no words of the server.
				assert.Contains(t, read(t, journal), "is no good")
			}
		}
	}
}
