package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/riverqueue/river"
)

const maxBody, maxIDs, maxText = 2 << 20, 10_000, 512 // maxText is for an id, an account, a key

// problem is an error that the caller is told. Field is a header, or a JSON Pointer into the body.
type problem struct {
	status int
	Reason string `json:"error"`
	Field  string `json:"field,omitempty"`
}

func (p *problem) Error() string { return p.Reason }

var (
	errNoErasure = &problem{http.StatusNotFound, "there is no such erasure", "id"}
	errKeyReused = &problem{http.StatusUnprocessableEntity, "belongs to another account or other ids", "Idempotency-Key"}
	errToken     = &problem{http.StatusUnauthorized, "must be the service's token: Bearer TOKEN", "Authorization"}
	errHost      = &problem{http.StatusForbidden, "must be a loopback address, since the service has no token", "Host"}
	errNoPath    = &problem{http.StatusNotFound, "there is nothing but POST /erasures and GET /erasures/{id}", ""}
)

type api struct {
	settings
	store    store
	queue    *river.Client[*sql.Tx]
	creating sync.Mutex // so that many callers can't keep the runs from SQLite's one connection
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /erasures", a.answer(a.create))
	mux.HandleFunc("GET /erasures/{id}", a.answer(a.show))
	mux.HandleFunc("/", a.answer(func(http.ResponseWriter, *http.Request) (int, any, error) { return 0, nil, errNoPath }))
	return mux
}

// answer makes a handler of a function that returns status and body, or an error.
func (a *api) answer(handle func(http.ResponseWriter, *http.Request) (int, any, error)) http.HandlerFunc {
	// Hashes are compared, since that takes the same time whatever the token's length.
	want := sha256.Sum256([]byte("Bearer " + a.token))
	return func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		status, body, err := 0, any(nil), error(errToken)
		if a.token == "" && !isLoopback(r.Host) {
			err = errHost // A web site can give its own name this address.
		} else if a.token == "" || subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			status, body, err = handle(w, r)
		}
		if err != nil {
			told, ok := errors.AsType[*problem](err)
			if errors.Is(err, sql.ErrNoRows) {
				told = errNoErasure
			} else if !ok {
				told = &problem{http.StatusInternalServerError, "internal error: try again later", ""}
				a.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			}
			status, body = told.status, told
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.MarshalWrite(w, body, json.Deterministic(true)) // It fails if the caller is gone.
	}
}

func (a *api) create(w http.ResponseWriter, r *http.Request) (int, any, error) {
	request, err := readRequest(w, r)
	if err != nil {
		return 0, nil, err
	}
	a.creating.Lock()
	defer a.creating.Unlock()
	id, err := a.store.create(r.Context(), request, func(tx *sql.Tx, id string) error {
		_, err := a.queue.InsertTx(r.Context(), tx, eraseArgs{Erasure: id}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}})
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	w.Header().Set("Location", "/erasures/"+id)
	return http.StatusAccepted, map[string]string{"id": id}, nil
}

func (a *api) show(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	if checkText("id", r.PathValue("id")) != nil {
		return 0, nil, errNoErasure // PostgreSQL takes no such text.
	}
	e, err := a.store.find(r.Context(), r.PathValue("id"))
	return http.StatusOK, e, err
}

type erasureRequest struct {
	Account         string         `json:"account"`
	ConversationIDs []string       `json:"conversationIds"`
	key             sql.NullString // in the header
}

// readRequest reads ids to the letter. encoding/json would turn invalid UTF-8 and half
// surrogates into U+FFFD, and another conversation would be deleted.
func readRequest(w http.ResponseWriter, r *http.Request) (*erasureRequest, error) {
	// A browser lets no other site send this type.
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != "application/json" {
		return nil, &problem{http.StatusUnsupportedMediaType, "must be application/json", "Content-Type"}
	}
	keys := r.Header.Values("Idempotency-Key") // To HTTP, two are one, joined.
	request := &erasureRequest{key: sql.NullString{String: strings.Join(keys, ", "), Valid: keys != nil}}
	if err := json.UnmarshalRead(http.MaxBytesReader(w, r.Body, maxBody), request, json.RejectUnknownMembers(true)); err != nil {
		return nil, unreadable(err)
	}
	return request, request.check()
}

func unreadable(err error) *problem {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &problem{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", large.Limit), ""}
	}
	told := &problem{status: http.StatusBadRequest, Reason: "the body can't be read"}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		told.Reason, told.Field = fmt.Sprintf("invalid JSON at byte %d: %v", syntax.ByteOffset, syntax.Err), string(syntax.JSONPointer)
	} else if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		told.Reason, told.Field = "the member is unknown, or its value has the wrong type", string(semantic.JSONPointer)
	}
	told.Field = strings.ToValidUTF8(told.Field[:min(len(told.Field), maxText)], "")
	return told
}

func (r *erasureRequest) check() error {
	wrong := checkText("/account", r.Account)
	if wrong == nil && r.key.Valid {
		wrong = checkText("Idempotency-Key", r.key.String)
	}
	if n := len(r.ConversationIDs); wrong == nil && (n == 0 || n > maxIDs) {
		wrong = &problem{http.StatusUnprocessableEntity, fmt.Sprintf("must have 1 to %d ids", maxIDs), "/conversationIds"}
	}
	for i := 0; wrong == nil && i < len(r.ConversationIDs); i++ {
		wrong = checkText(fmt.Sprintf("/conversationIds/%d", i), r.ConversationIDs[i])
	}
	return wrong
}

func checkText(field, text string) error {
	if strings.TrimSpace(text) != "" && len(text) <= maxText && utf8.ValidString(text) && !strings.Contains(text, "\x00") {
		return nil
	}
	return &problem{http.StatusUnprocessableEntity, fmt.Sprintf("must be UTF-8 of 1 to %d bytes, not blank and without U+0000", maxText), field}
}
