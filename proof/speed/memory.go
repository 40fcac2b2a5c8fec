package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"

	"github.com/memoryplugin/memoryplugin-go"
)

// memoryPerID returns how many bytes a run in batches needs for each of n ids,
// at most at any time, beyond the ids themselves.
func memoryPerID(ctx context.Context, n int) (int, error) {
	client, err := memoryplugin.NewClient(apiKey, memoryplugin.WithHTTPClient(&http.Client{Transport: inMemory(echo)}))
	if err != nil {
		return 0, err
	}
	ids := newIDs(n)
	before, most, done := heap(), uint64(0), 0
	_, err = client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{
		OnBatch: func(batch *memoryplugin.DeleteConversationsResult, _ error) {
			if done += len(batch.Deleted); done%(n/10) < len(batch.Deleted) {
				most = max(most, heap())
			}
		},
	})
	if err == nil && done != n {
		err = fmt.Errorf("%d of %d are deleted", done, n)
	}
	runtime.KeepAlive(ids)
	return int(most-before) / n, err
}

// heap returns what is in use after a collection.
func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// echo confirms every id of a request, {"ids":[...]}.
func echo(request io.Reader) ([]byte, error) {
	body, err := io.ReadAll(request)
	ids := bytes.TrimSuffix(bytes.TrimPrefix(body, []byte(`{"ids":`)), []byte(`}`))
	return fmt.Appendf(nil, `{"deleted":%s,"count":%d}`, ids, bytes.Count(ids, []byte(`","`))+1), err
}
