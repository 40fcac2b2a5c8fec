package soak

import (
	"context"
	"flag"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var duration = flag.Duration("soak", 5*time.Second, "how long to soak")

const (
	goroutines = 64
	heapBound  = 64 << 20 // of everything: client, server and what the test keeps
)

func TestManyGoroutinesShareAClient(t *testing.T) {
	before := runtime.NumGoroutine()
	soak := newSoaking(t)
	ctx, cancel := context.WithTimeout(t.Context(), *duration)
	defer cancel()

	var workers sync.WaitGroup
	for range goroutines {
		workers.Go(func() { soak.work(ctx) })
	}
	heap := highestHeap(ctx)
	workers.Wait()
	soak.end()

	t.Logf("%s; the heap had at most %d MiB", soak, heap>>20)
	assert.Empty(t, soak.backend.Falsehoods())
	assert.Positive(t, soak.deleted.Load())
	assert.Less(t, heap, uint64(heapBound))
	const ofEventually = 1
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+ofEventually }, 10*time.Second, 10*time.Millisecond)
}

// highestHeap returns the most that was in use after a collection, until ctx ends.
func highestHeap(ctx context.Context) (highest uint64) {
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-tick.C:
			var stats runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&stats)
			highest = max(highest, stats.HeapAlloc)
		case <-ctx.Done():
			tick.Stop()
			return highest
		}
	}
}
