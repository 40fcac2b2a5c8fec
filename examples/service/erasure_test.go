package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestErasureReportsTheFateOfEachID(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		api.AddConversations("conv-1", "conv-2", "conv-3")
		s.baseURL = api.URL
		url, _ := startService(t, s)
		location := ask(t, url, "conv-2", "conv-9", "conv-1", "conv-2")
		e := waitFor(t, url+location, done)

		assert.Equal(t, map[string][]string{
			deleted: {"conv-1", "conv-2"}, notListed: {"conv-9"},
			gone: {}, stillThere: {}, unconfirmed: {}, pending: {},
		}, e.Conversations)
		assert.Equal(t, "alice", e.Account)
		assert.Equal(t, []string{"conv-3"}, api.Conversations())
	})
}

func TestIDsAreDeletedToTheLetter(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		ids := []string{"Ünï", "a\u2028b", "a ", "a", "\U0001f600", "<&>\"\\'", "%s$1", "\ufffd"}
		api := memoryplugintest.NewServer(t)
		api.AddConversations(ids...)
		s.baseURL = api.URL
		url, _ := startService(t, s)
		e := waitFor(t, url+ask(t, url, ids...), done)

		assert.ElementsMatch(t, ids, e.Conversations[deleted])
	})
}

func TestLostReplyIsGoneAndNeverNotListed(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		ids := numbered("conv", 150)
		api := memoryplugintest.NewServer(t)
		api.AddConversations(ids...)
		api.FailNext(memoryplugintest.Fault{Applied: true, Drop: true})
		s.baseURL = api.URL
		url, _ := startService(t, s)
		e := waitFor(t, url+ask(t, url, append(ids, "missing")...), done)

		assert.NotEmpty(t, e.Conversations[gone])
		requireTruth(t, e, append(ids, "missing"), ids, api.Conversations())
	})
}

// Once in doubt, an id stays there although a later run gets a clean answer.
func TestDoubtOutlivesTheRunThatRaisedIt(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		api.AddConversations("conv-1")
		// A Retry-After ends the run, after a request whose outcome is unknown.
		api.FailNext(memoryplugintest.Fault{Applied: true, Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}})
		s.baseURL = api.URL
		url, _ := startService(t, s)
		location := ask(t, url, "conv-1", "missing")
		e := waitFor(t, url+location, waiting)
		assert.Equal(t, []string{"conv-1", "missing"}, e.Conversations[unconfirmed])
		assert.Contains(t, e.Reason, "503")

		e = waitFor(t, url+location, done)

		assert.Equal(t, []string{"conv-1", "missing"}, e.Conversations[gone])
		assert.Empty(t, e.Conversations[notListed])
	})
}

func TestIDThatTheServerKeepsIsStillThere(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		api.AddConversations("conv-1")
		deletions := 0
		api.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
			if r.Method != http.MethodDelete {
				return memoryplugintest.Fault{}
			}
			if deletions++; deletions == 1 {
				return memoryplugintest.Fault{Drop: true}
			}
			return memoryplugintest.Fault{Status: http.StatusOK, Body: `{"deleted":[],"count":0}`}
		})
		s.baseURL = api.URL
		url, _ := startService(t, s)
		e := waitFor(t, url+ask(t, url, "conv-1"), done)

		assert.Equal(t, []string{"conv-1"}, e.Conversations[stillThere])
	})
}

func TestRetryAfterSnoozesTheJob(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	api.AddConversations("conv-1")
	api.FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}})
	s := testSettings(t, "")
	s.baseURL, s.jobTimeout = api.URL, time.Minute
	url, _ := startService(t, s)
	begin := time.Now()

	location := ask(t, url, "conv-1")
	assert.Contains(t, waitFor(t, url+location, waiting).Reason, "429")
	e := waitFor(t, url+location, done)

	assert.GreaterOrEqual(t, time.Since(begin), 2*time.Second)
	assert.Equal(t, []string{"conv-1"}, e.Conversations[deleted])
	assert.Len(t, api.Requests(), 2)
}

func TestRetryAfterIsObeyedWhateverFailedBefore(t *testing.T) {
	t.Parallel()
	w := &worker{settings: settings{keyWait: time.Minute}, stop: t.Context()}
	api := memoryplugintest.NewServer(t)
	api.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		switch len(api.Requests()) {
		case 1:
			return memoryplugintest.Fault{Status: http.StatusBadRequest}
		case 2:
			return memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}}
		}
		return memoryplugintest.Fault{Delay: 200 * time.Millisecond, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}
	})
	db, id := newErasure(t, testSettings(t, ""), numbered("conv", 300)...)
	w.store, w.jobTimeout, w.client = db, time.Minute, api.Client(memoryplugin.WithMaxRetryAfter(0))
	r, err := db.claim(t.Context(), id)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), w.jobTimeout)
	defer cancel()
	stopped, stop := context.WithCancel(t.Context())

	err = w.send(ctx, r, w.client)
	stop()
	w.stop = stopped // A shutdown changes nothing about it.
	state, _, wait := w.next(err, 1)

	assert.Equal(t, waiting, state)
	assert.Equal(t, time.Hour, wait)
}

func TestNothingIsSentInTheSecondHalfOfAJobsTime(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	db, id := newErasure(t, testSettings(t, ""), "conv-1")
	r, err := db.claim(t.Context(), id)
	require.NoError(t, err)
	w := &worker{settings: settings{jobTimeout: time.Hour}, store: db, stop: t.Context()}
	ctx, cancel := context.WithTimeout(t.Context(), w.jobTimeout/3) // The vault took its time.
	defer cancel()

	err = w.send(ctx, r, api.Client())

	require.ErrorIs(t, err, memoryplugin.ErrStopped)
	assert.Empty(t, api.Requests())
}

// It is answered, but leaves out what was in doubt before.
func TestShutdownLeavesWhatIsInDoubtForTheNextRun(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		db, id := newErasure(t, s, "conv-1")
		crashed, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, crashed.note(t.Context(), []string{"conv-1"}))
		stopped, stop := context.WithCancel(t.Context())
		api := memoryplugintest.NewServer(t)
		api.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
			stop()
			return memoryplugintest.Fault{Status: http.StatusOK, Body: `{"deleted":[],"count":0}`}
		})
		s.jobTimeout = time.Minute
		w := &worker{settings: s, store: db, client: api.Client(), stop: stopped}
		ctx, cancel := context.WithTimeout(t.Context(), s.jobTimeout)
		defer cancel()

		err = w.Work(ctx, &river.Job[eraseArgs]{JobRow: &rivertype.JobRow{}, Args: eraseArgs{Erasure: id}})

		require.ErrorAs(t, err, new(*river.JobSnoozeError))
		e, err := db.find(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, queued, e.State)
		assert.Equal(t, []string{"conv-1"}, e.Conversations[unconfirmed])
	})
}

func TestRefusedKeyWaitsUntilItIsRotated(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	api.AddConversations("conv-1")
	s := testSettings(t, "")
	s.baseURL = api.URL
	url, _ := startService(t, s)

	t.Run("refused by the server", func(t *testing.T) {
		api.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
			return memoryplugintest.Fault{Status: http.StatusUnauthorized, Body: `{"error":"` + r.Header.Get("Authorization") + `"}`}
		})
		location := ask(t, url, "conv-1")
		e := waitFor(t, url+location, waiting)
		assert.Contains(t, e.Reason, "401")
		assert.NotContains(t, e.Reason, memoryplugintest.APIKey)
		assert.Equal(t, []string{"conv-1"}, e.Conversations[pending])

		api.FailFunc(nil)

		assert.Equal(t, []string{"conv-1"}, waitFor(t, url+location, done).Conversations[deleted])
	})
	t.Run("missing in the vault", func(t *testing.T) {
		r, err := post(url, "", erasureBody("bob", "conv-2"))
		require.NoError(t, err)
		assert.Contains(t, waitFor(t, url+r.location, waiting).Reason, "no usable API key")

		writeKeys(t, s, "bob")

		waitFor(t, url+r.location, done)
	})
}

func TestOutageIsWaitedOut(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	api.AddConversations("conv-1")
	api.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		return memoryplugintest.Fault{Status: http.StatusServiceUnavailable}
	})
	s := testSettings(t, "")
	s.baseURL, s.jobTimeout = api.URL, time.Minute
	url, _ := startService(t, s)
	location := ask(t, url, "conv-1")
	assert.Contains(t, waitFor(t, url+location, waiting).Reason, "503")

	api.FailFunc(nil)

	assert.Equal(t, []string{"conv-1"}, waitFor(t, url+location, done).Conversations[deleted])
	assert.Zero(t, failuresInTheQueue(t, s), "they would add up in a long outage")
}

// failuresInTheQueue counts the errors that River keeps in the rows of jobs.
func failuresInTheQueue(t *testing.T, s settings) (n int) {
	t.Helper()
	db, err := openDatabase(t.Context(), s.databaseURL, s.sqlite)
	require.NoError(t, err)
	defer db.close()
	row := db.QueryRowContext(t.Context(), "SELECT COALESCE(SUM(json_array_length(errors)), 0) FROM river_job")
	require.NoError(t, row.Scan(&n))
	return n
}

func TestWaitAfterARun(t *testing.T) {
	t.Parallel()
	reply := func(status int, after time.Duration) error {
		return &memoryplugin.ErrorResponse{StatusCode: status, RetryAfter: after}
	}
	w := &worker{settings: settings{keyWait: time.Minute}, stop: t.Context()}
	for name, test := range map[string]struct {
		err   error
		run   int64
		state string
		wait  time.Duration
	}{
		"nothing failed":            {nil, 7, done, 0},
		"no time left":              {memoryplugin.ErrStopped, 7, queued, 0},
		"failed, then no time left": {errors.Join(reply(503, 0), memoryplugin.ErrStopped), 1, waiting, time.Second},
		"no key":                    {fmt.Errorf("%w: the vault is closed", errNoKey), 7, waiting, time.Minute},
		"the database failed":       {errors.New("no such table"), 1, waiting, time.Second},
		"key refused":               {reply(401, 0), 7, waiting, time.Minute},
		"Retry-After":               {reply(429, 5*time.Second), 7, waiting, 5 * time.Second},
		"long Retry-After":          {reply(429, 24*time.Hour), 7, waiting, time.Hour},
		"first failure":             {reply(503, 0), 1, waiting, time.Second},
		"fourth failure":            {reply(503, 0), 4, waiting, 8 * time.Second},
		"many failures":             {reply(503, 0), 1_000_000, waiting, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			state, reason, wait := w.next(test.err, test.run)

			assert.Equal(t, test.state, state)
			assert.Equal(t, test.state == waiting, reason != "")
			assert.NotRegexp(t, "vault|table", reason)
			assert.Equal(t, test.wait, wait)
		})
	}
}

func TestJobThatRiverRetriesWaitsTenMinutesAtMost(t *testing.T) {
	t.Parallel()
	for attempt, wait := range map[int]time.Duration{1: time.Second, 4: 8 * time.Second, 30_000: 10 * time.Minute} {
		next := (&worker{}).NextRetry(&river.Job[eraseArgs]{JobRow: &rivertype.JobRow{Attempt: attempt}})

		assert.WithinDuration(t, time.Now().Add(wait), next, time.Second/2)
	}
}

func TestJobIsTriedForHalfAYear(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		url, _ := startService(t, s)
		ask(t, url, "conv-1")
		db, err := openDatabase(t.Context(), s.databaseURL, s.sqlite)
		require.NoError(t, err)
		defer db.close()
		var attempts int

		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT max_attempts FROM river_job").Scan(&attempts))

		assert.Greater(t, time.Duration(attempts)*backoff(1000), 180*24*time.Hour)
	})
}

func TestRefusedIDsKeepNoOthersBack(t *testing.T) {
	t.Parallel()
	ids := numbered("conv", 300)
	bad := append(slices.Clone(ids[:12]), ids[150], ids[250])
	for name, refusal := range map[string]memoryplugintest.Fault{
		"refused":          {Status: http.StatusBadRequest, Body: `{"error":"one is locked"}`},
		"failed each time": {Status: http.StatusInternalServerError, Body: `{"error":"one is locked"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := memoryplugintest.NewServer(t)
			api.AddConversations(ids...)
			api.FailNext(memoryplugintest.Fault{Applied: true, Drop: true})
			api.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
				if slices.ContainsFunc(r.IDs, func(id string) bool { return slices.Contains(bad, id) }) {
					return refusal
				}
				return memoryplugintest.Fault{}
			})
			s := testSettings(t, "")
			s.baseURL, s.jobTimeout = api.URL, time.Minute
			url, _ := startService(t, s)
			location := ask(t, url, ids...)

			var e erasure
			isBad := set(bad)
			require.Eventually(t, func() bool {
				e = get(t, url+location)
				open := slices.Concat(e.Conversations[pending], e.Conversations[unconfirmed])
				return e.State == waiting && !slices.ContainsFunc(open, func(id string) bool { return !isBad[id] })
			}, patience, 50*time.Millisecond)

			assert.Empty(t, slices.Concat(e.Conversations[notListed], e.Conversations[stillThere]))
			assert.Contains(t, e.Reason, "is locked")
		})
	}
}

// Its deletion was in doubt, but no answer has left it out yet.
func TestIDThatWasOnlyRefusedIsSentAgain(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		api.AddConversations("conv-1")
		api.FailNext(memoryplugintest.Fault{Drop: true}, memoryplugintest.Fault{Status: http.StatusForbidden})
		s.baseURL = api.URL
		url, _ := startService(t, s)

		e := waitFor(t, url+ask(t, url, "conv-1"), done)

		assert.Equal(t, []string{"conv-1"}, e.Conversations[deleted])
	})
}

// Sending alone takes longer than a job may send.
func TestWhatIsInDoubtIsVerifiedHoweverSlowlyItIsSent(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		ids := numbered("missing", 600)
		db, id := newErasure(t, s, ids...)
		crashed, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, crashed.note(t.Context(), ids))
		api := memoryplugintest.NewServer(t)
		api.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
			if r.Method != http.MethodDelete {
				return memoryplugintest.Fault{}
			}
			return memoryplugintest.Fault{Delay: 1200 * time.Millisecond}
		})
		s.baseURL, s.jobTimeout = api.URL, 4*time.Second
		url, _ := startService(t, s)

		again, err := post(url, "key", erasureBody("alice", ids...))

		require.NoError(t, err)
		require.Equal(t, "/erasures/"+id, again.location)
		assert.Len(t, waitFor(t, url+again.location, done).Conversations[gone], len(ids))
	})
}

func TestListThatTakesTooLongIsAReasonToWait(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	api.AddConversations("conv-1")
	api.FailNext(memoryplugintest.Fault{Drop: true}, memoryplugintest.Fault{Status: http.StatusForbidden})
	api.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if r.Method == http.MethodDelete {
			return memoryplugintest.Fault{Status: http.StatusForbidden}
		}
		return memoryplugintest.Fault{Delay: 2 * time.Second}
	})
	s := testSettings(t, "")
	s.baseURL, s.jobTimeout = api.URL, 2*time.Second
	url, _ := startService(t, s)

	e := waitFor(t, url+ask(t, url, "conv-1"), waiting)

	assert.Contains(t, e.Reason, "verify")
	assert.Equal(t, []string{"conv-1"}, e.Conversations[unconfirmed])
}

func TestEachAccountHasItsOwnKey(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	sent := make(chan string, 10)
	api.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		sent <- r.Header.Get("Authorization") + " " + strings.Join(r.IDs, ",")
		return memoryplugintest.Fault{Status: http.StatusOK, Body: `{"deleted":[],"count":0}`}
	})
	s := testSettings(t, "")
	s.baseURL = api.URL
	s.vault = func(_ context.Context, account string) (string, error) { return "key-of-" + account, nil }
	url, _ := startService(t, s)

	for _, account := range []string{"alice", "bob", "alice"} {
		r, err := post(url, "", erasureBody(account, "conv-of-"+account))

		require.NoError(t, err)
		waitFor(t, url+r.location, done)
		assert.Equal(t, "Bearer key-of-"+account+" conv-of-"+account, <-sent)
	}
}

func TestNothingMoreIsSentIfItCannotBeRecorded(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	s := testSettings(t, "")
	db, id := newErasure(t, s, numbered("conv", 3000)...)
	r, err := db.claim(t.Context(), id)
	require.NoError(t, err)
	api.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		_, err := db.ExecContext(t.Context(), "UPDATE erasures SET run = run + 1")
		assert.NoError(t, err)
		return memoryplugintest.Fault{}
	})
	w := &worker{settings: settings{jobTimeout: time.Minute}, store: db, stop: t.Context()}
	ctx, cancel := context.WithTimeout(t.Context(), w.jobTimeout)
	defer cancel()

	err = w.send(ctx, r, api.Client())

	require.ErrorIs(t, err, errNotOwned)
	assert.Less(t, len(api.Requests()), 20, "of 30")
}

func TestErasureWhoseJobIsLostIsWokenByTheSameRequest(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		api.AddConversations("conv-1")
		s.baseURL = api.URL
		writeKeys(t, s, "nobody") // So that it waits.
		url, _ := startService(t, s)
		first, err := post(url, "key", erasureBody("alice", "conv-1"))
		require.NoError(t, err)
		waitFor(t, url+first.location, waiting)
		db, err := openDatabase(t.Context(), s.databaseURL, s.sqlite)
		require.NoError(t, err)
		defer db.close()
		require.Eventually(t, func() bool {
			result, err := db.ExecContext(t.Context(), "DELETE FROM river_job WHERE state <> 'running'")
			require.NoError(t, err)
			removed, err := result.RowsAffected()
			return err == nil && removed == 1
		}, patience, 10*time.Millisecond)
		writeKeys(t, s, "alice")

		again, err := post(url, "key", erasureBody("alice", "conv-1"))

		require.NoError(t, err)
		assert.Equal(t, first, again)
		assert.Equal(t, []string{"conv-1"}, waitFor(t, url+first.location, done).Conversations[deleted])
	})
}

// It takes more than one job's time, so it is done in several runs.
func TestLongErasureTakesSeveralRuns(t *testing.T) {
	t.Parallel()
	ids := numbered("conv", 2000)
	api := memoryplugintest.NewServer(t)
	api.AddConversations(ids...)
	api.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		return memoryplugintest.Fault{Delay: time.Second}
	})
	s := testSettings(t, "")
	s.baseURL, s.jobTimeout = api.URL, 6*time.Second
	url, _ := startService(t, s)

	e := waitFor(t, url+ask(t, url, ids...), done)

	assert.Len(t, e.Conversations[deleted], len(ids), "nothing was cut off by the job's timeout")
	assert.Equal(t, len(ids), sent(api), "nothing was sent twice")
}

// sent counts the ids of all requests.
func sent(api *memoryplugintest.Server) (n int) {
	for _, r := range api.Requests() {
		n += len(r.IDs)
	}
	return n
}

func TestShutdownAwaitsWhatIsOnTheWire(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		ids := numbered("conv", 800)
		api := memoryplugintest.NewServer(t)
		api.AddConversations(ids...)
		const onTheWire = 4
		arrived, answer := make(chan struct{}, 100), make(chan struct{})
		front := httptest.NewServer(proxy(api, func(m moment) bool {
			if m == afterApplying {
				arrived <- struct{}{}
				<-answer
			}
			return true
		}))
		t.Cleanup(front.Close)
		s.baseURL, s.jobTimeout = front.URL, time.Minute
		s.log = slog.New(slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
			if strings.Contains(string(line), "shutting down") {
				close(answer)
			}
			return len(line), nil
		}), nil))
		url, stop := startService(t, s)
		location := ask(t, url, ids...)
		for range onTheWire {
			<-arrived
		}

		stop()

		assert.Equal(t, onTheWire, len(api.Requests()), "more was sent")
		db, err := openDatabase(t.Context(), s.databaseURL, s.sqlite)
		require.NoError(t, err)
		defer db.close()
		left, err := store{db}.find(t.Context(), path.Base(location))
		require.NoError(t, err)
		assert.Equal(t, queued, left.State)

		s.log = slog.New(slog.DiscardHandler)
		url, _ = startService(t, s)
		e := waitFor(t, url+location, done)
		assert.Len(t, e.Conversations[deleted], len(ids), "a request was cut off")
		assert.Equal(t, len(ids), sent(api), "nothing was sent twice")
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(line []byte) (int, error) { return f(line) }

func TestConcurrentRequestsWithOneKeyAreOneErasure(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		s.baseURL, s.jobTimeout = api.URL, time.Minute
		url, _ := startService(t, s)
		var mu sync.Mutex
		var locations []string
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				r, err := post(url, "one", erasureBody("alice", "conv-1"))
				assert.NoError(t, err)
				assert.Equal(t, http.StatusAccepted, r.status)
				mu.Lock()
				defer mu.Unlock()
				locations = append(locations, r.location)
			})
		}
		group.Wait()

		assert.Len(t, slices.Compact(locations), 1)
		waitFor(t, url+locations[0], done)
		assert.Len(t, api.Requests(), 1)
	})
}

// A run that is overtaken, as by a process that was suspended, shares its job with the newer one.
func TestOvertakenRunDoesNotEndTheJobOfTheNewer(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	api.AddConversations("conv-1")
	s := testSettings(t, "")
	s.baseURL = api.URL
	var asked atomic.Int64
	older, began, newer := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.vault = func(context.Context, string) (string, error) {
		switch asked.Add(1) {
		case 1:
			<-older
		case 2:
			close(began)
			<-newer
			return "", errors.New("not yet")
		}
		return memoryplugintest.APIKey, nil
	}
	url, _ := startService(t, s)
	location := ask(t, url, "conv-1")
	<-began // It was rescued.
	close(older)

	assert.Never(t, func() bool { return asked.Load() > 2 }, time.Second, 100*time.Millisecond, "until River has what the older run returned")

	close(newer)

	assert.Equal(t, []string{"conv-1"}, waitFor(t, url+location, done).Conversations[deleted])
}
