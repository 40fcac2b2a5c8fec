// Package backend is a MemoryPlugin server that keeps the truth: it knows what it
// deleted, and judges what a client says about it.
package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
)

// Backend is the server. All methods are safe for concurrent use.
type Backend struct {
	*httptest.Server
	fault func() Fault

	mu            sync.Mutex
	conversations map[string]state
	leaving       []string // to be forgotten later
	falsehoods    []string
}

// mostLeaving is far more than there are on their way at a time.
const mostLeaving = 100_000

// state is what the backend knows of an id. The zero value is one that never
// was a conversation.
type state int

const (
	there state = iota + 1
	gone
	spared // there, and a client said that it did not delete it
)

func (s state) exists() bool { return s == there || s == spared }

// New starts a Backend. It calls fault for each deletion; nil is no fault.
func New(fault func() Fault) *Backend {
	b := &Backend{fault: fault, conversations: map[string]state{}}
	mux := http.NewServeMux()
	mux.HandleFunc("DELETE /api/chat-history/chats", b.delete)
	mux.HandleFunc("GET /api/chat-history/chats", b.list)
	mux.HandleFunc("GET /api/chat-history/conversation", b.transcript)
	b.Server = httptest.NewServer(mux)
	return b
}

// Add adds conversations.
func (b *Backend) Add(ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.conversations[id] = there
	}
}

// Forget removes what is known of ids. Those that a client said it did not delete
// go later: a request that is still on its way could belie it.
func (b *Backend) Forget(ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if b.conversations[id] == spared {
			b.leaving = append(b.leaving, id)
		} else {
			delete(b.conversations, id)
		}
	}
	for len(b.leaving) > mostLeaving {
		delete(b.conversations, b.leaving[0])
		b.leaving = b.leaving[1:]
	}
}

// apply deletes those of ids that are there, and returns them.
func (b *Backend) apply(ids []string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	deleted := []string{}
	for _, id := range ids {
		switch b.conversations[id] {
		case spared:
			b.belie("%s was deleted after the client said that it was not", id)
			fallthrough
		case there:
			b.conversations[id] = gone
			deleted = append(deleted, id)
		}
	}
	return deleted
}

func (b *Backend) delete(w http.ResponseWriter, r *http.Request) {
	var body struct{ IDs []string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		panic(http.ErrAbortHandler) // The client went away.
	}
	if b.fault != nil {
		if fault := b.fault(); fault != nil {
			fault(w, r, func() []string { return b.apply(body.IDs) })
			return
		}
	}
	confirm(w, b.apply(body.IDs))
}

func confirm(w http.ResponseWriter, deleted []string) {
	reply(w, http.StatusOK, map[string]any{"deleted": deleted, "count": len(deleted)})
}

func (b *Backend) list(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	size, _ := strconv.Atoi(r.URL.Query().Get("pageSize"))
	left := b.left()
	first := min((number-1)*size, len(left))
	items := []map[string]string{}
	for _, id := range left[first:min(first+size, len(left))] {
		items = append(items, map[string]string{"id": id})
	}
	reply(w, http.StatusOK, map[string]any{
		"items": items, "page": number, "pageSize": size, "total": len(left), "totalPages": (len(left) + size - 1) / size,
	})
}

func (b *Backend) left() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var left []string
	for id, state := range b.conversations {
		if state.exists() {
			left = append(left, id)
		}
	}
	slices.Sort(left)
	return left
}

func (b *Backend) transcript(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("conversationId")
	b.mu.Lock()
	state := b.conversations[id]
	b.mu.Unlock()
	if state.exists() {
		reply(w, http.StatusOK, map[string]any{"id": id, "messages": []string{}, "total": 0})
		return
	}
	reply(w, http.StatusNotFound, map[string]string{"error": "Conversation not found"})
}

func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
