package main_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestExitCode0IsEveryIDDeleted(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")

	assert.Equal(t, 0, cleanup(t, srv.URL, "--yes", "a", "b").run().code)
}

func TestExitCode1IsAnIDThatIsNotDeleted(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]memoryplugintest.Fault{
		"not there":   {},
		"refused":     {Status: http.StatusForbidden},
		"unconfirmed": {Status: http.StatusOK, Body: "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a")
			srv.FailNext(fault)

			assert.Equal(t, 1, cleanup(t, srv.URL, "--yes", "a", "b").run().code)
		})
	}
}

// The SDK reports a contradiction even where every id is deleted. No id of the
// summary has that error, so it is told apart.
func TestAContradictionIsSaidEvenWhereEveryIDIsDeleted(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, ids []string) { confirm(w, append(ids, "another")...) })

	got := cleanup(t, url, "--yes", "--quiet", "a").run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Contains(t, got.stderr, "\ncleanup: unexpected response: the reply names an id that was not requested")
}

// failing answers the requests that fails says, counted from 0, by 400.
func failing(t *testing.T, fails func(request int) bool) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	url = serve(t, func(w http.ResponseWriter, ids []string) {
		if fails(int(requests.Add(1) - 1)) {
			refuse(w, http.StatusBadRequest, "no")
		} else {
			confirm(w, ids...)
		}
	})
	return url, requests
}

// oneByOne are the flags of a run that sends n ids in as many batches, in order.
func oneByOne(n int, flags ...string) []string {
	return append(append(flags, "--yes", "--output", "json", "--batch-size", "1", "--concurrency", "1"), numbered(n)...)
}

func TestThreeFailuresInARowStopTheRun(t *testing.T) {
	t.Parallel()
	url, requests := failing(t, func(n int) bool { return n >= 4 })
	journal := newJournal(t)

	got := cleanup(t, url, oneByOne(30, "--journal", journal)...).run()

	assert.Equal(t, 1, got.code)
	assert.Regexp(t, `(?i)\b(three|3)\b`, got.stderr)
	summary := got.summary(t)
	assert.Equal(t, 4, summary.Deleted)
	// One more batch may have waited for the worker already.
	assert.Contains(t, []int{3, 4}, summary.NotDeleted)
	assert.EqualValues(t, summary.Deleted+summary.NotDeleted, requests.Load())
	assert.False(t, summary.Interrupted)
	statesOf(t, journal)
}

func TestKeepGoingGoesOnAfterThreeFailures(t *testing.T) {
	t.Parallel()
	url, requests := failing(t, func(int) bool { return true })

	got := cleanup(t, url, oneByOne(10, "--keep-going")...).run()

	assert.Equal(t, 1, got.code)
	assert.EqualValues(t, 10, requests.Load())
	assert.Equal(t, 10, got.summary(t).NotDeleted)
}

func TestFailuresThatAreNotInARowDoNotStopTheRun(t *testing.T) {
	t.Parallel()
	url, requests := failing(t, func(n int) bool { return n%3 != 2 })

	got := cleanup(t, url, oneByOne(15)...).run()

	assert.EqualValues(t, 15, requests.Load())
	assert.Equal(t, 5, got.summary(t).Deleted)
}

// A batch fails where there is an error and nothing is deleted: neither of the
// two alone is a reason to stop.
func TestWhatIsNoFailureDoesNotStopTheRun(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, ids []string){
		"nothing deleted, no error":    func(w http.ResponseWriter, _ []string) { confirm(w) },
		"an error, something deleted":  func(w http.ResponseWriter, ids []string) { confirm(w, ids[0], "another") },
		"two failures and not a third": alternating(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			url := serve(t, func(w http.ResponseWriter, ids []string) {
				requests.Add(1)
				answer(w, ids)
			})

			args := append([]string{"--yes", "--batch-size", "2", "--concurrency", "1"}, numbered(20)...)
			cleanup(t, url, args...).run()

			assert.EqualValues(t, 10, requests.Load())
		})
	}
}

// alternating refuses two batches, and answers the third without a deletion.
func alternating() func(w http.ResponseWriter, ids []string) {
	var requests atomic.Int64
	return func(w http.ResponseWriter, _ []string) {
		if requests.Add(1)%3 == 0 {
			confirm(w)
		} else {
			refuse(w, http.StatusBadRequest, "no")
		}
	}
}

func TestARefusedKeyStopsAtOnceWithExitCode3(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--keep-going", "--keep-going=false"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			srv := account(t, numbered(30)...)
			srv.FailNext(memoryplugintest.Fault{}, memoryplugintest.Fault{Status: http.StatusUnauthorized})
			journal := newJournal(t)

			got := cleanup(t, srv.URL, oneByOne(30, flag, "--journal", journal)...).run()

			assert.Equal(t, 3, got.code)
			assert.Regexp(t, `(?i)\bkey\b`, got.stderr)
			assert.Len(t, srv.Requests(), 2)
			summary := got.summary(t)
			assert.Equal(t, 1, summary.Deleted)
			assert.Equal(t, 1, summary.NotDeleted)
			assert.Equal(t, 28, summary.NotSent)
			assert.Equal(t, "not sent: the server refused the API key", summary.Failures[28].Error)
			statesOf(t, journal)
		})
	}
}

func TestWhatIsInFlightWhenTheKeyIsRefusedIsFinished(t *testing.T) {
	t.Parallel()
	refused := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		if ids[0] == "conv-0000" {
			refuse(w, http.StatusUnauthorized, "no")
			close(refused)
			return
		}
		<-refused
		confirm(w, ids...)
	})
	journal := newJournal(t)

	got := cleanup(t, url, append([]string{"--yes", "--journal", journal, "--batch-size", "1", "--concurrency", "3", "--output", "json"}, numbered(10)...)...).run()

	assert.Equal(t, 3, got.code)
	summary := got.summary(t)
	deleted := 0
	for _, state := range statesOf(t, journal) {
		if state == "deleted" {
			deleted++
		}
	}
	assert.Equal(t, deleted, summary.Deleted)
	assert.Zero(t, summary.Unconfirmed)
}

func TestARetryAfterAboveTheLimitStopsTheRun(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(10)...)
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"7200"}}})

	got := cleanup(t, srv.URL, oneByOne(10, "--keep-going")...).run()

	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.stderr, "stopping: the server asks to be left alone for 2h0m0s")
	assert.Len(t, srv.Requests(), 1)
	summary := got.summary(t)
	assert.Equal(t, 1, summary.NotDeleted)
	assert.Equal(t, 9, summary.NotSent)
	assert.NotContains(t, got.stderr, " left,", "there is no time left of a run that has stopped")
}

// They were sent, in a batch that was too large.
func TestHalvesThatAreNotSentAnyMoreAreNotDeleted(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b", "c", "d")
	srv.LimitIDs(2)
	srv.FailNext(memoryplugintest.Fault{}, memoryplugintest.Fault{Status: http.StatusUnauthorized})
	journal := newJournal(t)

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", "--batch-size", "4", "--concurrency", "1", "a", "b", "c", "d", "e").run()

	assert.Equal(t, 3, got.code)
	assert.Len(t, srv.Requests(), 2)
	summary := got.summary(t)
	assert.Equal(t, 4, summary.NotDeleted, "%+v", summary)
	assert.Equal(t, 1, summary.NotSent)
	assert.Contains(t, errorsOf(records(t, journal))["d"], "not sent")
	assert.Contains(t, errorsOf(records(t, journal))["d"], "413")
}

// Once the SDK has learnt a smaller size, it sends what it takes for one batch
// in parts: no more of these than one may follow a stop.
func TestAStopIsOneWithinABatchThatIsSentInParts(t *testing.T) {
	t.Parallel()
	var answered atomic.Int64
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		switch {
		case len(ids) > 1:
			refuse(w, http.StatusRequestEntityTooLarge, "one at a time")
		case answered.Add(1) <= 110: // The SDK has had two batches when it learns the size.
			confirm(w, ids...)
		default:
			refuse(w, http.StatusBadRequest, "no")
		}
	})
	journal := newJournal(t)
	args := append([]string{"--yes", "--output", "json", "--journal", journal, "--batch-size", "50", "--concurrency", "1"}, numbered(500)...)

	got := cleanup(t, url, args...).run()

	summary := got.summary(t)
	assert.Equal(t, 110, summary.Deleted)
	assert.Contains(t, []int{3, 4}, summary.NotDeleted, "one may have waited already")
	assert.Equal(t, 390-summary.NotDeleted, summary.NotSent)
	statesOf(t, journal)
}

// The SDK decides which Retry-After ends a run. The program must agree, to say why.
func TestALongRetryAfterIsTheReasonExactlyWhereTheSDKStops(t *testing.T) {
	t.Parallel()
	for _, status := range []int{302, 307, 400, 403, 404, 408, 409, 413, 423, 425, 429, 500, 501, 502, 503, 504, 505, 507, 599} {
		srv := account(t, numbered(5)...)
		srv.FailNext(memoryplugintest.Fault{Status: status, Header: http.Header{"Retry-After": {"7200"}}})

		got := cleanup(t, srv.URL, oneByOne(5)...).run()

		stopped := len(srv.Requests()) == 1
		assert.Equal(t, stopped, strings.Contains(got.stderr, "asks to be left alone"), "%d: %s", status, got.stderr)
	}
}

func TestABatchThatIsTooLargeIsHalved(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(20)...)
	srv.LimitIDs(3)
	journal := newJournal(t)

	got := cleanup(t, srv.URL, append([]string{"--yes", "--journal", journal}, numbered(20)...)...).run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Empty(t, srv.Conversations())
}
