package backup_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/backup"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestACopyIsTheReplyItselfOnOneLine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ reply, want string }{
		"numbers":              {`{"id":"conv-0","messages":[],"n":[1.0e2,1.0,-0,0.10,12345678901234567890,1E+2]}`, ""},
		"escapes":              {`{"id":"conv-0","messages":[],"t":"\u00e9\/\u003c<&>` + "\u2028" + `\ud83d\ude00"}`, ""},
		"an escaped id":        {`{"id":"conv\u002d0","messages":[]}`, ""},
		"half a pair":          {`{"id":"conv-0","messages":[{"message_index":0,"sender":"user","text":"\ud83d"}],"title":"\ude00 \ud800x"}`, ""},
		"names that are twice": {`{"x":1,"id":"conv-0","messages":[],"x":{"y":1,"y":2}}`, ""},
		"names in any case":    {`{"ID":"b","id":"conv-0","Id":3,"messages":[]}`, ""},
		"the order of names":   {`{"z":1,"messages":[],"id":"conv-0","a":2}`, ""},
		"spaces":               {" {\n  \"id\": \"conv-0\",\t\"messages\": [ ],\r\n \"t\": \" a\\n b \" }\n", `{"id":"conv-0","messages":[],"t":" a\n b "}`},
		"a large one":          {`{"id":"conv-0","messages":[],"t":"` + strings.Repeat("x", 200_000) + `"}`, ""},
		"a deep one":           {`{"id":"conv-0","messages":[],"t":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, 1)
			srv.FailNext(reply(test.reply))
			path := newPath(t)

			outcomes, err := fetch(t, path, settings(srv), conversations(1))

			require.NoError(t, err)
			require.Equal(t, []error{nil}, outcomes)
			want := test.want
			if want == "" {
				want = test.reply
			}
			_, line, _ := strings.Cut(read(t, path), "\n")
			assert.Equal(t, want+"\n", line)
			assert.True(t, open(t, path).HasAny("conv-0"), "it can't be read again")
		})
	}
}

func TestWhatIsNoCopy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault memoryplugintest.Fault
		want  string
	}{
		"fewer messages than its total": {
			reply(`{"id":"conv-0","messages":[{"message_index":0,"sender":"user","text":"x"}],"total":2}`), "the transcript is not whole: it has 1 of 2 messages",
		},
		"no messages, but a list says that there are": {reply(`{"id":"conv-0","messages":[],"total":0}`), "it has 0 of 3 messages"},
		"nothing but an id":                           {reply(`{"id":"conv-0","total":0}`), "it has"},
		"another conversation":                        {reply(`{"id":"conv-1","messages":[],"total":0}`), "another conversation"},
		"no conversation":                             {reply(`{}`), "id"},
		"HTML":                                        {memoryplugintest.Fault{Status: http.StatusOK, Body: "<html>"}, "not a JSON object"},
		"HTML with a 404":                             {memoryplugintest.Fault{Status: http.StatusNotFound, Body: "<html>"}, "404"},
		"a 403":                                       {memoryplugintest.Fault{Status: http.StatusForbidden}, "403"},
		"a torn reply":                                {memoryplugintest.Fault{CutReply: true}, ""},
		"a busy server":                               {memoryplugintest.Fault{Status: http.StatusTooManyRequests}, "429"},
		"no reply":                                    {memoryplugintest.Fault{Drop: true}, ""},
		"a reply that is not whole JSON":              {reply(`{"id":"conv-0","messages":[]`), "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, 2)
			srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault { return test.fault })
			path := newPath(t)
			fetching := settings(srv)
			fetching.Patience.Limit = 0

			all := conversations(1)
			if strings.Contains(name, "a list says") {
				all[0].MessageCount = new(3)
			}
			outcomes, err := fetch(t, path, fetching, all)

			require.NoError(t, err)
			assert.ErrorContains(t, outcomes[0], test.want)
			assert.NotErrorIs(t, outcomes[0], backup.ErrMissing)
			assert.Equal(t, 1, strings.Count(read(t, path), "\n"), "there is a copy")
		})
	}
}

func TestAConversationThatTheServerDoesNotHaveIsMissing(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 1)

	outcomes, err := fetch(t, newPath(t), settings(srv), conversations(2))

	require.NoError(t, err)
	assert.NoError(t, outcomes[0])
	assert.ErrorIs(t, outcomes[1], backup.ErrMissing)
	assert.Len(t, srv.Requests(), 2, "it was asked for again")
}

func TestACopyThatMayBeOlderIsFetchedAgain(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 2)
	old := `{"id":"conv-0","old":true}` + "\n" + `{"id":"conv-1","old":true}` + "\n"
	path := write(t, header+old)
	all := conversations(2)
	all[0].UpdatedAt = begun.Add(-100 * 24 * time.Hour)
	all[1].UpdatedAt = begun.Add(time.Hour)
	copied := 0
	fetching := settings(srv)
	fetching.OnCopy = func() { copied++ }

	outcomes, err := fetch(t, path, fetching, all)

	require.NoError(t, err)
	assert.Equal(t, []error{nil, nil}, outcomes)
	assert.Equal(t, 2, copied)
	content := read(t, path)
	assert.True(t, strings.HasPrefix(content, header+old), "a line was changed")
	assert.Equal(t, 4, strings.Count(content, "\n"))
	assert.Equal(t, 2, strings.Count(content, `"id":"conv-1"`))
}

func TestACopyThatIsTheSameIsNotAppendedTwice(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 2)
	path := newPath(t)
	_, err := fetch(t, path, settings(srv), conversations(2))
	require.NoError(t, err)
	before := read(t, path)

	outcomes, err := fetch(t, path, settings(srv), conversations(2))

	require.NoError(t, err)
	assert.Equal(t, []error{nil, nil}, outcomes)
	assert.Len(t, srv.Requests(), 4)
	assert.Equal(t, before, read(t, path))
}

func TestACopyThatChangedBackIsAppended(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 1)
	path := newPath(t)
	for _, text := range []string{"1", "2", "1"} {
		srv.FailNext(reply(`{"id":"conv-0","messages":[],"t":` + text + `}`))
		_, err := fetch(t, path, settings(srv), conversations(1))
		require.NoError(t, err)
	}

	assert.Equal(t, 4, strings.Count(read(t, path), "\n"), "the last line is the newest copy")
}

func TestAnInterruptedFetchKeepsWhatItHasAndGoesOn(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 20)
	path := newPath(t)
	all := conversations(20)
	for i := range all {
		all[i].UpdatedAt = time.Now().Add(-100 * 24 * time.Hour)
	}
	ctx, cancel := context.WithCancel(t.Context())
	copied := 0
	fetching := settings(srv)
	fetching.OnCopy = func() {
		if copied++; copied == 7 {
			cancel()
		}
	}
	b := open(t, path)

	outcomes, err := b.Fetch(ctx, fetching, all)

	assert.ErrorIs(t, err, context.Canceled)
	require.NoError(t, b.Close())
	done := map[string]bool{}
	for i, outcome := range outcomes {
		if outcome == nil {
			done[all[i].ID] = true
		}
	}
	assert.Len(t, done, copied)
	assert.Equal(t, 1+copied, strings.Count(read(t, path), "\n"))
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		assert.NotContains(t, done, r.Query.Get("conversationId"), "it is fetched again")
		return memoryplugintest.Fault{}
	})

	outcomes, err = fetch(t, path, settings(srv), all)

	require.NoError(t, err)
	assert.Equal(t, make([]error, 20), outcomes)
	assert.Equal(t, 21, strings.Count(read(t, path), "\n"))
}

func TestOnlySomeAreFetchedAtATime(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 12)
	var now, most atomic.Int32
	arrived := make(chan struct{}, 12)
	leave := make(chan struct{})
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		most.Store(max(most.Load(), now.Add(1)))
		arrived <- struct{}{}
		<-leave
		now.Add(-1)
		return memoryplugintest.Fault{}
	})
	fetching := settings(srv)
	fetching.Concurrency = 3
	ended := make(chan error)
	path := newPath(t)
	go func() {
		_, err := fetch(t, path, fetching, conversations(12))
		ended <- err
	}()

	for range 3 {
		<-arrived
	}
	close(leave)

	require.NoError(t, <-ended)
	assert.EqualValues(t, 3, most.Load())
}

func TestAFailureThatMayPassIsTriedAgain(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 3)
	for range 4 {
		srv.FailNext(memoryplugintest.Fault{Status: http.StatusServiceUnavailable}, memoryplugintest.Fault{Drop: true})
	}
	fetching := settings(srv)
	fetching.Patience.Limit = time.Minute
	waits := 0
	fetching.Patience.OnWait = func(_ time.Time, why error) {
		waits++
		assert.Error(t, why)
	}

	outcomes, err := fetch(t, newPath(t), fetching, conversations(3))

	require.NoError(t, err)
	assert.Equal(t, make([]error, 3), outcomes)
	assert.Positive(t, waits)
}

func TestWhatIsLeftOnceThePatienceIsGoneHasItsReason(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 3)
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if r.Query.Get("conversationId") == "conv-1" {
			return memoryplugintest.Fault{Status: http.StatusServiceUnavailable}
		}
		return memoryplugintest.Fault{}
	})

	outcomes, err := fetch(t, newPath(t), settings(srv), conversations(3))

	require.NoError(t, err)
	assert.NoError(t, outcomes[0])
	assert.ErrorContains(t, outcomes[1], "503")
	assert.NoError(t, outcomes[2])
}

func TestFiveFailuresInARowEndARound(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 100)
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		return memoryplugintest.Fault{Status: http.StatusServiceUnavailable}
	})
	fetching := settings(srv)
	fetching.Concurrency = 1
	fetching.Patience.Limit = 0

	outcomes, err := fetch(t, newPath(t), fetching, conversations(100))

	require.NoError(t, err)
	assert.Len(t, srv.Requests(), 5)
	for i, outcome := range outcomes {
		want := "503"
		if i >= 5 {
			want = "not tried"
		}
		assert.ErrorContains(t, outcome, want)
	}
}

func TestASuccessBetweenFailuresGoesOn(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 40)
	n := 0
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		if n++; n%5 == 0 {
			return memoryplugintest.Fault{}
		}
		return memoryplugintest.Fault{Status: http.StatusForbidden}
	})
	fetching := settings(srv)
	fetching.Concurrency = 1

	_, err := fetch(t, newPath(t), fetching, conversations(40))

	require.NoError(t, err)
	assert.Len(t, srv.Requests(), 40)
}

func TestTranscriptsThatAreNotWholeDoNotEndARound(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 10)
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		return reply(fmt.Sprintf(`{"id":%q,"messages":[],"total":1}`, r.Query.Get("conversationId")))
	})
	fetching := settings(srv)
	fetching.Concurrency = 1

	outcomes, err := fetch(t, newPath(t), fetching, conversations(10))

	require.NoError(t, err)
	assert.Len(t, srv.Requests(), 10)
	assert.ErrorContains(t, outcomes[9], "0 of 1 messages")
}

func TestARefusedKeyEndsAtOnce(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 100)
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		return memoryplugintest.Fault{Status: http.StatusUnauthorized}
	})
	fetching := settings(srv)
	fetching.Patience.OnWait = func(time.Time, error) { assert.Fail(t, "it waits") }

	_, err := fetch(t, newPath(t), fetching, conversations(100))

	assert.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	assert.LessOrEqual(t, len(srv.Requests()), 2)
}

func TestABackupThatIsRemovedMeanwhileHasNoCopies(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps the name of a file that is open")
	}
	srv := newServer(t, 3)
	path := newPath(t)
	var once sync.Once
	fetching := settings(srv)
	fetching.OnCopy = func() { once.Do(func() { assert.NoError(t, os.Remove(path)) }) }

	outcomes, err := fetch(t, path, fetching, conversations(3))

	assert.ErrorContains(t, err, "backup.jsonl")
	assert.ErrorContains(t, err, "was removed or replaced during the run")
	for _, outcome := range outcomes {
		assert.ErrorIs(t, outcome, appendfile.ErrLost)
	}
}

func TestNothingToFetchSendsNothing(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 0)

	outcomes, err := fetch(t, newPath(t), settings(srv), nil)

	require.NoError(t, err)
	assert.Empty(t, outcomes)
	assert.Empty(t, srv.Requests())
}

func TestTheSameBackupFetchesWithoutAppendingTwice(t *testing.T) {
	t.Parallel()
	srv := newServer(t, 2)
	path := newPath(t)
	b := open(t, path)
	for range 2 {
		_, err := b.Fetch(t.Context(), settings(srv), conversations(2))
		require.NoError(t, err)
	}

	assert.True(t, b.HasAny("conv-1"))
	assert.Equal(t, 3, strings.Count(read(t, path), "\n"))
}
