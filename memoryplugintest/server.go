// Package memoryplugintest has an in-memory MemoryPlugin server, for tests of
// code that uses package memoryplugin.
//
// A [Server] is a real HTTP server on a loopback port. It keeps conversations,
// lists and deletes them as the API documents it, refuses what the API would
// refuse, and fails coming requests in the ways that a network does:
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

// Request is a request that a [Server] has received.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte
	IDs    []string // nil if the body is not a deletion
}

// Fault says how one coming request fails; see [Server.FailNext]. The fields can
// be combined, and act in the order in which they stand here: first the deletion
// is applied, then comes the delay, then the reply, or what is left of it. The
// zero Fault is none: the request is served as usual.
type Fault struct {
	// Applied deletes the requested conversations before anything else
	// happens: the fault then hides a deletion that was made. Without it, a
	// Status or a Drop comes instead of the deletion.
	Applied bool
	// Delay is waited before the reply, or until the Server is closed.
	Delay time.Duration
	// Status, from 200 to 999, is the reply's status.
	Status int
	// Header and Body are those of the reply with Status, and need one. Without
	// a Body the reply has the error body that the API documents. A Retry-After
	// makes a client wait for a whole second at least.
	Header http.Header
	Body   string
	// Drop closes the connection without a reply, whatever Status says.
	Drop bool
	// CutReply closes the connection in the middle of the reply's body.
	CutReply bool
}

// NewServer starts a Server without conversations. It is closed when the test
// tb and its subtests have ended. A nil tb is allowed, for a Server outside
// tests; the caller then closes it.
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

// AddConversations adds conversations of which there is nothing but the id. They
// are listed with an empty title and platform, and without counts, times and pin;
// their transcripts have no messages. An id that is there already is not added a
// second time.
func (s *Server) AddConversations(ids ...string) {
	for _, id := range ids {
		s.AddConversation(Conversation{Conversation: memoryplugin.Conversation{ID: id}})
	}
}

// AddConversation adds a conversation with everything that the API can show. An
// id that is there already is not added a second time. What is nil or zero is sent
// as null or left out, and no filter on it matches.
func (s *Server) AddConversation(c Conversation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conversations[c.ID]; !ok {
		s.added++
		s.conversations[c.ID] = numbered{c, s.added}
		s.sorted = nil
	}
}

// Conversations returns the ids of the conversations that are left, in the
// order in which they were added.
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

// Requests returns the requests received so far, in the order of their arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// FailNext makes coming requests fail: the next one by the first fault, the one
// after it by the second, and so on, after faults that are still to come. It
// panics if a fault can't be made.
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

// FailFunc makes requests fail as fault says: always, or by their ids, say. It
// is called for each request that FailNext has no fault for, concurrently if the
// requests are. A nil fault, the default, makes none fail. A request whose fault
// can't be made gets status 500, with the reason.
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
		return nil, refused(http.StatusUnauthorized, "Invalid API key")
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
