// Package memoryplugintest has an in-memory MemoryPlugin server, for tests of
// code that uses package memoryplugin.
//
// A [Server] is a real HTTP server on a loopback port. It keeps conversations, lists
// them, and deletes them as the API documents. It refuses what the API refuses. You
// can also make requests fail in the ways that a network does:
//
//	srv := memoryplugintest.NewServer(t)
//	srv.AddConversations("conv-1", "conv-2")
//	srv.FailNext(memoryplugintest.Fault{Status: http.StatusServiceUnavailable})
//	err := yourCode(srv.Client()) // retries, and deletes
//	left := srv.Conversations()
package memoryplugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/memoryplugin/memoryplugin-go"
)

// APIKey is the only key that a [Server] accepts.
const APIKey = "memoryplugintest-key"

const (
	conversationsPath = "/api/chat-history/chats"
	transcriptPath    = "/api/chat-history/conversation"
	countPath         = "/api/chat-history/count"
)

// maxBody is the most that a Server reads of a request's body.
const maxBody = 64 << 20

// Server is an in-memory MemoryPlugin server on loopback. Make it with
// [NewServer]. All methods are safe for concurrent use.
type Server struct {
	// URL is the base URL, such as "http://127.0.0.1:45678".
	URL string

	http   *httptest.Server
	closed context.Context // done when Close is called, to end delays
	close  context.CancelFunc

	mu            sync.Mutex
	conversations map[string]numbered // by id
	added         int
	sorted        []Conversation // in the order in which they were added; nil if out of date
	faults        []Fault
	failFunc      func(Request) Fault
	requests      []Request
	maxIDs        int
}

// Request is a request that a [Server] received.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte
	IDs    []string // nil if the body is not a deletion
}

// Fault says how a request fails; see [Server.FailNext]. You can combine the fields.
// They act in this order: the deletion, the delay, the reply or what is left of it.
// With the zero Fault, the Server answers as usual.
type Fault struct {
	// Applied deletes the requested conversations first, so the fault hides a
	// deletion that happened. If it is false, a Status or a Drop prevents the
	// deletion.
	Applied bool
	// Delay is how long the Server waits before it replies. Close ends the wait.
	Delay time.Duration
	// Status is the status of the reply, from 200 to 999.
	Status int
	// Header and Body belong to the reply with Status, so set Status too. If Body
	// is empty, the reply has the error body that the API documents. A
	// Retry-After makes a client wait at least one second.
	Header http.Header
	Body   string
	// Drop closes the connection without a reply, whatever Status says.
	Drop bool
	// CutReply closes the connection in the middle of the reply's body.
	CutReply bool
}

// NewServer starts a Server without conversations. The Server closes when the test
// tb and its subtests end. Outside tests, pass nil and call Close yourself.
func NewServer(tb testing.TB) *Server {
	s := &Server{conversations: map[string]numbered{}}
	s.closed, s.close = context.WithCancel(context.Background())
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = s.http.URL
	if tb != nil {
		tb.Cleanup(s.Close)
	}
	return s
}

// Close stops the Server, ends delays and closes all connections. It can be
// called more than once.
func (s *Server) Close() {
	s.close()
	s.http.CloseClientConnections()
	s.http.Close()
}

// Client returns a Client for this Server, with waits between attempts of a
// few milliseconds. The options are applied after the Client's own. It panics
// if an option can't be used.
func (s *Server) Client(opts ...memoryplugin.Option) *memoryplugin.Client {
	own := []memoryplugin.Option{
		memoryplugin.WithBaseURL(s.URL),
		memoryplugin.WithBackoff(time.Millisecond, 5*time.Millisecond),
	}
	client, err := memoryplugin.NewClient(APIKey, append(own, opts...)...)
	if err != nil {
		panic(err)
	}
	return client
}

// AddConversations adds conversations that have only an id. In a list, their title
// and platform are empty, the counts and Pinned are nil, and the times are zero.
// Their transcripts have no messages. An id that the Server already has is ignored.
func (s *Server) AddConversations(ids ...string) {
	for _, id := range ids {
		s.AddConversation(Conversation{Conversation: memoryplugin.Conversation{ID: id}})
	}
}

// AddConversation adds a conversation. If the Server already has its id, nothing
// changes. A nil field is sent as null, and a zero time is left out. A filter on
// such a field does not match.
//
// A Title filter matches a part of the title in any case. A Provider filter matches
// the whole Platform, in the same case. Dates are days in UTC.
func (s *Server) AddConversation(c Conversation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conversations[c.ID]; !ok {
		s.added++
		s.conversations[c.ID] = numbered{c, s.added}
		s.sorted = nil
	}
}

// Conversations returns the ids of the conversations that are left, in the order
// in which you added them.
func (s *Server) Conversations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := []string{}
	for _, c := range s.inOrder() {
		ids = append(ids, c.ID)
	}
	return ids
}

// numbered is a conversation, numbered in the order in which they were added.
type numbered struct {
	Conversation
	n int
}

func (s *Server) inOrder() []Conversation {
	if s.sorted == nil {
		byNumber := func(a, b numbered) int { return a.n - b.n }
		for _, c := range slices.SortedFunc(maps.Values(s.conversations), byNumber) {
			s.sorted = append(s.sorted, c.Conversation)
		}
	}
	return s.sorted
}

// Requests returns the requests that arrived so far, in the order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// FailNext makes the next requests fail, one for each fault, in this order. Any
// request takes a fault, a list as well as a deletion: to choose by Method or IDs,
// use [Server.FailFunc]. A second call adds faults after those that are left. It
// panics if a fault is not possible.
func (s *Server) FailNext(faults ...Fault) {
	for _, f := range faults {
		if err := f.check(); err != nil {
			panic(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// FailFunc calls fault for each request that FailNext has no fault for, and makes
// the request fail as the result says. Requests that come at the same time call it
// concurrently. If fault is nil, the default, no request fails. If a Fault is not
// possible, the request gets status 500 and the reason.
func (s *Server) FailFunc(fault func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failFunc = fault
}

func (f Fault) check() error {
	if f.Status != 0 && (f.Status < 200 || f.Status > 999) {
		return fmt.Errorf("memoryplugintest: the status %d of a Fault is not from 200 to 999", f.Status)
	}
	if f.Status == 0 && (f.Header != nil || f.Body != "") {
		return errors.New("memoryplugintest: a Fault with a Header or a Body needs a Status")
	}
	return nil
}

// LimitIDs makes the Server refuse a request with more than n ids, with status
// 413. 0, the default, is no limit.
func (s *Server) LimitIDs(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxIDs = n
}

// reply is what is sent, unless a fault keeps it from being sent.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	ids, serve := s.route(r, body)
	fault := s.receive(Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header, Body: body, IDs: ids})
	if err := fault.check(); err != nil {
		refuse(http.StatusInternalServerError, "%v", err).send(w, false)
		return
	}

	var answer *reply
	if fault.Applied {
		answer = serve()
	}
	s.wait(fault.Delay)
	switch {
	case fault.Drop:
		panic(http.ErrAbortHandler)
	case fault.Status != 0:
		answer = fault.reply()
	case answer == nil:
		answer = serve()
	}
	answer.send(w, fault.CutReply)
}

// receive records a request, and takes the fault that is meant for it.
func (s *Server) receive(r Request) Fault {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	failFunc := s.failFunc
	if len(s.faults) > 0 {
		fault := s.faults[0]
		s.faults = s.faults[1:]
		s.mu.Unlock()
		return fault
	}
	s.mu.Unlock() // Requests are not to wait for each other's function.
	if failFunc == nil {
		return Fault{}
	}
	return failFunc(r)
}

func (f Fault) reply() *reply {
	answer := refuse(f.Status, "%s", http.StatusText(f.Status))
	maps.Copy(answer.header, f.Header)
	if f.Body != "" {
		answer.body = []byte(f.Body)
	}
	return answer
}

func (s *Server) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closed.Done():
	}
}

// route returns what serves a request, and the ids that it would delete.
func (s *Server) route(r *http.Request, body []byte) (ids []string, serve func() *reply) {
	refused := func(status int, message string) func() *reply {
		return func() *reply { return refuse(status, "%s", message) }
	}
	reads := map[string]func(url.Values) *reply{
		conversationsPath: s.list, transcriptPath: s.transcript, countPath: s.count,
	}
	read, known := reads[r.URL.Path]
	switch {
	case !known:
		return nil, refused(http.StatusNotFound, "Not found")
	case r.Method == http.MethodGet:
	case r.Method != http.MethodDelete || r.URL.Path != conversationsPath:
		return nil, refused(http.StatusMethodNotAllowed, "Method not allowed")
	}
	switch mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case r.Header.Get("Authorization") != "Bearer "+APIKey:
		ids, _ := parseIDs(body) // Only a deletion has some.
		return ids, refused(http.StatusUnauthorized, "Invalid API key")
	case r.Method == http.MethodGet && len(body) > 0:
		return nil, refused(http.StatusBadRequest, "Invalid body: want none")
	case r.Method == http.MethodGet:
		return nil, func() *reply { return read(r.URL.Query()) }
	case mediaType != "application/json":
		return nil, refused(http.StatusUnsupportedMediaType, "The content type must be application/json")
	}
	ids, err := parseIDs(body)
	if err != nil {
		return nil, refused(http.StatusBadRequest, "Invalid body: "+err.Error())
	}
	return ids, func() *reply { return s.delete(ids) }
}

func (s *Server) delete(ids []string) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maxIDs > 0 && len(ids) > s.maxIDs {
		return refuse(http.StatusRequestEntityTooLarge, "At most %d ids", s.maxIDs)
	}
	deleted := []string{}
	for _, id := range ids {
		if _, ok := s.conversations[id]; ok {
			delete(s.conversations, id)
			deleted = append(deleted, id)
			s.sorted = nil
		}
	}
	return newReply(http.StatusOK, map[string]any{"deleted": deleted, "count": len(deleted)})
}

// parseIDs reads {"ids": ["...", ...]} and nothing else.
func parseIDs(body []byte) ([]string, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("not valid UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	if len(fields) != 1 {
		return nil, errors.New("want the property ids and no other")
	}
	var ids []*string
	if err := json.Unmarshal(fields["ids"], &ids); err != nil {
		return nil, fmt.Errorf("ids: %w", err)
	}
	if len(ids) == 0 {
		return nil, errors.New("no ids")
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		if id == nil || strings.TrimSpace(*id) == "" {
			return nil, fmt.Errorf("ids[%d] is blank", i)
		}
		texts[i] = *id
	}
	return texts, nil
}

func refuse(status int, format string, args ...any) *reply {
	return newReply(status, map[string]any{"error": fmt.Sprintf(format, args...)})
}

func newReply(status int, body any) *reply {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: text}
}

func (r *reply) send(w http.ResponseWriter, cut bool) {
	for name, values := range r.header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if bodyAllowed := r.status >= 200 && r.status != http.StatusNoContent && r.status != http.StatusNotModified; bodyAllowed {
		w.Header().Set("Content-Length", fmt.Sprint(len(r.body)))
	}
	w.WriteHeader(r.status)
	if !cut {
		_, _ = w.Write(r.body)
		return
	}
	_, _ = w.Write(r.body[:len(r.body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
