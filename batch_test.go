package memoryplugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// batches is what a loop ranges over.
type batches = iter.Seq2[*memoryplugin.DeleteConversationsResult, error]

// batchServer answers each request by its step, which is given the ids that are
// to be deleted: on loopback, or in memory where time is faked.
type batchServer struct {
	URL  string
	step batchStep

	mu       sync.Mutex
	requests [][]string
}

type batchStep func(w http.ResponseWriter, r *http.Request, ids []string)

// serveBatches starts a batchServer on loopback. It is closed with the test.
func serveBatches(t testing.TB, step batchStep) *batchServer {
	t.Helper()
	s := &batchServer{step: step}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

func (s *batchServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var deletion struct{ IDs []string }
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &deletion) != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.requests = append(s.requests, deletion.IDs)
	s.mu.Unlock()
	s.step(w, r, deletion.IDs)
}

func (s *batchServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// inMemory makes a Client that is served without a network.
func (s *batchServer) inMemory(t testing.TB) *memoryplugin.Client {
	t.Helper()
	return newClient(t, "http://localhost", memoryplugin.WithHTTPClient(&http.Client{Transport: s}))
}

// received returns the ids of each request so far.
func (s *batchServer) received() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// confirmDeleted answers that all ids are deleted.
func confirmDeleted(w http.ResponseWriter, _ *http.Request, ids []string) {
	_ = json.NewEncoder(w).Encode(map[string]any{"deleted": ids, "count": len(ids)})
}

// requestedIDs returns the ids of each request that srv has received.
func requestedIDs(srv *memoryplugintest.Server) [][]string {
	requests := [][]string{}
	for _, r := range srv.Requests() {
		requests = append(requests, r.IDs)
	}
	return requests
}

func lengths(requests [][]string) []int {
	sizes := []int{}
	for _, ids := range requests {
		sizes = append(sizes, len(ids))
	}
	return sizes
}

// endlessIDs never ends by itself: a run that should stop, and goes on, panics.
func endlessIDs(yield func(string) bool) {
	for _, id := range numberedIDs(20_000) {
		if !yield(id) {
			return
		}
	}
	panic("the run does not stop")
}

func numberedIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("conv-%05d", i)
	}
	return ids
}

// recorded appends to read what is read of ids.
func recorded(ids iter.Seq[string], read *[]string) iter.Seq[string] {
	return func(yield func(string) bool) {
		ids(func(id string) bool {
			*read = append(*read, id)
			return yield(id)
		})
	}
}

// yielded is what one round of a loop is given.
type yielded struct {
	*memoryplugin.DeleteConversationsResult
	err error
}

// collect lets a loop run to its end, and checks what holds for all results.
func collect(t testing.TB, run batches) []yielded {
	t.Helper()
	var results []yielded
	for result, err := range run {
		requireWellFormed(t, result, err)
		results = append(results, yielded{result, err})
	}
	return results
}

func requireWellFormed(t testing.TB, result *memoryplugin.DeleteConversationsResult, err error) {
	t.Helper()
	require.NotNil(t, result)
	require.NotNil(t, result.Deleted)
	require.NotNil(t, result.NotDeleted)
	require.NotNil(t, result.Unconfirmed)
	require.Equal(t, len(result.Unconfirmed) > 0, errors.Is(err, memoryplugin.ErrOutcomeUnknown), "%+v: %v", result, err)
}

// total puts the lists of all results together, each sorted.
func total(results []yielded) *memoryplugin.DeleteConversationsResult {
	sum := &memoryplugin.DeleteConversationsResult{}
	for _, result := range results {
		sum.Deleted = append(sum.Deleted, result.Deleted...)
		sum.NotDeleted = append(sum.NotDeleted, result.NotDeleted...)
		sum.Unconfirmed = append(sum.Unconfirmed, result.Unconfirmed...)
	}
	slices.Sort(sum.Deleted)
	slices.Sort(sum.NotDeleted)
	slices.Sort(sum.Unconfirmed)
	return sum
}

// assertEachOnce checks that each of ids is in one list of one result.
func assertEachOnce(t testing.TB, ids []string, results []yielded) {
	t.Helper()
	sum := total(results)
	all := slices.Concat(sum.Deleted, sum.NotDeleted, sum.Unconfirmed)
	slices.Sort(all)
	assert.Equal(t, slices.Sorted(slices.Values(ids)), all)
}

// assertDeleted checks that every one of ids is confirmed, without any error.
func assertDeleted(t testing.TB, ids []string, results []yielded) {
	t.Helper()
	for _, result := range results {
		require.NoError(t, result.err)
	}
	assert.Equal(t, ids, total(results).Deleted)
}

// stoppingReplies are those after which every further batch would fail.
var stoppingReplies = map[string]http.HandlerFunc{
	"a 401":                                 reply(401, `{"error":"revoked"}`),
	"a Retry-After above the cap":           reply(429, ``, "Retry-After", "61"),
	"a Retry-After above the cap, on a 503": reply(503, ``, "Retry-After", "61"),
}

// assertSameReply checks that err is caused by the very reply that caused other.
func assertSameReply(t testing.TB, other, err error) {
	t.Helper()
	want, _ := errors.AsType[*memoryplugin.ErrorResponse](other)
	got, _ := errors.AsType[*memoryplugin.ErrorResponse](err)
	require.NotNil(t, want)
	assert.Same(t, want, got)
}

func TestNothingIsReadOrSentBeforeTheLoopBegins(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	var read []string

	run := srv.Client().DeleteConversationsInBatches(t.Context(), recorded(slices.Values(numberedIDs(3)), &read), memoryplugin.BatchOptions{Size: 1})

	assert.Empty(t, read)
	assert.Empty(t, srv.Requests())
	collect(t, run)
	assert.Len(t, read, 3)
	assert.Len(t, srv.Requests(), 3)
}

func TestEveryLoopIsARunOfItsOwn(t *testing.T) {
	ids := numberedIDs(8)
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations(ids...)
	srv.LimitIDs(2)
	run := srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 4, Concurrency: 1})

	assert.Equal(t, ids, total(collect(t, run)).Deleted)
	assert.Equal(t, ids, total(collect(t, run)).NotDeleted)

	// Both have to learn the limit.
	sizes := lengths(requestedIDs(srv))
	assert.Equal(t, []int{4, 2, 2, 2, 2, 4, 2, 2, 2, 2}, sizes)
}

func TestALoopThatEndedEarlyDoesNotStopTheNextOne(t *testing.T) {
	ids := numberedIDs(6)
	for name, loop := range map[string]func(*memoryplugintest.Server, batches){
		"by break": func(_ *memoryplugintest.Server, run batches) {
			for range run {
				break
			}
		},
		"by a 401": func(srv *memoryplugintest.Server, run batches) {
			srv.FailNext(memoryplugintest.Fault{Status: 401})
			for range run {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := memoryplugintest.NewServer(t)
			run := srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 1, Concurrency: 1})
			loop(srv, run)
			srv.AddConversations(ids...)

			assertDeleted(t, ids, collect(t, run))
		})
	}
}

func TestABatchYieldsWhatDeleteConversationsReturns(t *testing.T) {
	ids := []string{"a", "b", "c"}
	for name, steps := range map[string][]http.HandlerFunc{
		"answered": {reply(429, ``), reply(200, `{"deleted":["b","a"],"count":2}`, "X-Request-Id", "req-1")},
		"refused":  {reply(403, `{"error":"not yours"}`, "X-Request-Id", "req-2")},
		"unknown":  {reply(503, ``), reply(200, `{"deleted":["b"]}`)},
	} {
		t.Run(name, func(t *testing.T) {
			inOneCall, inBatches := serve(t, steps...), serve(t, steps...)
			result, err := newClient(t, inOneCall.URL).DeleteConversations(t.Context(), ids)

			results := collect(t, newClient(t, inBatches.URL).DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{}))

			require.Len(t, results, 1)
			assert.Equal(t, result, results[0].DeleteConversationsResult)
			assert.Equal(t, fmt.Sprint(err), fmt.Sprint(results[0].err))
			assert.JSONEq(t, `{"ids":["a","b","c"]}`, inBatches.received()[0].body)
		})
	}
}

func TestABatchIsSentWhenItIsFullOrTheIDsEnd(t *testing.T) {
	for n, want := range map[int][]int{0: {}, 1: {1}, 3: {3}, 4: {3, 1}, 6: {3, 3}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			srv := memoryplugintest.NewServer(t)

			results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values(numberedIDs(n)), memoryplugin.BatchOptions{Size: 3, Concurrency: 1}))

			assert.Equal(t, want, lengths(requestedIDs(srv)))
			assert.Len(t, results, len(want))
		})
	}
}

func TestAFullBatchDoesNotWaitForTheNextID(t *testing.T) {
	received := make(chan struct{})
	srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
		close(received)
		confirmDeleted(w, r, ids)
	})
	ids := func(yield func(string) bool) {
		_ = yield("a") && yield("b")
		<-received
	}

	results := collect(t, newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{Size: 2}))

	assertDeleted(t, []string{"a", "b"}, results)
}

func TestAsManyRequestsAreInFlightAsConcurrencySays(t *testing.T) {
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
				ids := numberedIDs(48)
				start := time.Now()

				results := collect(t, srv.inMemory(t).DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 1, Concurrency: concurrency}))

				assertDeleted(t, ids, results)
				assert.EqualValues(t, concurrency, most.Load())
				// None of the workers was ever idle.
				assert.Equal(t, time.Duration(48/concurrency)*time.Second, time.Since(start))
			})
		})
	}
}

func TestTheDefaultsAre100IDsAndFourRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			<-time.After(time.Second)
			confirmDeleted(w, r, ids)
		}}
		start := time.Now()

		collect(t, srv.inMemory(t).DeleteConversationsInBatches(t.Context(), slices.Values(numberedIDs(2000)), memoryplugin.BatchOptions{}))

		assert.Equal(t, slices.Repeat([]int{100}, 20), lengths(srv.received()))
		assert.Equal(t, 20/4*time.Second, time.Since(start))
	})
}

func TestASlowLoopBodyHoldsBackWorkersAndReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, concurrency = 10, 3
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			<-time.After(time.Second)
			confirmDeleted(w, r, ids)
		}}
		var read []string
		loops := 0

		for result, err := range srv.inMemory(t).DeleteConversationsInBatches(t.Context(), recorded(endlessIDs, &read), memoryplugin.BatchOptions{Size: size, Concurrency: concurrency}) {
			require.NoError(t, err)
			require.Len(t, result.Deleted, size)
			loops++
			<-time.After(time.Hour)
			require.LessOrEqual(t, len(srv.received()), loops+concurrency)
			require.LessOrEqual(t, len(read), (loops+concurrency)*size)
			if loops == 20 {
				break
			}
		}
	})
}

func TestAtMostOneBatchIsReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: func(_ http.ResponseWriter, r *http.Request, _ []string) { <-r.Context().Done() }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var read []string

		collect(t, srv.inMemory(t).DeleteConversationsInBatches(ctx, recorded(endlessIDs, &read), memoryplugin.BatchOptions{Size: 10, Concurrency: 3}))

		assert.Len(t, read, (3+1)*10)
	})
}

func TestResultsComeInTheOrderOfCompletion(t *testing.T) {
	secondIsYielded := make(chan struct{})
	srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
		if ids[0] == "first" {
			<-secondIsYielded
		}
		confirmDeleted(w, r, ids)
	})

	var order []string
	for result, err := range newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), slices.Values([]string{"first", "second"}), memoryplugin.BatchOptions{Size: 1}) {
		require.NoError(t, err)
		if order = append(order, result.Deleted...); len(order) == 1 {
			close(secondIsYielded)
		}
	}

	assert.Equal(t, []string{"second", "first"}, order)
}

func TestAResultWaitsForTheNextIDAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			<-time.After(time.Second)
			confirmDeleted(w, r, ids)
		}}
		confirmed := 0
		ids := func(yield func(string) bool) {
			for i, id := range numberedIDs(20) {
				// Two ids fill a batch, and its result comes with the next one.
				assert.Equal(t, max(0, i-1)/2*2, confirmed, "before id %d", i)
				if !yield(id) {
					return
				}
				<-time.After(time.Hour)
			}
		}

		for result, err := range srv.inMemory(t).DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{Size: 2}) {
			require.NoError(t, err)
			confirmed += len(result.Deleted)
		}

		assert.Equal(t, 20, confirmed)
	})
}

func TestARepliesOrderDoesNotMatter(t *testing.T) {
	ids := numberedIDs(40)
	gone := []string{ids[3], ids[17], ids[18], ids[39]}
	srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
		ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(gone, id) })
		slices.Reverse(ids)
		confirmDeleted(w, r, ids)
	})

	results := collect(t, newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 7, Concurrency: 3}))

	assertEachOnce(t, ids, results)
	assert.Equal(t, gone, total(results).NotDeleted)
}

func TestAWorkerKeepsItsConnection(t *testing.T) {
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
	ids := numberedIDs(400)

	results := collect(t, newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 1, Concurrency: concurrency}))

	assertDeleted(t, ids, results)
	// A busy machine may lose one now and then.
	assert.LessOrEqual(t, connections.Load(), int32(2*concurrency))
}

func TestArgumentsOfABatchThatCannotBeUsed(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	client := srv.Client()
	var read []string
	ids := recorded(slices.Values([]string{"a"}), &read)
	for name, run := range map[string]batches{
		"negative size":        client.DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{Size: -1}),
		"negative concurrency": client.DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{Concurrency: -1}),
		"nil ids":              client.DeleteConversationsInBatches(t.Context(), nil, memoryplugin.BatchOptions{}),
		"nil context":          client.DeleteConversationsInBatches(nil, ids, memoryplugin.BatchOptions{}), //lint:ignore SA1012 It is the test.
		"zero Client":          new(memoryplugin.Client).DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{}),
		"nil Client":           (*memoryplugin.Client)(nil).DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			results := collect(t, run)

			require.Len(t, results, 1)
			require.ErrorIs(t, results[0].err, memoryplugin.ErrInvalidArgument)
			assertEachOnce(t, nil, results)
			assert.Empty(t, read)
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestAnIDThatCannotBeSentIsYieldedAtOnceAndTheRestGoesOn(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b", "c")

	results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values([]string{"", "a", "b\xff", "b", "c", " \t"}), memoryplugin.BatchOptions{}))

	require.Len(t, results, 4)
	for i, id := range []string{"", "b\xff", " \t"} {
		require.ErrorIs(t, results[i].err, memoryplugin.ErrInvalidArgument)
		require.ErrorContains(t, results[i].err, fmt.Sprintf("%q", id))
		assertEachOnce(t, []string{id}, results[i:i+1])
		assert.Equal(t, []string{id}, results[i].NotDeleted)
	}
	assertDeleted(t, []string{"a", "b", "c"}, results[3:])
}

func TestADuplicateIsDroppedWithinABatchButNotAcrossBatches(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b", "c")

	results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values([]string{"a", "a", "b", "a", "b", "b", "b", "c"}), memoryplugin.BatchOptions{Size: 2, Concurrency: 1}))

	assert.Equal(t, [][]string{{"a", "b"}, {"a", "b"}, {"b", "c"}}, requestedIDs(srv))
	sum := total(results)
	assert.Equal(t, []string{"a", "b", "c"}, sum.Deleted)
	assert.Equal(t, []string{"a", "b", "b"}, sum.NotDeleted)
}

func TestADuplicateOfAnEarlierBatchIsKeptAlsoAfterBatchesGotSmaller(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.LimitIDs(3)
	ids := numberedIDs(10)
	// When the limit is learned five more are read, of which three are sent.
	ids = append(ids, ids[5])

	results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 5, Concurrency: 1}))

	assertEachOnce(t, ids, results)
}

func TestAFailedBatchDoesNotStopTheRun(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"302":                   reply(302, ``, "Location", "/login"),
		"400":                   reply(400, ``),
		"403":                   reply(403, ``),
		"404":                   reply(404, ``),
		"429":                   reply(429, ``),
		"500":                   reply(500, ``),
		"no reply":              drop,
		"an undocumented reply": reply(200, `[]`),
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(200, `{"count":1}`), step, reply(200, `{"count":1}`))

			results := collect(t, newClient(t, srv.URL, memoryplugin.WithMaxRetries(0)).DeleteConversationsInBatches(
				t.Context(), slices.Values([]string{"a", "b", "c"}), memoryplugin.BatchOptions{Size: 1, Concurrency: 1}))

			require.Len(t, results, 3)
			assertEachOnce(t, []string{"a", "b", "c"}, results)
			assert.Equal(t, []string{"a", "c"}, total(results).Deleted)
			assert.NoError(t, results[0].err)
			assert.Error(t, results[1].err)
			assert.NoError(t, results[2].err)
		})
	}
}

func TestAReplyThatEndsTheRun(t *testing.T) {
	for name, stop := range stoppingReplies {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			allBusy, readAhead, stopIsYielded := make(chan struct{}), make(chan struct{}), make(chan struct{})
			srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
				if requests.Add(1) == 3 {
					close(allBusy)
				}
				if ids[0] == "conv-00000" {
					<-allBusy
					<-readAhead
					stop(w, r)
					return
				}
				<-stopIsYielded
				confirmDeleted(w, r, ids)
			})
			var read []string
			ids := func(yield func(string) bool) {
				for id := range endlessIDs {
					if id == "conv-00007" {
						close(readAhead) // There is one id that no worker has, and another one coming.
					}
					if !yield(id) {
						return
					}
				}
			}
			var results []yielded

			for result, err := range newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), recorded(ids, &read), memoryplugin.BatchOptions{Size: 2, Concurrency: 3}) {
				requireWellFormed(t, result, err)
				if results = append(results, yielded{result, err}); len(results) == 1 {
					close(stopIsYielded)
				}
			}

			assert.Len(t, srv.received(), 3, "something was sent after the run had to stop")
			require.Len(t, results, 4)
			assertEachOnce(t, read, results)
			assert.Empty(t, results[0].Deleted)
			assert.Len(t, total(results[1:3]).Deleted, 4, "in flight")
			unsent := results[3]
			assert.Equal(t, read[6:], unsent.NotDeleted)
			assert.Zero(t, unsent.Attempts)
			assertSameReply(t, results[0].err, unsent.err)
			assert.ErrorContains(t, unsent.err, "not sent")
		})
	}
}

func TestABatchThatWaitsForTheLimiterIsNotSentOnceTheRunHasToStop(t *testing.T) {
	for name, stop := range stoppingReplies {
		t.Run(name, func(t *testing.T) {
			limiter := &oneAtFirst{second: make(chan struct{}), open: make(chan struct{})}
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				<-limiter.second
				stop(w, r)
			})
			var results []yielded

			for result, err := range newClient(t, srv.URL, memoryplugin.WithLimiter(limiter)).DeleteConversationsInBatches(
				t.Context(), slices.Values([]string{"a", "b"}), memoryplugin.BatchOptions{Size: 1}) {
				if results = append(results, yielded{result, err}); len(results) == 1 {
					close(limiter.open)
				}
			}

			assert.Len(t, srv.received(), 1)
			assertEachOnce(t, []string{"a", "b"}, results)
			require.Len(t, results, 2)
			assert.Len(t, results[1].NotDeleted, 1)
			assertSameReply(t, results[0].err, results[1].err)
		})
	}
}

// oneAtFirst is a Limiter that lets one attempt pass, and the others once it is open.
type oneAtFirst struct {
	waiting atomic.Int32
	second  chan struct{} // closed when a second attempt waits
	open    chan struct{}
}

func (l *oneAtFirst) Wait(ctx context.Context) error {
	switch l.waiting.Add(1) {
	case 1:
		return nil
	case 2:
		close(l.second)
	}
	select {
	case <-l.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestARetryAfterToOneWorkerHoldsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int32
		start := time.Now()
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			if requests.Add(1) == 2 {
				reply(429, ``, "Retry-After", "10")(w, r)
				return
			}
			if at := time.Since(start); at > 0 {
				assert.GreaterOrEqual(t, at, 10*time.Second)
			}
			<-time.After(time.Second)
			confirmDeleted(w, r, ids)
		}}
		ids := numberedIDs(12)

		results := collect(t, srv.inMemory(t).DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 1}))

		assertDeleted(t, ids, results)
	})
}

func TestADoneContextCancelsWhatIsInFlightAndAccountsForTheRest(t *testing.T) {
	cause := errors.New("the operator has left")
	for name, test := range map[string]struct {
		ending func(context.Context) (context.Context, context.CancelFunc)
		err    error
	}{
		"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(cause) })
			return ctx, func() { cancel(nil) }
		}, context.Canceled},
		"expired": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, time.Second, cause)
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &batchServer{step: func(_ http.ResponseWriter, r *http.Request, _ []string) { <-r.Context().Done() }}
				ctx, cancel := test.ending(t.Context())
				defer cancel()
				var read []string

				results := collect(t, srv.inMemory(t).DeleteConversationsInBatches(ctx, recorded(endlessIDs, &read), memoryplugin.BatchOptions{Size: 2, Concurrency: 3}))

				assert.Len(t, srv.received(), 3)
				require.Len(t, results, 4)
				assertEachOnce(t, read, results)
				assert.Len(t, total(results[:3]).Unconfirmed, 6, "in flight")
				assert.Equal(t, read[6:], results[3].NotDeleted, "not sent")
				for _, result := range results {
					require.ErrorIs(t, result.err, test.err)
					require.ErrorIs(t, result.err, cause)
				}
			})
		})
	}
}

func TestAContextThatIsDoneBeforeTheFirstID(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var read []string

	results := collect(t, srv.Client().DeleteConversationsInBatches(ctx, recorded(endlessIDs, &read), memoryplugin.BatchOptions{}))

	require.Len(t, results, 1)
	assert.ErrorIs(t, results[0].err, context.Canceled)
	assertEachOnce(t, nil, results)
	assert.Empty(t, read)
	assert.Empty(t, srv.Requests())
}

func TestARunThatEndsBetweenTwoBatchesYieldsAnError(t *testing.T) {
	for name, next := range map[string]string{
		"with an id that was read": "b",
		"with nothing to send":     " ",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &batchServer{step: confirmDeleted}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ids := func(yield func(string) bool) {
					if yield("a") {
						synctest.Wait() // The first batch is done now.
						cancel()
						yield(next)
					}
				}

				results := collect(t, srv.inMemory(t).DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Size: 1, Concurrency: 2}))

				assertEachOnce(t, []string{"a", next}, results)
				assert.Equal(t, []string{"a"}, total(results).Deleted)
				assert.ErrorIs(t, results[len(results)-1].err, context.Canceled)
			})
		})
	}
}

func TestEndingTheIDsStopsCleanly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
			<-time.After(time.Second)
			confirmDeleted(w, r, ids)
		}}
		stopped := false
		var read []string
		ids := func(yield func(string) bool) {
			for id := range endlessIDs {
				if stopped || !yield(id) {
					return
				}
			}
		}
		var results []yielded

		for result, err := range srv.inMemory(t).DeleteConversationsInBatches(t.Context(), recorded(ids, &read), memoryplugin.BatchOptions{Size: 3}) {
			results = append(results, yielded{result, err})
			if len(results) == 10 {
				stopped = true
				assert.Less(t, len(total(results).Deleted), len(read), "nothing is in flight")
			}
		}

		assertDeleted(t, read, results)
	})
}

func TestASequenceThatWatchesTheContextEndsTheLoop(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	ctx, cancel := context.WithCancel(t.Context())
	ids := func(yield func(string) bool) {
		if yield("a") {
			cancel()
			<-ctx.Done()
		}
	}

	results := collect(t, srv.Client().DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{}))

	assert.Empty(t, srv.Requests())
	assertEachOnce(t, []string{"a"}, results)
	assert.ErrorIs(t, results[0].err, context.Canceled)
}

func TestAPanicReachesTheCaller(t *testing.T) {
	client := memoryplugintest.NewServer(t).Client()
	broken := func(yield func(string) bool) {
		yield("a")
		panic("broken")
	}

	assert.PanicsWithValue(t, "broken", func() {
		for range client.DeleteConversationsInBatches(t.Context(), broken, memoryplugin.BatchOptions{}) {
		}
	}, "in the ids")
	assert.PanicsWithValue(t, "broken", func() {
		for range client.DeleteConversationsInBatches(t.Context(), endlessIDs, memoryplugin.BatchOptions{}) {
			panic("broken")
		}
	}, "in the loop body")
}

func TestNothingIsLeftRunningWhenTheLoopIsOver(t *testing.T) {
	for name, loop := range map[string]func(run func(iter.Seq[string]) batches, allBusy <-chan struct{}, cancel context.CancelFunc){
		"break": func(run func(iter.Seq[string]) batches, _ <-chan struct{}, _ context.CancelFunc) {
			for range run(endlessIDs) {
				break
			}
		},
		"panic in the loop body": func(run func(iter.Seq[string]) batches, _ <-chan struct{}, _ context.CancelFunc) {
			defer func() { _ = recover() }()
			for range run(endlessIDs) {
				panic("broken")
			}
		},
		"Goexit in the loop body": func(run func(iter.Seq[string]) batches, _ <-chan struct{}, _ context.CancelFunc) {
			for range run(endlessIDs) {
				runtime.Goexit()
			}
		},
		"panic in the ids": func(run func(iter.Seq[string]) batches, allBusy <-chan struct{}, _ context.CancelFunc) {
			defer func() { _ = recover() }()
			for range run(func(yield func(string) bool) {
				for _, id := range numberedIDs(4) {
					yield(id)
				}
				<-allBusy
				panic("broken")
			}) {
			}
		},
		"Goexit in the ids": func(run func(iter.Seq[string]) batches, allBusy <-chan struct{}, _ context.CancelFunc) {
			for range run(func(yield func(string) bool) {
				for _, id := range numberedIDs(4) {
					yield(id)
				}
				<-allBusy
				runtime.Goexit()
			}) {
			}
		},
		"end of the context": func(run func(iter.Seq[string]) batches, _ <-chan struct{}, cancel context.CancelFunc) {
			for range run(endlessIDs) {
				cancel()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var running atomic.Int32
				allBusy := make(chan struct{})
				nowBusy := sync.OnceFunc(func() { close(allBusy) })
				srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
					defer running.Add(-1)
					if running.Add(1) == 4 {
						nowBusy()
					}
					<-allBusy
					if ids[0] == "conv-00000" {
						confirmDeleted(w, r, ids)
						return
					}
					<-r.Context().Done()
					<-time.After(time.Hour) // It takes its time to end.
				}}
				ctx, cancel := context.WithCancel(t.Context())
				run := func(ids iter.Seq[string]) batches {
					return srv.inMemory(t).DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Size: 1})
				}
				left := make(chan int32, 1)
				start := time.Now()

				go func() {
					defer func() { left <- running.Load() }()
					loop(run, allBusy, cancel)
				}()

				assert.Zero(t, <-left)
				assert.Equal(t, time.Hour, time.Since(start), "not cancelled at once")
				sent := len(srv.received())
				<-time.After(24 * time.Hour)
				assert.Len(t, srv.received(), sent)
			})
		})
	}
}

func TestNothingIsYieldedAfterTheLoopIsLeft(t *testing.T) {
	for name, test := range map[string]struct {
		ids  []string
		step http.HandlerFunc
	}{
		"with more to send":          {numberedIDs(9), reply(200, `{"count":1}`)},
		"with ids that are not sent": {numberedIDs(9), reply(401, ``)},
		"with bad ids":               {[]string{"", "", "a", ""}, reply(200, `{"count":1}`)},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, test.step)
			calls := 0

			newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), slices.Values(test.ids), memoryplugin.BatchOptions{Size: 1, Concurrency: 2})(
				func(*memoryplugin.DeleteConversationsResult, error) bool {
					calls++
					return false
				})

			assert.Equal(t, 1, calls)
		})
	}
}

func TestATooLargeBatchIsHalvedDownToOneID(t *testing.T) {
	ids := numberedIDs(20)
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations(ids...)
	srv.LimitIDs(1)

	results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 7, Concurrency: 1}))

	assertDeleted(t, ids, results)
	halving := []int{7, 4, 2, 1, 1, 2, 1, 1, 3, 2, 1, 1, 1}
	assert.Equal(t, append(halving, slices.Repeat([]int{1}, 13)...), lengths(requestedIDs(srv)))
}

// They were in a request after all: who counts what no attempt was made for can tell.
func TestHalvesThatAreNotSentAnyMoreNameTheReplyThatRefusedTheirBatch(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.LimitIDs(2)
	srv.FailNext(memoryplugintest.Fault{}, memoryplugintest.Fault{Status: http.StatusUnauthorized})

	results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values([]string{"a", "b", "c", "d"}), memoryplugin.BatchOptions{Size: 4, Concurrency: 1}))

	require.Len(t, results, 2)
	assert.Equal(t, []string{"a", "b"}, results[0].NotDeleted)
	assert.NotErrorIs(t, results[0].err, memoryplugin.ErrPayloadTooLarge)
	assert.Equal(t, []string{"c", "d"}, results[1].NotDeleted)
	assert.Zero(t, results[1].Attempts)
	assert.ErrorIs(t, results[1].err, memoryplugin.ErrPayloadTooLarge)
	assert.ErrorIs(t, results[1].err, memoryplugin.ErrUnauthorized)
	assert.EqualError(t, results[1].err, `memoryplugin: delete conversations: this half of a batch was not sent: 401 Unauthorized: "Unauthorized"; the batch was too large: 413 Request Entity Too Large: "At most 2 ids" (0 attempts)`)
}

func TestAHalfThatIsKeptFromBeingSentNamesThatReplyToo(t *testing.T) {
	for name, limit := range map[string]func(context.CancelFunc) error{
		"by the limiter": func(context.CancelFunc) error { return errors.New("no more today") },
		"by its context": func(cancel context.CancelFunc) error {
			cancel()
			return context.Canceled
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			srv := memoryplugintest.NewServer(t)
			srv.LimitIDs(2)
			waits := 0
			client := srv.Client(memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
				if waits++; waits > 1 {
					return limit(cancel)
				}
				return nil
			})))

			results := collect(t, client.DeleteConversationsInBatches(ctx, slices.Values(numberedIDs(8)), memoryplugin.BatchOptions{Size: 8, Concurrency: 1}))

			require.Len(t, results, 2, "a half that was not sent is not halved again")
			for _, result := range results {
				assert.Zero(t, result.Attempts)
				assert.Len(t, result.NotDeleted, 4)
				assert.ErrorIs(t, result.err, memoryplugin.ErrPayloadTooLarge)
			}
			assert.Len(t, srv.Requests(), 1)
		})
	}
}

func TestLaterBatchesKeepTheSizeThatPassed(t *testing.T) {
	for _, concurrency := range []int{1, 4, 16} {
		t.Run(fmt.Sprint(concurrency), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var limited atomic.Bool
				srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
					<-time.After(time.Second)
					if limited.Load() && len(ids) > 30 {
						reply(413, ``)(w, r)
						return
					}
					confirmDeleted(w, r, ids)
				}}
				ids := numberedIDs(8000)
				var results []yielded

				for result, err := range srv.inMemory(t).DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 100, Concurrency: concurrency}) {
					results = append(results, yielded{result, err})
					limited.Store(true) // From the middle of the run on.
				}

				assertDeleted(t, ids, results)
				sizes := lengths(srv.received())
				assert.Equal(t, 100, sizes[0])
				assert.Equal(t, slices.Repeat([]int{25}, 100), sizes[len(sizes)-100:])
			})
		})
	}
}

func TestAnIDThatIsTooLargeOnItsOwnIsNamedAndTheRestKeepsItsSize(t *testing.T) {
	for name, test := range map[string]struct {
		limit int // of ids a request
		keeps int // the size of later batches
		large []string
	}{
		"one":           {limit: 8, keeps: 8, large: []string{"conv-00005"}},
		"two of a pair": {limit: 8, keeps: 8, large: []string{"conv-00004", "conv-00005"}},
		"two apart":     {limit: 8, keeps: 8, large: []string{"conv-00001", "conv-00006"}},
		"and a limit":   {limit: 3, keeps: 2, large: []string{"conv-00005"}},
	} {
		for _, concurrency := range []int{1, 4, 16} {
			t.Run(fmt.Sprintf("%s/%d", name, concurrency), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					isLarge := func(id string) bool { return slices.Contains(test.large, id) }
					srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
						<-time.After(time.Second)
						if len(ids) > test.limit || slices.ContainsFunc(ids, isLarge) {
							reply(413, ``)(w, r)
							return
						}
						confirmDeleted(w, r, ids)
					}}
					ids := numberedIDs(2000)

					results := collect(t, srv.inMemory(t).DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 8, Concurrency: concurrency}))

					assertEachOnce(t, ids, results)
					assert.Equal(t, test.large, total(results).NotDeleted)
					for _, result := range results {
						if len(result.NotDeleted) > 0 {
							require.Len(t, result.NotDeleted, 1)
							require.ErrorIs(t, result.err, memoryplugin.ErrPayloadTooLarge)
						}
					}
					sizes := lengths(srv.received())
					assert.Equal(t, slices.Repeat([]int{test.keeps}, 20), sizes[len(sizes)-20:])
				})
			})
		}
	}
}

func TestABatchOfOneThatIsTooLargeDoesNotStopTheRun(t *testing.T) {
	srv := serve(t, reply(200, `{"count":1}`), reply(413, ``), reply(200, `{"count":1}`))

	results := collect(t, newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), slices.Values([]string{"a", "b", "c"}), memoryplugin.BatchOptions{Size: 1, Concurrency: 1}))

	assertEachOnce(t, []string{"a", "b", "c"}, results)
	assert.Equal(t, []string{"b"}, total(results).NotDeleted)
	assert.Len(t, srv.received(), 3)
}

func TestAnUnknownAttemptBeforeA413IsNotForgotten(t *testing.T) {
	tooLarge := memoryplugintest.Fault{Status: 413}
	for name, faults := range map[string][]memoryplugintest.Fault{
		"by the halves":   {tooLarge},
		"by the quarters": {tooLarge, tooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			ids := []string{"a", "b", "c", "d", "e"}
			srv := memoryplugintest.NewServer(t)
			srv.AddConversations(ids...)
			srv.FailNext(memoryplugintest.Fault{Applied: true, Status: 503})
			srv.FailNext(faults...)

			results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 4, Concurrency: 1}))

			assertEachOnce(t, ids, results)
			assert.Equal(t, []string{"a", "b", "c", "d"}, total(results).Unconfirmed)
			assert.Equal(t, []string{"e"}, total(results).Deleted)
			for _, result := range results {
				if len(result.Unconfirmed) > 0 {
					assertWraps(t, result.err, 503)
				}
			}
		})
	}
}

func TestAPieceConfirmsInSpiteOfAnEarlierUnknownAttempt(t *testing.T) {
	ids := []string{"a", "b", "c", "d"}
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations(ids...)
	srv.FailNext(memoryplugintest.Fault{Status: 503}, memoryplugintest.Fault{Status: 413})

	results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), slices.Values(ids), memoryplugin.BatchOptions{}))

	assertDeleted(t, ids, results)
}

func TestAnUnknownAttemptIsNotForgottenWhereItsPieceIsNeverSent(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	srv.FailNext(
		memoryplugintest.Fault{Applied: true, Status: 503},
		memoryplugintest.Fault{Status: 413},
		memoryplugintest.Fault{Status: 401},
	)
	var read []string

	results := collect(t, srv.Client().DeleteConversationsInBatches(t.Context(), recorded(endlessIDs, &read), memoryplugin.BatchOptions{Size: 4, Concurrency: 1}))

	assert.Len(t, srv.Requests(), 3)
	assertEachOnce(t, read, results)
	assert.Equal(t, read[:4], total(results).Unconfirmed)
	// What was only read is certainly not deleted.
	assert.ElementsMatch(t, read[4:], total(results).NotDeleted)
	for _, result := range results {
		assert.ErrorIs(t, result.err, memoryplugin.ErrUnauthorized)
	}
	assert.Zero(t, results[1].Attempts)
	assertWraps(t, results[1].err, 503)
}

// assertWraps checks that err has come of a reply with this status, among others.
func assertWraps(t testing.TB, err error, status int) {
	t.Helper()
	assert.ErrorContains(t, err, "an earlier attempt got no answer: "+fmt.Sprint(status))
	found := false
	var search func(error)
	search = func(err error) {
		switch err := err.(type) {
		case *memoryplugin.ErrorResponse:
			found = found || err.StatusCode == status
		case interface{ Unwrap() error }:
			search(err.Unwrap())
		case interface{ Unwrap() []error }:
			for _, err := range err.Unwrap() {
				search(err)
			}
		}
	}
	search(err)
	assert.True(t, found, "%v does not wrap a %d", err, status)
}

func TestNoPieceIsSentOnceTheRunHasToStop(t *testing.T) {
	for name, stop := range stoppingReplies {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(413, ``), stop)

			results := collect(t, newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), slices.Values([]string{"a", "b", "c", "d"}), memoryplugin.BatchOptions{Concurrency: 1}))

			assert.Len(t, srv.received(), 2)
			require.Len(t, results, 2)
			assertEachOnce(t, []string{"a", "b", "c", "d"}, results)
			assert.Equal(t, []string{"c", "d"}, results[1].NotDeleted)
			assertSameReply(t, results[0].err, results[1].err)
		})
	}
}

func TestNoPieceIsSentOnceTheContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := serve(t, reply(413, ``), func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})

	results := collect(t, newClient(t, srv.URL).DeleteConversationsInBatches(ctx, slices.Values([]string{"a", "b", "c", "d"}), memoryplugin.BatchOptions{Concurrency: 1}))

	assert.Len(t, srv.received(), 2)
	assertEachOnce(t, []string{"a", "b", "c", "d"}, results)
	assert.Equal(t, []string{"a", "b"}, total(results).Unconfirmed)
	assert.Equal(t, []string{"c", "d"}, total(results).NotDeleted)
}

func TestA413ThatComesAfterTheStopIsYieldedAsItIs(t *testing.T) {
	bothSent, stopIsYielded := make(chan struct{}), make(chan struct{})
	srv := serveBatches(t, func(w http.ResponseWriter, r *http.Request, ids []string) {
		if ids[0] == "a" {
			<-bothSent
			reply(401, ``)(w, r)
			return
		}
		close(bothSent)
		<-stopIsYielded
		reply(413, ``)(w, r)
	})
	var results []yielded

	for result, err := range newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), slices.Values([]string{"a", "b", "c", "d"}), memoryplugin.BatchOptions{Size: 2, Concurrency: 2}) {
		if results = append(results, yielded{result, err}); len(results) == 1 {
			close(stopIsYielded)
		}
	}

	require.Len(t, results, 2)
	assert.Equal(t, []string{"c", "d"}, results[1].NotDeleted)
	assert.ErrorIs(t, results[1].err, memoryplugin.ErrPayloadTooLarge)
	assert.Len(t, srv.received(), 2)
}

func TestARunWhoseIDsEndWithItsContextYieldsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: confirmDeleted}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watching := func(yield func(string) bool) {
			if yield("a") {
				synctest.Wait() // Until it is answered.
				cancel()        // So it ends here, and not for the want of ids.
			}
		}
		var results []yielded

		for result, err := range srv.inMemory(t).DeleteConversationsInBatches(ctx, watching, memoryplugin.BatchOptions{Size: 1}) {
			results = append(results, yielded{result, err})
		}

		require.Len(t, results, 2)
		assert.NoError(t, results[0].err)
		assert.ErrorIs(t, results[1].err, context.Canceled)
		assertEachOnce(t, []string{"a"}, results)
	})
}

// What is known of the one bad id is that it failed, not that a size did.
func TestAPieceWithoutAnAnswerLeavesTheSizeOfLaterBatches(t *testing.T) {
	srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
		switch bad := slices.Contains(ids, "id-0"); {
		case bad && len(ids) > 1:
			reply(413, ``)(w, r)
		case bad:
			reply(503, ``)(w, r)
		default:
			confirmDeleted(w, r, ids)
		}
	}}
	ids := []string{"id-0"}
	for i := 1; i < 32; i++ {
		ids = append(ids, fmt.Sprintf("id-%d", i))
	}

	for range srv.inMemory(t).DeleteConversationsInBatches(
		t.Context(), slices.Values(ids), memoryplugin.BatchOptions{Size: 8, Concurrency: 1}) {
	}

	sizes := lengths(srv.received())
	assert.Equal(t, []int{8, 8, 8}, sizes[len(sizes)-3:])
}
