package memoryplugin_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// atMost refuses batches of more than limit ids, and any that has one of these.
func atMost(limit int, tooLarge ...string) batchStep {
	return func(w http.ResponseWriter, r *http.Request, ids []string) {
		if len(ids) > limit || slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(tooLarge, id) }) {
			reply(413, `{"error":"too large"}`)(w, r)
			return
		}
		confirmDeleted(w, r, ids)
	}
}

func TestATooLargeBatchIsHalvedDownToOneIDAndTheRestUsesTheSmallerSize(t *testing.T) {
	for limit, want := range map[int][]int{
		5: {8, 4, 4, 4, 4},
		3: append([]int{8, 4}, slices.Repeat([]int{2}, 8)...),
		1: append([]int{8, 4, 2}, slices.Repeat([]int{1}, 16)...),
	} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			srv := serveBatches(t, atMost(limit))
			ids := numberedIDs(16)

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), ids,
				memoryplugin.BatchOptions{Size: 8, Concurrency: 1})

			require.NoError(t, err)
			assert.Equal(t, ids, result.Deleted)
			assert.Equal(t, want, lengths(srv.received()))
			assert.Equal(t, len(want), result.Attempts)
			assert.Equal(t, 16, result.Count)
		})
	}
}

func TestHalvesKeepTheirOrderAndAnOddIDGoesFirst(t *testing.T) {
	srv := serveBatches(t, atMost(2))

	_, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), []string{"a", "b", "c", "d", "e", "f", "g"},
		memoryplugin.BatchOptions{Size: 5, Concurrency: 1})

	require.NoError(t, err)
	assert.Equal(t, [][]string{
		{"a", "b", "c", "d", "e"},
		{"a", "b", "c"}, {"a", "b"}, {"c"}, {"d", "e"},
		{"f", "g"},
	}, srv.received())
}

func TestALimitThatComesUpDuringARunIsLearned(t *testing.T) {
	for _, concurrency := range []int{1, 4, 16} {
		t.Run(fmt.Sprint(concurrency), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var limited atomic.Bool
				srv := &batchServer{step: func(w http.ResponseWriter, r *http.Request, ids []string) {
					<-time.After(time.Second)
					if limited.Load() {
						atMost(30)(w, r, ids)
						return
					}
					confirmDeleted(w, r, ids)
				}}
				opts := memoryplugin.BatchOptions{Size: 100, Concurrency: concurrency}
				opts.OnBatch = func(*memoryplugin.DeleteConversationsResult, error) { limited.Store(true) }

				result, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(8000), opts)

				require.NoError(t, err)
				assert.Len(t, result.Deleted, 8000)
				sizes := lengths(srv.received())
				assert.Equal(t, 100, sizes[0])
				assert.Equal(t, slices.Repeat([]int{25}, 100), sizes[len(sizes)-100:])
			})
		})
	}
}

func TestAnIDThatIsTooLargeByItselfIsNamed(t *testing.T) {
	for name, large := range map[string][]string{
		"one":           {"conv-00005"},
		"two of a pair": {"conv-00004", "conv-00005"},
		"two apart":     {"conv-00001", "conv-00006"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serveBatches(t, atMost(8, large...))
			var reported journal

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(40),
				memoryplugin.BatchOptions{Size: 8, OnBatch: reported.add})

			assertAccounted(t, result, err, 40)
			assert.ErrorIs(t, err, memoryplugin.ErrPayloadTooLarge)
			assert.Equal(t, large, result.NotDeleted)
			assert.Len(t, result.Deleted, 40-len(large))
			for _, batch := range reported {
				if len(batch.NotDeleted) > 0 {
					assert.Len(t, batch.NotDeleted, 1)
					assert.ErrorIs(t, batch.err, memoryplugin.ErrPayloadTooLarge)
				}
			}
		})
	}
}

// Only what becomes of its halves is a failure, or a success.
func TestAHalvedBatchIsNotReportedAndDoesNotCountAsFailed(t *testing.T) {
	srv := serveBatches(t, atMost(1))
	var reported journal

	_, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(64),
		memoryplugin.BatchOptions{Size: 64, Concurrency: 1, OnBatch: reported.add})

	require.NoError(t, err)
	assert.Len(t, reported, 64)
}

func TestAfterAnUnknownAttemptA413LeavesInDoubtWhatItsHalvesDoNotDelete(t *testing.T) {
	ids := []string{"a", "b", "c", "d", "e"}
	unknown, tooLarge := reply(503, `{"error":"busy"}`), reply(413, ``)
	none := reply(200, `{"deleted":[],"count":0}`)
	for name, test := range map[string]struct {
		steps                  []http.HandlerFunc
		deleted, inDoubt, rest []string // rest: not listed
	}{
		"the halves list nothing": {
			[]http.HandlerFunc{unknown, tooLarge, none, none, none},
			[]string{}, ids[:4], ids[4:],
		},
		"the quarters list nothing": {
			[]http.HandlerFunc{unknown, tooLarge, tooLarge, none},
			[]string{}, ids[:4], ids[4:],
		},
		"a half lists one": {
			[]http.HandlerFunc{unknown, tooLarge, reply(200, `{"deleted":["b"],"count":1}`), none},
			[]string{"b"}, []string{"a", "c", "d"}, ids[4:],
		},
		"the halves delete all": {
			[]http.HandlerFunc{
				unknown, tooLarge,
				reply(200, `{"deleted":["a","b"],"count":2}`), reply(200, `{"deleted":["c","d"],"count":2}`), none,
			},
			ids[:4], []string{}, ids[4:],
		},
		"the halves are refused": {
			[]http.HandlerFunc{unknown, tooLarge, reply(403, ``), reply(403, ``), none},
			[]string{}, ids[:4], ids[4:],
		},
		"a 413 alone leaves nothing in doubt": {
			[]http.HandlerFunc{tooLarge, none},
			[]string{}, []string{}, ids,
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, test.steps...)

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), ids,
				memoryplugin.BatchOptions{Size: 4, Concurrency: 1})

			assertAccounted(t, result, err, 5)
			assert.Equal(t, test.deleted, result.Deleted)
			assert.Equal(t, test.inDoubt, result.Unconfirmed)
			assert.Equal(t, test.rest, result.NotListed)
			if len(test.inDoubt) > 0 {
				assert.ErrorContains(t, err, `an earlier attempt may have been applied: 503 Service Unavailable: "busy"`)
			}
		})
	}
}

// The first batch is in doubt, then refused as too large; its first half ends the run.
func TestHalvesThatAreNeverSentStayInDoubt(t *testing.T) {
	ids := numberedIDs(12)
	for name, test := range map[string]struct {
		end http.HandlerFunc
		err error
	}{
		"because of a 401":                  {reply(401, ``), memoryplugin.ErrUnauthorized},
		"because of a Retry-After too long": {reply(429, ``, "Retry-After", "61"), memoryplugin.ErrRateLimited},
		"because of Stop":                   {nil, memoryplugin.ErrStopped},
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			var reported journal
			end := test.end
			if end == nil {
				end = func(w http.ResponseWriter, r *http.Request) {
					close(stop)
					reply(200, `{"deleted":[],"count":0}`)(w, r)
				}
			}
			srv := serve(t, reply(503, `{"error":"busy"}`), reply(413, ``), end)

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), ids,
				memoryplugin.BatchOptions{Size: 4, Concurrency: 1, Stop: stop, OnBatch: reported.add})

			assert.Len(t, srv.received(), 3)
			assertAccounted(t, result, err, 12)
			assert.Equal(t, ids[:4], result.Unconfirmed)
			assert.Equal(t, ids[4:], result.NotDeleted)
			assert.ErrorIs(t, err, test.err)
			require.Len(t, reported, 2)
			unsent := reported[1]
			assertAccounted(t, unsent.DeleteConversationsResult, unsent.err, 10)
			assert.Equal(t, ids[2:4], unsent.Unconfirmed)
			assert.Equal(t, ids[4:], unsent.NotDeleted)
			assert.ErrorIs(t, unsent.err, test.err)
			assert.ErrorContains(t, unsent.err, `an earlier attempt may have been applied: 503 Service Unavailable: "busy"`)
		})
	}
}

// The first half waits for the limiter, and the second one for its turn.
func TestHalvesThatAreNeverSentAreReportedOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: atMost(4)}
		stop := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(stop) })
		var reported journal

		_, err := newClient(t, "http://localhost", through(srv), limitedTo(1)).DeleteConversationsInBatches(t.Context(),
			numberedIDs(12), memoryplugin.BatchOptions{Size: 8, Concurrency: 1, Stop: stop, OnBatch: reported.add})

		assert.EqualError(t, err, "memoryplugin: delete conversations: 12 of 12 not deleted: stopped after 0 batches")
		require.Len(t, reported, 1)
		assert.Equal(t, numberedIDs(12), reported[0].NotDeleted)
	})
}

func TestNoHalfIsSentOnceARunHasEnded(t *testing.T) {
	for name, ending := range endingReplies {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, reply(413, ``), ending.step)

			result, err := newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(4),
				memoryplugin.BatchOptions{Concurrency: 1})

			assert.Len(t, srv.received(), 2)
			assertAccounted(t, result, err, 4)
			assert.ErrorContains(t, err, ending.reason)
		})
	}
}

func TestNoHalfIsSentOnceTheContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := serve(t, reply(413, ``), func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})

	result, err := newClient(t, srv.URL).DeleteConversationsInBatches(ctx, numberedIDs(4),
		memoryplugin.BatchOptions{Concurrency: 1})

	assert.Len(t, srv.received(), 2)
	assertAccounted(t, result, err, 4)
	assert.Equal(t, numberedIDs(4)[:2], result.Unconfirmed)
	assert.Equal(t, numberedIDs(4)[2:], result.NotDeleted)
	assert.ErrorIs(t, err, context.Canceled)
}

// Both batches are on the wire when the first one ends the run.
func TestA413ThatComesAfterTheEndOfARunIsNotHalved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{step: byFirstID(map[string]http.HandlerFunc{
			"conv-00000": slow(1*time.Second, reply(401, ``)),
			"conv-00002": slow(2*time.Second, reply(413, ``)),
		})}

		result, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(8),
			memoryplugin.BatchOptions{Size: 2, Concurrency: 2})

		assert.Len(t, srv.received(), 2)
		assertAccounted(t, result, err, 8)
		assert.Equal(t, numberedIDs(8), result.NotDeleted)
		assert.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	})
}

func TestALate413DoesNotMakeBatchesLargerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &batchServer{}
		srv.step = func(w http.ResponseWriter, r *http.Request, ids []string) {
			if ids[0] == "conv-00008" && len(ids) == 8 {
				<-time.After(5 * time.Second) // By then it is known that 2 is small enough.
			} else {
				<-time.After(time.Second)
			}
			atMost(2)(w, r, ids)
		}

		result, err := srv.inMemory(t).DeleteConversationsInBatches(t.Context(), numberedIDs(32),
			memoryplugin.BatchOptions{Size: 8, Concurrency: 2})

		require.NoError(t, err)
		assert.Len(t, result.Deleted, 32)
		assert.Equal(t, append([]int{8, 8, 4}, slices.Repeat([]int{2}, 16)...), lengths(srv.received()))
	})
}
