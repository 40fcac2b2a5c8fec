package memoryplugin_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// BenchmarkDeleteConversationsInBatches compares a run of the SDK with a bare
// pool of as many workers, by hand over net/http, against a server that takes
// 20 ms a request. sdk/pool is the ratio of their throughputs, in turns within
// one run.
func BenchmarkDeleteConversationsInBatches(b *testing.B) {
	const size, concurrency = 100, 8
	srv := serveBatches(b, func(w http.ResponseWriter, r *http.Request, ids []string) {
		answer, _ := json.Marshal(handResult{Deleted: ids, Count: len(ids)})
		time.Sleep(20 * time.Millisecond)
		_, _ = w.Write(answer)
	})
	ids := numberedIDs(50 * concurrency * size)
	client := newClient(b, srv.URL)
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}}
	b.Cleanup(hc.CloseIdleConnections)
	sdk := func() int {
		result, err := client.DeleteConversationsInBatches(b.Context(), ids, memoryplugin.BatchOptions{Size: size, Concurrency: concurrency})
		require.NoError(b, err)
		return len(result.Deleted)
	}
	pool := func() int { return deleteByPool(b, hc, srv.URL, slices.Collect(slices.Chunk(ids, size)), concurrency) }
	timed := func(run func() int) time.Duration {
		start := time.Now()
		require.Equal(b, len(ids), run())
		return time.Since(start)
	}

	var sdkTime, poolTime time.Duration
	for b.Loop() {
		poolTime += timed(pool)
		sdkTime += timed(sdk)
	}

	b.ReportMetric(poolTime.Seconds()/sdkTime.Seconds(), "sdk/pool")
	b.ReportMetric(float64(b.N*len(ids))/sdkTime.Seconds(), "ids/s")
}

// deleteByPool deletes each chunk by one request, and returns how many
// conversations the server says to have deleted.
func deleteByPool(b *testing.B, hc *http.Client, url string, chunks [][]string, workers int) int {
	queue := make(chan []string)
	results := make(chan int)
	var pool sync.WaitGroup
	for range workers {
		pool.Go(func() {
			for chunk := range queue {
				result, err := deleteByHand(b, hc, url, chunk)
				if err != nil {
					b.Error(err)
					continue
				}
				results <- len(result.Deleted)
			}
		})
	}
	go func() {
		for _, chunk := range chunks {
			queue <- chunk
		}
		close(queue)
		pool.Wait()
		close(results)
	}()
	deleted := 0
	for n := range results {
		deleted += n
	}
	return deleted
}
