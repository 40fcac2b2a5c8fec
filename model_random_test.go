package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

func TestRandomCallsTellTheTruth(t *testing.T) {
	if *modelSeed != 0 {
		tryWorld(t, *modelSeed)
		return
	}
	require.Positive(t, *modelSeeds, "-model.seeds: nothing would be tried")
	start := time.Now()
	var requests atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		shards := uint64(runtime.GOMAXPROCS(0))
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for seed := 1 + shard; seed <= *modelSeeds; seed += shards {
					requests.Add(int64(tryWorld(t, seed)))
				}
			})
		}
	})
	t.Logf("%d seeds with %d requests in %v", *modelSeeds, requests.Load(), time.Since(start).Round(time.Millisecond))
}

// tryWorld lets some calls of one Client loose on one server. All that happens
// follows from the seed, unless the waits have jitter or two calls want the last
// token of the retry budget at the same moment.
func tryWorld(t *testing.T, seed uint64) (requests int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed)
		var calls sync.WaitGroup
		for range 1 + w.random.IntN(10) {
			call := w.newCall()
			calls.Go(func() { call.run(t.Context()) })
		}
		calls.Wait()
		for _, call := range w.calls {
			call.judge()
			requests += call.attempts
			require.Empty(t, call.report(), "to run it alone: go test -run TestRandomCalls -model.seed=%d .%s", seed, w.often())
		}
	})
	return requests
}

// often is what it takes to meet a failure again that depends on jitter.
func (w *world) often() string {
	if w.jitter == 0 {
		return ""
	}
	return " -count=100"
}

// world is a server, a Client, and its calls.
type world struct {
	*model
	random *rand.Rand
	seed   uint64
	kinds  []*kind
	calls  []*worldCall

	client  *memoryplugin.Client
	retries int
	timeout time.Duration // of an attempt
	jitter  time.Duration
	limited bool
}

// worldIDs have different lengths, so that the length of a request tells mostly
// which one it is.
var worldIDs = func() []string {
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("conv-%d%s", i, strings.Repeat("-", i*i%67))
	}
	return ids
}()

func newWorld(seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 0))
	w := &world{random: random, seed: seed, retries: random.IntN(5), timeout: upTo(random, time.Minute)}
	w.model = modelOf(slices.DeleteFunc(slices.Clone(worldIDs), func(string) bool { return random.IntN(10) == 0 }))
	w.kinds = slices.Concat(everyKind, longHolds, slices.Repeat(everyKind[:1], 20<<random.IntN(5)))
	opts := []memoryplugin.Option{through(w), memoryplugin.WithMaxRetries(w.retries), memoryplugin.WithAttemptTimeout(w.timeout)}
	if random.IntN(4) == 0 {
		w.jitter = upTo(random, time.Second)
	}
	opts = append(opts, memoryplugin.WithBackoff(w.jitter, 10*w.jitter))
	if w.limited = random.IntN(3) == 0; w.limited {
		opts = append(opts, memoryplugin.WithLimiter(worldLimiter{upTo(random, time.Second), 20 * random.Int64N(3)}))
	}
	client, err := memoryplugin.NewClient(testKey, opts...)
	if err != nil {
		panic(err)
	}
	w.client = client
	return w
}

var longHolds = []*kind{retryAfterOf(7, status(429, refused)), retryAfterOf(45, status(503, unknown))}

// upTo is a time that nothing else will hit to the nanosecond.
func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return 1 + time.Duration(random.Int64N(int64(most)))
}

// worldCall is one call, or one run of batches.
type worldCall struct {
	*modelCall
	world            *world
	ids              []string
	start            time.Duration
	opts             *memoryplugin.BatchOptions // nil for a single call
	limit            time.Duration              // its context's deadline, unless it is 0
	cancelIn, stopIn time.Duration              // unless they are 0

	result *memoryplugin.DeleteConversationsResult
	err    error
	told   journal
}

func (w *world) newCall() *worldCall {
	r := w.random
	from := r.IntN(len(worldIDs) - 1)
	c := &worldCall{world: w, start: upTo(r, time.Minute), ids: worldIDs[from:min(len(worldIDs), from+1+r.IntN(8))]}
	c.modelCall = &modelCall{single: true, kinds: w.kinds, events: noEvents, script: w.script(uint64(len(w.calls)))}
	if r.IntN(2) == 0 {
		c.ids = worldIDs[from : from+1+r.IntN(len(worldIDs)-from)]
		c.stop = make(chan struct{})
		c.opts = &memoryplugin.BatchOptions{Size: 1 + r.IntN(8), Concurrency: 1 + r.IntN(8), Stop: c.stop, OnBatch: c.told.add}
		c.single, c.size, c.concurrency = false, c.opts.Size, c.opts.Concurrency
	}
	for _, end := range []*time.Duration{&c.limit, &c.cancelIn, &c.stopIn} {
		if r.IntN(4) == 0 {
			*end = upTo(r, 2*time.Minute)
		}
	}
	w.calls = append(w.calls, c)
	return c
}

// script is random, but the same whichever of two requests comes first.
func (w *world) script(number uint64) modelScript {
	seen := map[int64]uint64{}
	return func(r *http.Request) (time.Duration, func(int) int) {
		seen[r.ContentLength]++
		random := rand.New(rand.NewPCG(w.seed, number<<32|uint64(r.ContentLength)<<16|seen[r.ContentLength]))
		return upTo(random, min(2*w.timeout, 2*time.Second)), random.IntN
	}
}

func (c *worldCall) run(ctx context.Context) {
	time.Sleep(c.start)
	if c.limit > 0 {
		limited, cancel := context.WithTimeout(ctx, c.limit)
		defer cancel()
		ctx = limited
	}
	ctx, _ = c.world.begin(ctx, c.ids, c.modelCall)
	defer c.cancel()
	began := time.Now()
	c.schedule(c.cancelIn, c.cancel, context.Canceled)
	if c.opts == nil {
		c.result, c.err = c.world.client.DeleteConversations(ctx, c.ids)
	} else {
		c.schedule(c.stopIn, c.endGently, memoryplugin.ErrStopped)
		c.result, c.err = c.world.client.DeleteConversationsInBatches(ctx, c.ids, *c.opts)
	}
	c.judgeTime(time.Since(began))
}

// schedule ends the call after a time, unless that is 0.
func (c *worldCall) schedule(d time.Duration, end func(), reason error) {
	if d == 0 {
		return
	}
	time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end(reason)
		end()
	})
}

// judgeTime complains of a call that goes on after its end.
func (c *worldCall) judgeTime(took time.Duration) {
	c.expect(c.limit == 0 || took <= c.limit, "later than the deadline", took-c.limit)
	waited := c.limit > 0 && took == c.limit && c.finished.Before(time.Now())
	c.expect(!waited || c.world.limited, "a wait for nothing until the deadline", c.limit)
	c.expect(c.cancelIn == 0 || took <= c.cancelIn, "later than the cancellation", took-c.cancelIn)
	stoppedIn := c.stopIn + c.world.timeout
	c.expect(c.opts == nil || c.stopIn == 0 || took <= stoppedIn, "later than the last reply after Stop", took-stoppedIn)
}

func (c *worldCall) judge() {
	c.modelCall.judge(c.result, c.err)
	if c.opts == nil {
		c.expect(c.attempts <= 1+c.world.retries, "too many attempts", c.attempts)
	} else {
		c.judgeBatches(c.result, c.told, c.world.retries)
	}
}

// worldLimiter lets attempts through at the end of each interval, and fails in some
// of them. It does not matter who asks first.
type worldLimiter struct {
	interval time.Duration
	failing  int64 // one interval of as many, unless it is 0
}

var errWorldLimiter = errors.New("the limiter is out of order")

func (l worldLimiter) Wait(ctx context.Context) error {
	number := time.Now().UnixNano()/int64(l.interval) + 1
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(time.Unix(0, number*int64(l.interval)))):
	}
	if l.failing > 0 && number%l.failing == 0 {
		return errWorldLimiter
	}
	return nil
}
