package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

const pageSize = 100

func newIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("0b9a7c52-8d1e-4f3a-9c60-%012d", i)
	}
	return ids
}

// confirm is the answer to a deletion of ids.
func confirm(ids []string) []byte { return encode(deletion{Deleted: ids, Count: len(ids)}) }

// answer makes a server that answers every request alike.
func answer(body []byte) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		write(w, body)
	}))
}

// confirmAll makes a server that takes a time for each deletion, and confirms it.
func confirmAll(d time.Duration) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ IDs []string }
		if json.NewDecoder(r.Body).Decode(&request) != nil {
			panic(http.ErrAbortHandler)
		}
		time.Sleep(d)
		write(w, confirm(request.IDs))
	}))
}

// listAll makes a server with n conversations.
func listAll(n int) *httptest.Server {
	var pages [][]byte
	for first := 0; first <= n; first += pageSize {
		pages = append(pages, encode(newPage(first, min(pageSize, n-first), n)))
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.Atoi(r.URL.Query().Get("page"))
		write(w, pages[number-1])
	}))
}

// newPage is a page of n conversations from the first one on.
func newPage(first, n, total int) page {
	p := page{Items: []memoryplugin.Conversation{}, Page: first/pageSize + 1, PageSize: pageSize, Total: total, TotalPages: total / pageSize}
	for i := first; i < first+n; i++ {
		created := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
		messages, pinned := i%50, i%10 == 0
		p.Items = append(p.Items, memoryplugin.Conversation{
			ID: fmt.Sprintf("0b9a7c52-8d1e-4f3a-9c60-%012d", i), Title: fmt.Sprintf("A walk through Rome, part %d", i), Platform: "chatgpt",
			MessageCount: &messages, TokenCount: &i, CreatedAt: created, UpdatedAt: created.Add(time.Hour), Pinned: &pinned,
		})
	}
	return p
}

func write(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write(body)
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// inMemory answers requests without a network. It is given a request's body.
type inMemory func(request io.Reader) ([]byte, error)

func (f inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := f(r.Body)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(answer)), Body: io.NopCloser(bytes.NewReader(answer)), Request: r,
	}, nil
}
