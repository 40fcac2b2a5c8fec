package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"github.com/memoryplugin/memoryplugin-go"
)

// hand is what one would write without an SDK.
type hand struct {
	base string
	send send
}

type send func(ctx context.Context, method, url string, body []byte) (*http.Response, error)

func (h hand) do(ctx context.Context, method, path string, body []byte, into any) error {
	resp, err := h.send(ctx, method, h.base+path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("unexpected status %s", resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// deletion is the answer to a deletion.
type deletion struct {
	Deleted []string `json:"deleted"`
	Count   int      `json:"count"`
}

func (h hand) delete(ctx context.Context, ids []string) (int, error) {
	body, err := json.Marshal(map[string]any{"ids": ids})
	if err != nil {
		return 0, err
	}
	var answer deletion
	err = h.do(ctx, http.MethodDelete, conversationsPath, body, &answer)
	return len(answer.Deleted), err
}

// deleteBatches is a bare pool of workers.
func (h hand) deleteBatches(ctx context.Context, ids []string, size, concurrency int) (int, error) {
	var mu sync.Mutex
	var deleted int
	var failed error
	var pool sync.WaitGroup
	queue := make(chan []string)
	for range concurrency {
		pool.Go(func() {
			for chunk := range queue {
				n, err := h.delete(ctx, chunk)
				mu.Lock()
				deleted, failed = deleted+n, errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	for chunk := range slices.Chunk(ids, size) {
		queue <- chunk
	}
	close(queue)
	pool.Wait()
	return deleted, failed
}

// page is one page of a list.
type page struct {
	Items      []memoryplugin.Conversation `json:"items"`
	Page       int                         `json:"page"`
	PageSize   int                         `json:"pageSize"`
	Total      int                         `json:"total"`
	TotalPages int                         `json:"totalPages"`
}

func (h hand) list(ctx context.Context) (int, error) {
	var all []memoryplugin.Conversation
	for number := 1; ; number++ {
		query := url.Values{"page": {strconv.Itoa(number)}, "pageSize": {"100"}}
		var answer page
		if err := h.do(ctx, http.MethodGet, conversationsPath+"?"+query.Encode(), nil, &answer); err != nil {
			return 0, err
		}
		all = append(all, answer.Items...)
		if len(all) >= answer.Total || len(answer.Items) == 0 {
			return len(all), nil
		}
	}
}
