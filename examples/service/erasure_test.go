package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
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
	api := memoryplugintest.NewServer(t)
	api.AddConversations("conv-1")
	api.FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}})
	s := testSettings(t, "")
	s.baseURL = api.URL
	url, _ := startService(t, s)
	begin := time.Now()
	location := ask(t, url, "conv-1")
	assert.Contains(t, waitFor(t, url+location, waiting).Reason, "429")
	e := waitFor(t, url+location, done)
	assert.GreaterOrEqual(t, time.Since(begin), 2*time.Second)
	assert.Equal(t, []string{"conv-1"}, e.Conversations[deleted])
	assert.Len(t, api.Requests(), 2)
}

func TestRefusedKeyWaitsUntilItIsRotated(t *testing.T) {
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
	api := memoryplugintest.NewServer(t)
	api.AddConversations("conv-1")
	api.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		return memoryplugintest.Fault{Status: http.StatusServiceUnavailable}
	})
	s := testSettings(t, "")
	s.baseURL = api.URL
	url, _ := startService(t, s)
	location := ask(t, url, "conv-1")
	assert.Contains(t, waitFor(t, url+location, waiting).Reason, "503")
	api.FailFunc(nil)
	assert.Equal(t, []string{"conv-1"}, waitFor(t, url+location, done).Conversations[deleted])
}

// It takes more than one job's time, so it is done in several runs.
func TestLongErasureTakesSeveralRuns(t *testing.T) {
	ids := numbered("conv", 5*chunkSize)
	api := memoryplugintest.NewServer(t)
	api.AddConversations(ids...)
	api.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		return memoryplugintest.Fault{Delay: 400 * time.Millisecond}
	})
	s := testSettings(t, "")
	s.baseURL, s.jobTimeout = api.URL, 2*time.Second
	url, _ := startService(t, s)
	e := waitFor(t, url+ask(t, url, ids...), done)
	assert.Len(t, e.Conversations[deleted], len(ids), "nothing was cut off by the job's timeout")
	assert.Len(t, api.Requests(), len(ids)/100)
}

func TestShutdownAwaitsWhatIsOnTheWire(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		ids := numbered("conv", 2*chunkSize)
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

		s.log = slog.New(slog.DiscardHandler)
		url, _ = startService(t, s)
		e := waitFor(t, url+location, done)
		assert.Len(t, e.Conversations[deleted], len(ids), "a request was cut off")
		assert.Len(t, api.Requests(), len(ids)/100)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(line []byte) (int, error) { return f(line) }

func TestConcurrentRequestsWithOneKeyAreOneErasure(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		s.baseURL = api.URL
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
