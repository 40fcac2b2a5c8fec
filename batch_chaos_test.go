package memoryplugin_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// chaosFaults says how many of 400 requests meet each fault. The others are
// served as usual, but for the limit of ids.
var chaosFaults = map[string]int{
	"503":                         10,
	"503 after it was applied":    8,
	"429":                         8,
	"429 with a Retry-After":      1,
	"400":                         2,
	"reset":                       8,
	"reset after it was applied":  8,
	"closed":                      8,
	"closed after it was applied": 8,
	"reply cut short":             8,
	"too slow":                    4,
	"too slow, but applied":       4,
	"applied when given up":       4,
	"no confirmation":             3,
	"a wrong count":               3,
	"a count alone":               6,
	"another order":               10,
}

// chaosServer deletes conversations, and fails in every way that a network can.
type chaosServer struct {
	*httptest.Server
	limit  int      // of ids a request, unknown to the client
	faults []string // of coming requests, over and over

	// ending answers all requests from some number on.
	endsAt int
	ending http.HandlerFunc

	mu            sync.Mutex
	requests      int
	conversations map[string]bool // true while it is there, false once it is deleted
}

func newChaosServer(random *rand.Rand, conversations []string) *chaosServer {
	s := &chaosServer{
		limit:         30 + random.IntN(60),
		faults:        make([]string, 400),
		conversations: make(map[string]bool, len(conversations)),
	}
	places := random.Perm(len(s.faults))
	for _, fault := range slices.Sorted(maps.Keys(chaosFaults)) {
		for range chaosFaults[fault] {
			s.faults[places[0]], places = fault, places[1:]
		}
	}
	for _, id := range conversations {
		s.conversations[id] = true
	}
	s.Server = httptest.NewServer(&batchServer{step: s.answer})
	return s
}

func (s *chaosServer) answer(w http.ResponseWriter, r *http.Request, ids []string) {
	number, fault := s.next()
	if s.ending != nil && number >= s.endsAt {
		s.ending(w, r)
		return
	}
	switch fault {
	case "503":
		reply(503, `{"error":"busy"}`)(w, r)
	case "503 after it was applied":
		s.apply(ids)
		reply(503, `{"error":"busy"}`)(w, r)
	case "429":
		reply(429, ``)(w, r)
	case "429 with a Retry-After":
		if number > len(s.faults) {
			reply(429, ``)(w, r) // One second of waiting is enough.
			return
		}
		reply(429, ``, "Retry-After", "1")(w, r)
	case "400":
		reply(400, `{"error":"no"}`)(w, r)
	case "reset":
		reset(w)
	case "reset after it was applied":
		s.apply(ids)
		reset(w)
	case "closed":
		drop(w, r)
	case "closed after it was applied":
		s.apply(ids)
		drop(w, r)
	case "reply cut short":
		w.Header().Set("Content-Length", "1000000")
		confirmDeleted(w, r, s.apply(ids))
	case "too slow":
		<-r.Context().Done()
	case "too slow, but applied":
		s.apply(ids)
		<-r.Context().Done()
	case "applied when given up":
		<-r.Context().Done()
		s.apply(ids)
	case "no confirmation":
		s.apply(ids)
		reply(200, `{"ok":true}`)(w, r)
	case "a wrong count":
		_ = json.NewEncoder(w).Encode(map[string]any{"deleted": s.apply(ids), "count": len(ids) + 1})
	default:
		s.serve(fault, w, r, ids)
	}
}

// serve answers as the API documents it.
func (s *chaosServer) serve(variant string, w http.ResponseWriter, r *http.Request, ids []string) {
	if len(ids) > s.limit {
		reply(413, ``)(w, r)
		return
	}
	deleted := s.apply(ids)
	switch {
	case variant == "a count alone":
		_ = json.NewEncoder(w).Encode(map[string]any{"count": len(deleted)})
	case variant == "another order":
		slices.Reverse(deleted)
		fallthrough
	default:
		confirmDeleted(w, r, deleted)
	}
}

func (s *chaosServer) next() (number int, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	return s.requests, s.faults[s.requests%len(s.faults)]
}

// apply deletes what there is of ids.
func (s *chaosServer) apply(ids []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	deleted := []string{}
	for _, id := range ids {
		if s.conversations[id] {
			s.conversations[id] = false
			deleted = append(deleted, id)
		}
	}
	return deleted
}

// reset ends the connection with a TCP reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// client gives up soon, so that many batches fail in the end.
func (s *chaosServer) client(t testing.TB) *memoryplugin.Client {
	t.Helper()
	return newClient(t, s.URL, memoryplugin.WithMaxRetries(2), memoryplugin.WithAttemptTimeout(200*time.Millisecond))
}

// assertTrue checks every state that a run gives to an id against what the server
// has done.
func (s *chaosServer) assertTrue(t *testing.T, ids []string, result *memoryplugin.DeleteConversationsResult, err error) {
	t.Helper()
	s.Close() // Waits for what is still applied after the client has given up.
	assertAccounted(t, result, err, len(ids))
	var falselyDeleted, falselyNotDeleted, falselyNotListed []string
	for _, id := range result.Deleted {
		if there, existed := s.conversations[id]; there || !existed {
			falselyDeleted = append(falselyDeleted, id)
		}
	}
	for _, id := range result.NotDeleted {
		if there, existed := s.conversations[id]; existed && !there {
			falselyNotDeleted = append(falselyNotDeleted, id)
		}
	}
	for _, id := range result.NotListed {
		if _, existed := s.conversations[id]; existed {
			falselyNotListed = append(falselyNotListed, id)
		}
	}
	assert.Empty(t, falselyDeleted, "reported deleted, but still there or never there")
	assert.Empty(t, falselyNotDeleted, "reported not deleted, but this run deleted it")
	assert.Empty(t, falselyNotListed, "reported not listed, but it was there")
}

// assertSum checks that the batches of a run add up to its result.
func assertSum(t *testing.T, result *memoryplugin.DeleteConversationsResult, batches journal) {
	t.Helper()
	sum := &memoryplugin.DeleteConversationsResult{}
	for _, batch := range batches {
		sum.Deleted = append(sum.Deleted, batch.Deleted...)
		sum.NotListed = append(sum.NotListed, batch.NotListed...)
		sum.NotDeleted = append(sum.NotDeleted, batch.NotDeleted...)
		sum.Unconfirmed = append(sum.Unconfirmed, batch.Unconfirmed...)
		sum.Count += batch.Count
	}
	assertSameIDs(t, result.Deleted, sum.Deleted)
	assertSameIDs(t, result.NotListed, sum.NotListed)
	assertSameIDs(t, result.NotDeleted, sum.NotDeleted)
	assertSameIDs(t, result.Unconfirmed, sum.Unconfirmed)
	assert.Equal(t, result.Count, sum.Count)
}

// assertSameIDs is ElementsMatch for thousands of them.
func assertSameIDs(t *testing.T, want, got []string) {
	t.Helper()
	assert.Equal(t, slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got)))
}

// chaosIDs returns n ids, and those of them that are conversations.
func chaosIDs(random *rand.Rand, n int) (ids, conversations []string) {
	for i := range n {
		if random.IntN(20) == 0 {
			ids = append(ids, fmt.Sprintf("never-there-%d", i))
			continue
		}
		ids = append(ids, fmt.Sprintf("conv-%d", i))
		conversations = append(conversations, ids[i])
	}
	return ids, conversations
}

// eachChaosSeed runs the test with a new seed, with as many as CHAOS_SEEDS says,
// or with the one in CHAOS_SEED. The seed is in the name of the subtest.
func eachChaosSeed(t *testing.T, test func(t *testing.T, random *rand.Rand)) {
	var seeds []uint64
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		seeds = append(seeds, seed)
	} else {
		n, err := strconv.Atoi(cmp.Or(os.Getenv("CHAOS_SEEDS"), "1"))
		require.NoError(t, err)
		for range n {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("CHAOS_SEED=%d", seed), func(t *testing.T) {
			test(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

func TestNoIDIsLostOrReportedFalselyInChaos(t *testing.T) {
	eachChaosSeed(t, func(t *testing.T, random *rand.Rand) {
		ids, conversations := chaosIDs(random, 24_000)
		srv := newChaosServer(random, conversations)

		result, err := srv.client(t).DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{Concurrency: 8})

		srv.assertTrue(t, ids, result, err)
		t.Logf("%d requests: %d deleted, %d not listed, %d not deleted, %d unconfirmed", srv.requests,
			len(result.Deleted), len(result.NotListed), len(result.NotDeleted), len(result.Unconfirmed))
		assert.GreaterOrEqual(t, srv.requests, len(srv.faults), "not every fault has occurred")
		assert.Greater(t, len(result.Deleted), len(conversations)/4)
	})
}

func TestNoIDIsLostOrReportedFalselyHoweverARunEnds(t *testing.T) {
	eachChaosSeed(t, func(t *testing.T, random *rand.Rand) {
		for ending := range 5 {
			ids, conversations := chaosIDs(random, 6000)
			srv := newChaosServer(random, conversations)
			srv.endsAt = 1 + random.IntN(40)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := make(chan struct{})
			closeStop := sync.OnceFunc(func() { close(stop) })
			switch ending {
			case 0:
				srv.ending = reply(401, ``)
			case 1:
				srv.ending = reply(429, ``, "Retry-After", "3600")
			case 2:
				srv.ending = reply(503, ``, "Retry-After", "3600")
			case 3:
				srv.ending = func(_ http.ResponseWriter, r *http.Request) {
					cancel()
					<-r.Context().Done()
				}
			case 4:
				srv.ending = func(w http.ResponseWriter, r *http.Request) {
					closeStop()
					reply(503, ``)(w, r)
				}
			}
			var batches journal

			result, err := srv.client(t).DeleteConversationsInBatches(ctx, ids,
				memoryplugin.BatchOptions{Concurrency: 1 + random.IntN(8), Stop: stop, OnBatch: batches.add})

			srv.assertTrue(t, ids, result, err)
			assertSum(t, result, batches)
			assert.NotEmpty(t, result.NotDeleted)
		}
	})
}
