package memoryplugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// journal keeps what OnBatch is given.
type journal []journalEntry

type journalEntry struct {
	*memoryplugin.DeleteConversationsResult
	err error
}

func (j *journal) add(result *memoryplugin.DeleteConversationsResult, err error) {
	*j = append(*j, journalEntry{result, err})
}

// lengths returns how many ids each request has.
func lengths(requests [][]string) []int {
	sizes := []int{}
	for _, ids := range requests {
		sizes = append(sizes, len(ids))
	}
	return sizes
}

// takes answers by step after a time, unless the attempt is given up.
func takes(d time.Duration, step batchStep) batchStep {
	return func(w http.ResponseWriter, r *http.Request, ids []string) {
		select {
		case <-time.After(d):
			step(w, r, ids)
		case <-r.Context().Done():
		}
	}
}

// always answers every batch alike.
func always(step http.HandlerFunc) batchStep {
	return func(w http.ResponseWriter, r *http.Request, _ []string) { step(w, r) }
}

// byFirstID answers a batch by what is there for its first id, and confirms all
// others.
func byFirstID(steps map[string]http.HandlerFunc) batchStep {
	return func(w http.ResponseWriter, r *http.Request, ids []string) {
		if step, ok := steps[ids[0]]; ok {
			step(w, r)
			return
		}
		confirmDeleted(w, r, ids)
	}
}

func TestNothingIsSentIfAnArgumentOfABatchRunCannotBeUsed(t *testing.T) {
	srv := serveBatches(t, confirmDeleted)
	client := newClient(t, srv.URL)
	ids := numberedIDs(300)
	blank, damaged := slices.Clone(ids), slices.Clone(ids)
	blank[201], damaged[299] = " \t", "conv-\xff"
	for name, test := range map[string]struct {
		client *memoryplugin.Client
		ctx    context.Context
		ids    []string
		opts   memoryplugin.BatchOptions
		names  string
	}{
		"a blank id":             {client, t.Context(), blank, memoryplugin.BatchOptions{}, "ids[201]"},
		"an id that isn't UTF-8": {client, t.Context(), damaged, memoryplugin.BatchOptions{}, "ids[299]"},
		"a negative size":        {client, t.Context(), ids, memoryplugin.BatchOptions{Size: -1}, "size"},
		"a negative concurrency": {client, t.Context(), ids, memoryplugin.BatchOptions{Concurrency: -1}, "concurrency"},
		"a nil context":          {client, nil, ids, memoryplugin.BatchOptions{}, "context"},
		"a zero Client":          {new(memoryplugin.Client), t.Context(), ids, memoryplugin.BatchOptions{}, "NewClient"},
		"a nil Client":           {nil, t.Context(), ids, memoryplugin.BatchOptions{}, "NewClient"},
	} {
		t.Run(name, func(t *testing.T) {
			test.opts.OnBatch = func(*memoryplugin.DeleteConversationsResult, error) { t.Error("OnBatch was called") }

			result, err := test.client.DeleteConversationsInBatches(test.ctx, test.ids, test.opts)

			assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, test.names)
			assertAccounted(t, result, err, 300)
			assert.Equal(t, test.ids, result.NotDeleted)
			assert.Empty(t, srv.received())
		})
	}
}

func TestABatchRunWithoutIDsIsEmptyAndNoError(t *testing.T) {
	for name, ids := range map[string][]string{"nil": nil, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			srv := serveBatches(t, confirmDeleted)
			opts := memoryplugin.BatchOptions{
				OnBatch: func(*memoryplugin.DeleteConversationsResult, error) { t.Error("OnBatch was called") },
			}

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), ids, opts)

			require.NoError(t, err)
			assertAccounted(t, result, err, 0)
			assert.Empty(t, srv.received())
		})
	}
}

func TestABatchRunChecksItsArgumentsAlsoWithoutIDs(t *testing.T) {
	client := newClient(t, "http://localhost")

	result, err := client.DeleteConversationsInBatches(t.Context(), nil, memoryplugin.BatchOptions{Size: -1})

	assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
	assert.NotNil(t, result)
}

func TestIDsAreDividedIntoRequestsInTheirOrder(t *testing.T) {
	for n, want := range map[int][]int{1: {1}, 3: {3}, 4: {3, 1}, 6: {3, 3}, 10: {3, 3, 3, 1}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			srv := serveBatches(t, confirmDeleted)
			ids := numberedIDs(n)

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), ids,
				memoryplugin.BatchOptions{Size: 3, Concurrency: 1})

			require.NoError(t, err)
			assert.Equal(t, ids, result.Deleted)
			assert.Equal(t, want, lengths(srv.received()))
			assert.Equal(t, ids, slices.Concat(srv.received()...))
		})
	}
}

func TestADuplicateIsSentInOneBatchOnly(t *testing.T) {
	srv := serveBatches(t, confirmDeleted)

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(),
		[]string{"a", "a", "b", "a", "c", "b", "d"}, memoryplugin.BatchOptions{Size: 2, Concurrency: 1})

	require.NoError(t, err)
	assert.Equal(t, [][]string{{"a", "b"}, {"c", "d"}}, srv.received())
	assert.Equal(t, []string{"a", "b", "c", "d"}, result.Deleted)
}

func TestTheCallerMayChangeItsIDsDuringABatchRun(t *testing.T) {
	srv := serveBatches(t, confirmDeleted)
	ids := numberedIDs(6)
	opts := memoryplugin.BatchOptions{Size: 1, Concurrency: 1}
	opts.OnBatch = func(*memoryplugin.DeleteConversationsResult, error) {
		for i := range ids {
			ids[i] = "somebody else's"
		}
	}

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), ids, opts)

	require.NoError(t, err)
	assert.Equal(t, numberedIDs(6), result.Deleted)
	assert.Equal(t, numberedIDs(6), slices.Concat(srv.received()...))
}

func TestAsManyBatchesAreInFlightAsConcurrencySays(t *testing.T) {
	for _, concurrency := range []int{1, 3, 16} {
		t.Run(fmt.Sprint(concurrency), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var inFlight, most atomic.Int32
				srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
					if n := inFlight.Add(1); n > most.Load() {
						most.Store(n)
					}
					<-time.After(time.Second)
					inFlight.Add(-1)
					confirmDeleted(w, r, ids)
				}}
				start := time.Now()

				_, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(48),
					memoryplugin.BatchOptions{Size: 1, Concurrency: concurrency})

				require.NoError(t, err)
				assert.EqualValues(t, concurrency, most.Load())
				// None of them was ever idle.
				assert.Equal(t, time.Duration(48/concurrency)*time.Second, time.Since(start))
			})
		})
	}
}

func TestTheDefaultsAre100IDsAndFourRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: takes(time.Second, confirmDeleted)}
		start := time.Now()

		_, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(2000), memoryplugin.BatchOptions{})

		require.NoError(t, err)
		assert.Equal(t, slices.Repeat([]int{100}, 20), lengths(srv.received()))
		assert.Equal(t, 20/4*time.Second, time.Since(start))
	})
}

func TestBatchesReuseTheirConnections(t *testing.T) {
	const concurrency = 8
	var connections, requests atomic.Int32
	allBusy := make(chan struct{})
	srv := httptest.NewUnstartedServer(&batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
		if requests.Add(1) == concurrency {
			close(allBusy)
		}
		<-allBusy
		confirmDeleted(w, r, ids)
	}})
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)

	_, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(400),
		memoryplugin.BatchOptions{Size: 1, Concurrency: concurrency})

	require.NoError(t, err)
	// A busy machine may lose one now and then.
	assert.LessOrEqual(t, connections.Load(), int32(2*concurrency))
}

// The batches complete from the last one to the first, and no reply keeps the
// order of its request.
func TestTheListsOfARunKeepTheOrderOfTheIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delay := 5 * time.Second
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			batch := slices.Index(numberedIDs(20), ids[0]) / 5
			<-time.After(delay - time.Duration(batch)*time.Second)
			switch {
			case slices.Contains(ids, "conv-00006"):
				reply(403, ``)(w, r)
			case slices.Contains(ids, "conv-00011"):
				reply(500, ``)(w, r)
			default:
				listed := ids[1:]
				slices.Reverse(listed)
				confirmDeleted(w, r, listed)
			}
		}}
		client := newClient(t, "http://localhost", through(srv), memoryplugin.WithMaxRetries(0))
		ids := numberedIDs(20)

		result, err := client.DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{Size: 5})

		assertAccounted(t, result, err, 20)
		assert.Equal(t, slices.Concat(ids[1:5], ids[16:20]), result.Deleted)
		assert.Equal(t, []string{ids[0], ids[15]}, result.NotListed)
		assert.Equal(t, ids[5:10], result.NotDeleted)
		assert.Equal(t, ids[10:15], result.Unconfirmed)
	})
}

func TestCountAndAttemptsOfARunAreSums(t *testing.T) {
	srv := serve(t,
		reply(200, `{"deleted":["a","b"],"count":2}`, "X-Request-Id", "req_1"),
		reply(429, ``),
		reply(200, `{"count":2}`, "X-Request-Id", "req_2"), // Count without a list.
		reply(403, ``),
		reply(200, `{"deleted":[],"count":0}`, "X-Request-Id", "req_3"))

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(),
		[]string{"a", "b", "c", "d", "e", "f", "g", "h"}, memoryplugin.BatchOptions{Size: 2, Concurrency: 1})

	assert.ErrorIs(t, err, memoryplugin.ErrForbidden)
	assert.Equal(t, 4, result.Count)
	assert.Equal(t, 5, result.Attempts)
	assert.Empty(t, result.RequestID, "of more than one batch")
}

func TestARunOfOneBatchIsLikeOneCall(t *testing.T) {
	ids := []string{"a", "b", "c"}
	for name, steps := range map[string][]http.HandlerFunc{
		"answered": {reply(429, ``), reply(200, `{"deleted":["b","a"],"count":2}`, "X-Request-Id", "req_1")},
		"refused":  {reply(403, `{"error":"not yours"}`, "X-Request-Id", "req_2")},
		"unknown":  {reply(503, ``), reply(200, `{"deleted":["b"]}`)},
		"revoked":  {reply(401, `{"error":"revoked"}`)},
		"too long": {reply(429, ``, "Retry-After", "61")},
	} {
		t.Run(name, func(t *testing.T) {
			inOneCall, inBatches := serve(t, steps...), serve(t, steps...)
			var reported journal
			wantResult, wantErr := newClient(t, inOneCall.URL).DeleteConversations(t.Context(), ids)

			result, err := newClient(t, inBatches.URL).DeleteConversationsInBatches(t.Context(), ids,
				memoryplugin.BatchOptions{OnBatch: reported.add})

			assert.Equal(t, wantResult, result)
			assert.Equal(t, fmt.Sprint(wantErr), fmt.Sprint(err))
			require.Len(t, reported, 1)
			assert.Equal(t, wantResult, reported[0].DeleteConversationsResult)
			assert.Equal(t, err, reported[0].err)
		})
	}
}

func TestOnBatchGetsWhatOneCallWouldReturn(t *testing.T) {
	srv := serve(t,
		reply(429, ``),
		reply(200, `{"deleted":["a"],"count":1}`, "X-Request-Id", "req_1"),
		reply(403, `{"error":"no"}`, "X-Request-Id", "req_2"))
	var reported journal

	_, _ = newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), []string{"a", "b", "c"},
		memoryplugin.BatchOptions{Size: 2, Concurrency: 1, OnBatch: reported.add})

	require.Len(t, reported, 2)
	none := []string{}
	assert.Equal(t, &memoryplugin.DeleteConversationsResult{
		Deleted: []string{"a"}, NotListed: []string{"b"}, NotDeleted: none, Unconfirmed: none,
		Count: 1, Attempts: 2, RequestID: "req_1",
	}, reported[0].DeleteConversationsResult)
	assert.NoError(t, reported[0].err)
	assert.Equal(t, &memoryplugin.DeleteConversationsResult{
		Deleted: none, NotListed: none, NotDeleted: []string{"c"}, Unconfirmed: none,
		Attempts: 1, RequestID: "req_2",
	}, reported[1].DeleteConversationsResult)
	assert.EqualError(t, reported[1].err,
		`memoryplugin: delete conversations: 403 Forbidden: "no" (1 attempt, request id "req_2")`)
}

func TestOnBatchIsCalledOnTheCallersGoroutine(t *testing.T) {
	srv := serveBatches(t, confirmDeleted)
	caller := goroutine()
	calls := 0
	opts := memoryplugin.BatchOptions{Size: 1, OnBatch: func(*memoryplugin.DeleteConversationsResult, error) {
		calls++
		assert.Equal(t, caller, goroutine())
	}}

	_, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(20), opts)

	require.NoError(t, err)
	assert.Equal(t, 20, calls)
}

// goroutine returns the number of the running goroutine, as a stack trace has it.
func goroutine() string {
	stack := make([]byte, 64)
	return string(bytes.Fields(stack[:runtime.Stack(stack, false)])[1])
}

func TestOnBatchIsCalledAsEachBatchCompletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			if ids[0] == "slow" {
				<-time.After(30 * time.Second)
			}
			confirmDeleted(w, r, ids)
		}}
		start := time.Now()
		at := map[string]time.Duration{}
		opts := memoryplugin.BatchOptions{Size: 1, OnBatch: func(result *memoryplugin.DeleteConversationsResult, _ error) {
			at[result.Deleted[0]] = time.Since(start)
		}}

		_, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), []string{"slow", "quick"}, opts)

		require.NoError(t, err)
		assert.Equal(t, map[string]time.Duration{"quick": 0, "slow": 30 * time.Second}, at)
	})
}

func TestRequestsGoOnWhileOnBatchTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: takes(time.Second, confirmDeleted)}
		inOnBatch := 0
		opts := memoryplugin.BatchOptions{Size: 1, Concurrency: 1}
		opts.OnBatch = func(*memoryplugin.DeleteConversationsResult, error) {
			inOnBatch++
			assert.Equal(t, 1, inOnBatch, "one call at a time")
			<-time.After(time.Hour)
			inOnBatch--
		}
		start := time.Now()

		_, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(10), opts)

		require.NoError(t, err)
		// Only the first request was waited for: the others were answered meanwhile.
		assert.Equal(t, time.Second+10*time.Hour, time.Since(start))
	})
}

func TestWhatOnBatchGetsIsItsToKeep(t *testing.T) {
	for _, size := range []int{1, 4} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			srv := serveBatches(t, byFirstID(map[string]http.HandlerFunc{"conv-00003": reply(401, ``)}))
			opts := memoryplugin.BatchOptions{Size: size, Concurrency: 1}
			opts.OnBatch = func(result *memoryplugin.DeleteConversationsResult, _ error) {
				for _, list := range [][]string{result.Deleted, result.NotDeleted} {
					for i := range list {
						list[i] = "overwritten"
					}
					_ = append(list, "appended")
				}
				*result = memoryplugin.DeleteConversationsResult{}
			}

			result, _ := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(4+size), opts)

			all := allIDs(result)
			slices.Sort(all)
			assert.Equal(t, numberedIDs(4+size), all)
		})
	}
}

func TestTheErrorOfARunSaysWhatIsLeftAndWhy(t *testing.T) {
	busy := reply(503, `{"error":"busy"}`, "X-Request-Id", "req_1")
	for name, test := range map[string]struct {
		steps map[string]http.HandlerFunc // by the first id of a batch
		err   string
	}{
		"one batch is refused": {
			steps: map[string]http.HandlerFunc{"conv-00700": reply(403, `{"error":"no"}`)},
			err: `memoryplugin: delete conversations: 100 of 5000 not deleted: ` +
				`1 batch failed with 403 Forbidden: "no" (1 attempt)`,
		},
		"one batch is unconfirmed": {
			steps: map[string]http.HandlerFunc{"conv-00700": busy},
			err: `memoryplugin: delete conversations: 100 of 5000 unconfirmed: ` +
				`1 batch failed with 503 Service Unavailable: "busy" (5 attempts, request id "req_1")`,
		},
		"some are refused and some are unconfirmed": {
			steps: map[string]http.HandlerFunc{
				"conv-00700": busy, "conv-01700": busy, "conv-02700": busy,
				"conv-03700": reply(403, `{"error":"no"}`), "conv-04700": reply(403, `{"error":"no"}`),
			},
			err: `memoryplugin: delete conversations: 300 of 5000 unconfirmed, 200 not deleted: ` +
				`5 batches failed, the first with 503 Service Unavailable: "busy" (5 attempts, request id "req_1")`,
		},
		"every id is answered for, but a reply contradicts itself": {
			steps: map[string]http.HandlerFunc{"conv-04900": reply(200, contradiction(numberedIDs(5000)[4900:]))},
			err: `memoryplugin: delete conversations: ` +
				`1 batch failed with unexpected response: the reply's count is 99, but it lists 100 (1 attempt)`,
		},
		"the key is revoked": {
			steps: map[string]http.HandlerFunc{"conv-00700": reply(401, `{"error":"revoked"}`)},
			err: `memoryplugin: delete conversations: 4300 of 5000 not deleted: ` +
				`1 batch failed with 401 Unauthorized: "revoked" (1 attempt); ended after 8 batches`,
		},
		"five batches in a row fail": {
			steps: map[string]http.HandlerFunc{
				"conv-00000": reply(403, `{"error":"no"}`), "conv-00100": reply(404, ``), "conv-00200": reply(404, ``),
				"conv-00300": reply(404, ``), "conv-00400": reply(404, ``), "conv-00500": reply(404, `{"error":"where?"}`),
			},
			err: `memoryplugin: delete conversations: 5000 of 5000 not deleted: ` +
				`6 batches failed, the first with 403 Forbidden: "no" (1 attempt); ` +
				`ended after 6 batches: 5 batches in a row failed, the last with 404 Not Found: "where?": check the base URL`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serveBatches(t, byFirstID(test.steps))

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(5000),
				memoryplugin.BatchOptions{Concurrency: 1})

			assert.EqualError(t, err, test.err)
			assertAccounted(t, result, err, 5000)
		})
	}
}

// contradiction deletes all ids, and miscounts them.
func contradiction(ids []string) string {
	body, _ := json.Marshal(map[string]any{"deleted": ids, "count": len(ids) - 1})
	return string(body)
}

func TestTheErrorOfARunWrapsTheFirstFailureAndWhyItEnded(t *testing.T) {
	srv := serve(t, reply(403, ``, "X-Request-Id", "req_1"), reply(403, ``, "X-Request-Id", "req_2"), reply(401, ``))

	_, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(9),
		memoryplugin.BatchOptions{Size: 1, Concurrency: 1})

	var first *memoryplugin.ErrorResponse
	require.ErrorAs(t, err, &first)
	assert.Equal(t, "req_1", first.RequestID)
	assert.ErrorIs(t, err, memoryplugin.ErrForbidden)
	assert.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
}

func TestAFailedBatchDoesNotStopTheRun(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"302":                   reply(302, ``, "Location", "/login"),
		"400":                   reply(400, ``),
		"403":                   reply(403, ``),
		"404":                   reply(404, ``),
		"413":                   reply(413, ``),
		"429":                   reply(429, ``),
		"500":                   reply(500, ``),
		"no reply":              drop,
		"an undocumented reply": reply(200, `[]`),
	} {
		t.Run(name, func(t *testing.T) {
			srv := serveBatches(t, byFirstID(map[string]http.HandlerFunc{"b": step}))

			result, err := newClient(t, srv.URL, memoryplugin.WithMaxRetries(0)).DeleteConversationsInBatches(t.Context(),
				[]string{"a", "b", "c"}, memoryplugin.BatchOptions{Size: 1, Concurrency: 1})

			require.Error(t, err)
			assertAccounted(t, result, err, 3)
			assert.Equal(t, []string{"a", "c"}, result.Deleted)
		})
	}
}

func TestIfAllIDsFitOneBatchTheErrorIsThatCallsEvenIfItIsNeverSent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	result, err := newClient(t, "http://localhost").DeleteConversationsInBatches(ctx, onlyA, memoryplugin.BatchOptions{})

	assertAccounted(t, result, err, 1)
	assert.EqualError(t, err, "memoryplugin: delete conversations: context canceled (0 attempts)")
}

func TestABatchOfAllIDsThatAHoldKeptFromBeingSentHasTheReplyThatSetIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := once(t, remember(reply(429, ``, "Retry-After", "30")))
		_, err := client.DeleteConversations(t.Context(), onlyA)
		require.Error(t, err)
		stop := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(stop) })

		result, err := client.DeleteConversationsInBatches(t.Context(), onlyA, memoryplugin.BatchOptions{Stop: stop})

		assertAccounted(t, result, err, 1)
		assert.ErrorIs(t, err, memoryplugin.ErrStopped)
		hasReply(t, 429, err)
	})
}

func TestCountsWithoutEndDoNotAddUpToLessThanNothing(t *testing.T) {
	srv := serve(t, reply(200, fmt.Sprintf(`{"deleted":[],"count":%d}`, math.MaxInt)))

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), []string{"a", "b"}, memoryplugin.BatchOptions{Size: 1})

	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.Equal(t, math.MaxInt, result.Count)
}
