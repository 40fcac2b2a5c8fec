package memoryplugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// listAndTranscripts is a server with one step for its list, and one for its transcripts.
func listAndTranscripts(list, transcript http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/chats") {
			list(w, r)
		} else {
			transcript(w, r)
		}
	}
}

// listing answers with a list of ids.
func listing(ids ...string) http.HandlerFunc {
	items := make([]string, len(ids))
	for i, id := range ids {
		items[i] = fmt.Sprintf(`{"id":%q}`, id)
	}
	return reply(200, pageOf(items...))
}

var notFound = reply(404, `{"error":"Conversation not found"}`)

// itsTranscript answers with the transcript that is asked for.
func itsTranscript(w http.ResponseWriter, r *http.Request) {
	_ = json.NewEncoder(w).Encode(map[string]any{"id": r.URL.Query().Get("conversationId"), "messages": []any{}})
}

// assertDivided checks what holds for every result of VerifyDeleted.
func assertDivided(t *testing.T, result *memoryplugin.VerifyResult, err error, n int) {
	t.Helper()
	require.NotNil(t, result)
	assert.NotNil(t, result.Gone)
	assert.NotNil(t, result.Present)
	assert.NotNil(t, result.Unknown)
	assert.Equal(t, n, len(result.Gone)+len(result.Present)+len(result.Unknown))
	assert.Equal(t, err == nil, len(result.Unknown) == 0, "unknown %q, error %v", result.Unknown, err)
	assert.NotErrorIs(t, err, memoryplugin.ErrUnconfirmed)
}

func TestADeletionIsVerified(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b", "c")
	srv.FailNext(memoryplugintest.Fault{Applied: true, Drop: true}, memoryplugintest.Fault{Status: 401})
	client := srv.Client()
	deletion, err := client.DeleteConversations(t.Context(), []string{"a", "c"})
	require.ErrorIs(t, err, memoryplugin.ErrUnconfirmed)

	result, err := client.VerifyDeleted(t.Context(), append(deletion.Unconfirmed, "b", "never there"))

	require.NoError(t, err)
	assert.Equal(t, &memoryplugin.VerifyResult{
		Gone: []string{"a", "c", "never there"}, Present: []string{"b"}, Unknown: []string{},
	}, result)
}

func TestVerifyingTakesOneListAndATranscriptOfEachIDThatItLacks(t *testing.T) {
	srv := serve(t, listAndTranscripts(listing("a", "b"), notFound))

	result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), []string{"b", "x", "a", "y"})

	require.NoError(t, err)
	assert.Equal(t, &memoryplugin.VerifyResult{Gone: []string{"x", "y"}, Present: []string{"b", "a"}, Unknown: []string{}}, result)
	requests := srv.received()
	require.Len(t, requests, 3)
	assert.Equal(t, "/api/chat-history/chats?page=1&pageSize=100", requests[0].RequestURI, "all conversations")
	asked := []string{requests[1].RequestURI, requests[2].RequestURI}
	assert.ElementsMatch(t, []string{
		"/api/chat-history/conversation?conversationId=x", "/api/chat-history/conversation?conversationId=y",
	}, asked)
}

// Servers that can't be trusted, each with a and b in the account.
func TestNoIDThatIsThereIsEverGone(t *testing.T) {
	for name, test := range map[string]struct {
		step    http.HandlerFunc
		present []string
		unknown []string
	}{
		"as documented": {listAndTranscripts(listing("a", "b"), itsTranscript), []string{"a", "b"}, nil},
		"a list that hides one": {
			listAndTranscripts(listing("b"), itsTranscript), []string{"a", "b"}, nil,
		},
		"a list that hides all": {listAndTranscripts(listing(), itsTranscript), []string{"a", "b"}, nil},
		"a gateway that answers 404 for every transcript": {
			listAndTranscripts(listing("a", "b"), reply(404, `{"error":"no route"}`)), []string{"a", "b"}, nil,
		},
		"a gateway that answers 404 for everything": {reply(404, `{"error":"no route"}`), nil, []string{"a", "b"}},
		"a captive portal":                          {reply(200, `<html>Sign in</html>`), nil, []string{"a", "b"}},
		"a captive portal that redirects":           {reply(302, ``, "Location", "http://portal/"), nil, []string{"a", "b"}},
		"a captive portal, once listed":             {listAndTranscripts(listing("b"), reply(200, `<html>Sign in</html>`)), []string{"b"}, []string{"a"}},
		"a captive portal that speaks JSON":         {reply(200, `{}`), nil, []string{"a", "b"}},
		"a cache with another transcript": {
			listAndTranscripts(listing(), reply(200, `{"id":"c","messages":[]}`)), nil, []string{"a", "b"},
		},
		"a cache with another list": {
			listAndTranscripts(reply(200, `{"id":"c","messages":[]}`), notFound), nil, []string{"a", "b"},
		},
		"a total that is a lie":         {listAndTranscripts(reply(200, `{"items":[],"total":2}`), notFound), nil, []string{"a", "b"}},
		"a list without its items":      {listAndTranscripts(reply(200, `{"total":0}`), notFound), nil, []string{"a", "b"}},
		"a transcript without an id":    {listAndTranscripts(listing(), reply(200, `{"messages":[]}`)), nil, []string{"a", "b"}},
		"an error with a 200":           {listAndTranscripts(listing(), reply(200, `{"error":"Conversation not found"}`)), nil, []string{"a", "b"}},
		"an empty 204":                  {listAndTranscripts(listing(), reply(204, ``)), nil, []string{"a", "b"}},
		"a 410":                         {listAndTranscripts(listing(), reply(410, `{"error":"gone"}`)), nil, []string{"a", "b"}},
		"a 403":                         {listAndTranscripts(listing(), reply(403, `{"error":"no"}`)), nil, []string{"a", "b"}},
		"an outage":                     {reply(503, ``), nil, []string{"a", "b"}},
		"an outage once listed":         {listAndTranscripts(listing(), reply(503, ``)), nil, []string{"a", "b"}},
		"lost replies once listed":      {listAndTranscripts(listing(), drop), nil, []string{"a", "b"}},
		"a revoked key":                 {reply(401, `{"error":"revoked"}`), nil, []string{"a", "b"}},
		"a key revoked once listed":     {listAndTranscripts(listing(), reply(401, `{"error":"revoked"}`)), nil, []string{"a", "b"}},
		"a limit that outlasts us":      {reply(429, ``, "Retry-After", "3600"), nil, []string{"a", "b"}},
		"a limit that outlasts us then": {listAndTranscripts(listing("b"), reply(429, ``, "Retry-After", "3600")), []string{"b"}, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, test.step)

			result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), []string{"a", "b"})

			assertDivided(t, result, err, 2)
			assert.Empty(t, result.Gone)
			assert.Equal(t, append([]string{}, test.present...), result.Present)
			assert.Equal(t, append([]string{}, test.unknown...), result.Unknown)
		})
	}
}

func TestA404ThatIsNotTheAPIsOwnMakesNoIDGone(t *testing.T) {
	for name, step := range strangeNotFounds {
		t.Run(name, func(t *testing.T) {
			everything := serve(t, step)
			transcripts := serve(t, listAndTranscripts(listing(), step))
			for _, srv := range []*script{everything, transcripts} {
				result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), []string{"a", "b"})

				assertDivided(t, result, err, 2)
				assert.Equal(t, []string{"a", "b"}, result.Unknown)
				assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
				assert.NotErrorIs(t, err, memoryplugin.ErrNotFound)
				hasReply(t, 404, err)
			}
		})
	}
}

func TestAWrongBaseURLMakesNoIDGone(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	for name, url := range map[string]string{"another path": srv.URL + "/v2", "nobody listens": "http://" + closedPort(t)} {
		t.Run(name, func(t *testing.T) {
			result, err := srv.Client(memoryplugin.WithBaseURL(url)).VerifyDeleted(t.Context(), []string{"a"})

			assertDivided(t, result, err, 1)
			assert.Equal(t, []string{"a"}, result.Unknown)
		})
	}
}

func TestAKeyThatTheServerDoesNotKnowMakesNoIDGone(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	other, err := srv.Client().WithAPIKey("another")
	require.NoError(t, err)

	result, err := other.VerifyDeleted(t.Context(), []string{"a", "b"})

	assertDivided(t, result, err, 2)
	assert.Equal(t, []string{"a", "b"}, result.Unknown)
	assert.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	assert.Len(t, srv.Requests(), 1)
}

func TestAnIDThatFailsByItselfDoesNotLeaveTheOthersUnknown(t *testing.T) {
	srv := serve(t, listAndTranscripts(listing("listed"), func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("conversationId") {
		case "hidden":
			itsTranscript(w, r)
		case "forbidden":
			reply(403, `{"error":"no"}`, "X-Request-Id", "req_1")(w, r)
		default:
			notFound(w, r)
		}
	}))

	result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), []string{"z", "forbidden", "listed", "hidden", "y"})

	assertDivided(t, result, err, 5)
	assert.Equal(t, &memoryplugin.VerifyResult{
		Gone: []string{"z", "y"}, Present: []string{"listed", "hidden"}, Unknown: []string{"forbidden"},
	}, result)
	assert.EqualError(t, err, `memoryplugin: verify deleted: 1 of 5 unknown: get transcript: 403 Forbidden: "no" (1 attempt, request id "req_1")`)
	assert.ErrorIs(t, err, memoryplugin.ErrForbidden)
	hasReply(t, 403, err)
}

func TestTheListsOfAVerificationKeepTheOrderOfTheIDs(t *testing.T) {
	ids := numberedIDs(300)
	var there []string
	for i := 0; i < len(ids); i += 3 {
		there = append(there, ids[i])
	}
	srv := serve(t, listAndTranscripts(func(w http.ResponseWriter, r *http.Request) { listing(there[1:]...)(w, r) },
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("conversationId") == there[0] {
				itsTranscript(w, r)
			} else {
				notFound(w, r)
			}
		}))

	result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), ids)

	require.NoError(t, err)
	assertDivided(t, result, err, 300)
	assert.Equal(t, there, result.Present)
	assert.IsIncreasing(t, result.Gone)
}

func TestADuplicateIsVerifiedAndReportedOnce(t *testing.T) {
	srv := serve(t, listAndTranscripts(listing("there"), notFound))

	result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), []string{"x", "there", "x", "there", "x"})

	require.NoError(t, err)
	assert.Equal(t, &memoryplugin.VerifyResult{Gone: []string{"x"}, Present: []string{"there"}, Unknown: []string{}}, result)
	assert.Len(t, srv.received(), 2)
}

func TestAVerificationThatCannotBeMadeIsRefusedBeforeAnythingIsSent(t *testing.T) {
	srv := serve(t, listAndTranscripts(listing(), notFound))
	client := newClient(t, srv.URL)
	for name, test := range map[string]struct {
		client *memoryplugin.Client
		ctx    context.Context
		ids    []string
		text   string
	}{
		"empty id":    {client, t.Context(), []string{"a", ""}, "ids[1]"},
		"blank id":    {client, t.Context(), []string{" ", "a"}, "ids[0]"},
		"no UTF-8":    {client, t.Context(), []string{"a", "\xff"}, "ids[1]"},
		"nil context": {client, nil, []string{"a", "b"}, "the context is nil"},
		"zero Client": {&memoryplugin.Client{}, t.Context(), []string{"a", "b"}, "not made by NewClient"},
		"nil Client":  {nil, t.Context(), []string{"a", "b"}, "not made by NewClient"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := test.client.VerifyDeleted(test.ctx, test.ids)

			assertDivided(t, result, err, 2)
			assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, "verify deleted")
			assert.ErrorContains(t, err, test.text)
			assert.Equal(t, test.ids, result.Unknown)
		})
	}
	assert.Empty(t, srv.received())
}

func TestNoIDsAreVerifiedWithoutARequest(t *testing.T) {
	srv := serve(t, listAndTranscripts(listing(), notFound))
	for name, ids := range map[string][]string{"nil": nil, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), ids)

			require.NoError(t, err)
			assertDivided(t, result, err, 0)
		})
	}
	assert.Empty(t, srv.received())
}

func TestAVerificationIsJSONWithoutNulls(t *testing.T) {
	text, err := json.Marshal(func() *memoryplugin.VerifyResult {
		srv := serve(t, listAndTranscripts(listing("b"), notFound))
		result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), []string{"a"})
		require.NoError(t, err)
		return result
	}())

	require.NoError(t, err)
	assert.JSONEq(t, `{"gone":["a"],"present":[],"unknown":[]}`, string(text))
}

func TestAFailureThatMayPassDoesNotEndAVerification(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("b")
	srv.FailNext(
		memoryplugintest.Fault{Status: 503}, memoryplugintest.Fault{},
		memoryplugintest.Fault{Drop: true}, memoryplugintest.Fault{Status: 500, CutReply: true}, memoryplugintest.Fault{Status: 429},
	)

	result, err := srv.Client().VerifyDeleted(t.Context(), []string{"a", "b", "c"})

	require.NoError(t, err)
	assert.Equal(t, &memoryplugin.VerifyResult{Gone: []string{"a", "c"}, Present: []string{"b"}, Unknown: []string{}}, result)
}

// At most the five failures in a row, and what is on the wire by then.
const mostFailures = 5 + 3

func TestAnOutageInTheMiddleOfAVerificationEndsIt(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"403": reply(403, `{"error":"no"}`), "503": reply(503, ``), "lost": drop, "HTML": reply(200, `<html>`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				m := remember(listAndTranscripts(listing("conv-00999"), func(w http.ResponseWriter, r *http.Request) {
					<-time.After(time.Second)
					if asked.Add(1) <= 20 {
						notFound(w, r)
					} else {
						step(w, r)
					}
				}))

				result, err := once(t, m).VerifyDeleted(t.Context(), numberedIDs(1000))

				assertDivided(t, result, err, 1000)
				assert.Equal(t, numberedIDs(20), result.Gone)
				assert.Equal(t, []string{"conv-00999"}, result.Present)
				assert.LessOrEqual(t, asked.Load(), int32(20+mostFailures))
			})
		})
	}
}

// Every fourth transcript is refused, so five in a row never fail.
func TestAReplyThatIsForAllReadsEndsAVerification(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"401":                    reply(401, `{"error":"no"}`),
		"429 with a Retry-After": reply(429, `{"error":"no"}`, "Retry-After", "3600"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				m := remember(listAndTranscripts(listing(), func(w http.ResponseWriter, r *http.Request) {
					<-time.After(time.Second)
					switch n := asked.Add(1); {
					case n == 1:
						reply(400, `{"error":"this one"}`)(w, r)
					case n%4 == 0:
						step(w, r)
					default:
						notFound(w, r)
					}
				}))

				result, err := once(t, m).VerifyDeleted(t.Context(), numberedIDs(1000))

				assertDivided(t, result, err, 1000)
				assert.LessOrEqual(t, asked.Load(), int32(4+3), "what was on the wire")
				assert.ErrorContains(t, err, name[:3])
			})
		})
	}
}

func TestAnOutageCostsAVerificationFewRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := remember(listAndTranscripts(listing(), reply(503, ``)))

		result, err := m.client(t).VerifyDeleted(t.Context(), numberedIDs(1000))

		assertDivided(t, result, err, 1000)
		assert.Equal(t, numberedIDs(1000), result.Unknown)
		assert.LessOrEqual(t, len(m.arrived()), 1+5*mostFailures)
		hasReply(t, 503, err)
	})
}

// Every second, two of four fail, in any order: never five in a row.
func TestFailuresThatAreNotInARowDoNotEndAVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		m := remember(listAndTranscripts(listing(), func(w http.ResponseWriter, r *http.Request) {
			step := notFound
			if asked.Add(1)%2 == 0 {
				step = reply(403, ``)
			}
			slow(time.Second, step)(w, r)
		}))

		result, err := once(t, m).VerifyDeleted(t.Context(), numberedIDs(100))

		assertDivided(t, result, err, 100)
		assert.Len(t, result.Gone, 50)
		assert.EqualValues(t, 100, asked.Load())
	})
}

func TestAContextThatEndsEndsAVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := remember(listAndTranscripts(listing("conv-00999"), slow(time.Second, notFound)))
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(2500*time.Millisecond, func() { cancel(errOperator) })

		result, err := newClient(t, "http://localhost", through(m)).VerifyDeleted(ctx, numberedIDs(1000))

		assertDivided(t, result, err, 1000)
		assert.Equal(t, []string{"conv-00999"}, result.Present)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, errOperator)
		assert.LessOrEqual(t, len(m.arrived()), 1+3*4)
	})
}

func TestAVerificationAsksForFourTranscriptsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := remember(listAndTranscripts(listing(), slow(time.Second, notFound)))

		_, err := m.client(t).VerifyDeleted(t.Context(), numberedIDs(10))

		require.NoError(t, err)
		s := time.Second
		assert.Equal(t, []time.Duration{0, 0, 0, 0, 0, s, s, s, s, 2 * s, 2 * s}, m.arrived())
	})
}

// howVerifyEnded verifies over a transport that fails at the n-th transcript.
func howVerifyEnded(t *testing.T, fault func()) (how howItEnded, sent int32) {
	t.Helper()
	var asked, running atomic.Int32
	client := newClient(t, "http://localhost", through(transport(func(r *http.Request) (*http.Response, error) {
		running.Add(1)
		defer running.Add(-1)
		if strings.HasSuffix(r.URL.Path, "/chats") {
			return remember(listing()).RoundTrip(r)
		}
		n := asked.Add(1)
		<-time.After(time.Second)
		if n == 6 {
			fault()
		}
		return remember(notFound).RoundTrip(r)
	})))
	ended := make(chan howItEnded)
	go func() {
		var how howItEnded
		defer func() {
			how.panicked, how.running = recover(), running.Load()
			ended <- how
		}()
		_, _ = client.VerifyDeleted(t.Context(), numberedIDs(100))
		how.returned = true
	}()
	return <-ended, asked.Load()
}

func TestAPanicInATransportReachesTheCallerOfAVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		how, sent := howVerifyEnded(t, func() { panic("broken") })

		assert.Equal(t, howItEnded{panicked: "broken"}, how, "with nothing left on the wire")
		assert.LessOrEqual(t, sent, int32(12), "nothing more is sent")
	})
}

// As a failed require does.
func TestGoexitInATransportEndsTheCallerOfAVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		how, sent := howVerifyEnded(t, runtime.Goexit)

		assert.Equal(t, howItEnded{}, how, "with nothing left on the wire")
		assert.LessOrEqual(t, sent, int32(12), "nothing more is sent")
	})
}

// That a conversation is gone is what was asked for.
func TestAnIDThatIsGoneIsNoWarningInTheLog(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	logged, lines := newLog()

	result, err := srv.Client(logged).VerifyDeleted(t.Context(), []string{"a"})

	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, result.Gone)
	for _, line := range lines() {
		assert.Equal(t, "DEBUG", line.Level)
	}
}

func TestA404ThatIsNotTheAPIsOwnIsAWarningInTheLog(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.FailNext(memoryplugintest.Fault{Status: 404, Body: "<html>"})
	logged, lines := newLog()

	_, err := srv.Client(logged).GetTranscript(t.Context(), "a")

	require.Error(t, err)
	assert.Equal(t, "WARN", lines()[1].Level)
}

func TestAVerificationThatStopsSaysSo(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if r.Query.Has("conversationId") {
			return memoryplugintest.Fault{Status: 400}
		}
		return memoryplugintest.Fault{}
	})

	result, err := srv.Client().VerifyDeleted(t.Context(), numberedIDs(50))

	assert.Len(t, result.Unknown, 50)
	assert.ErrorContains(t, err, "stopped after 5 in a row failed")
}
