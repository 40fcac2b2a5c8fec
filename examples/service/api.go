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
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/riverqueue/river"
)

const maxBody, maxIDs, maxText = 2 << 20, 10_000, 512 // maxText is for an id, an account, an Idempotency-Key

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
	errMediaType = &problem{http.StatusUnsupportedMediaType, "must be application/json", "Content-Type"}
	errInternal  = &problem{http.StatusInternalServerError, "internal error: try again later", ""}
)

// api is the HTTP side of the service.
type api struct {
	settings
	store store
	queue *river.Client[*sql.Tx]
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /erasures", a.answer(a.create))
	mux.HandleFunc("GET /erasures/{id}", a.answer(a.show))
	return mux
}

// answer makes a handler of a function that returns status and body, or an error.
func (a *api) answer(handle func(http.ResponseWriter, *http.Request) (int, any, error)) http.HandlerFunc {
	// Hashes are compared, since that takes the same time whatever the token's length.
	want := sha256.Sum256([]byte("Bearer " + a.token))
	return func(w http.ResponseWriter, r *http.Request) {
		status, body, err := 0, any(nil), error(errToken)
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if a.token == "" || subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			status, body, err = handle(w, r)
		}
		if err != nil {
			told, ok := errors.AsType[*problem](err)
			if errors.Is(err, sql.ErrNoRows) {
				told = errNoErasure
			} else if !ok {
				a.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
				told = errInternal
			}
			status, body = told.status, told
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.MarshalWrite(w, body, json.Deterministic(true)) // It fails if the caller is gone.
	}
}

// create stores an erasure and queues its work.
func (a *api) create(w http.ResponseWriter, r *http.Request) (int, any, error) {
	request, err := readRequest(w, r)
	if err != nil {
		return 0, nil, err
	}
	id, err := a.store.create(r.Context(), request, func(tx *sql.Tx, id string) error {
		_, err := a.queue.InsertTx(r.Context(), tx, eraseArgs{Erasure: id}, nil)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	w.Header().Set("Location", "/erasures/"+id)
	return http.StatusAccepted, map[string]string{"id": id}, nil
}

// show reports what is known of an erasure.
func (a *api) show(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	if checkText("id", r.PathValue("id")) != nil {
		return 0, nil, errNoErasure // PostgreSQL takes no such text.
	}
	e, err := a.store.find(r.Context(), r.PathValue("id"))
	return http.StatusOK, e, err
}

// erasureRequest is the body of POST /erasures, and the key in its header.
type erasureRequest struct {
	Account         string   `json:"account"`
	ConversationIDs []string `json:"conversationIds"`
	key             string
}

// readRequest reads ids to the letter. encoding/json would turn invalid UTF-8 and half
// surrogates into U+FFFD, and another conversation would be deleted.
func readRequest(w http.ResponseWriter, r *http.Request) (*erasureRequest, error) {
	// A browser lets no other site send this type.
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != "application/json" {
		return nil, errMediaType
	}
	request := &erasureRequest{key: r.Header.Get("Idempotency-Key")}
	err := json.UnmarshalRead(http.MaxBytesReader(w, r.Body, maxBody), request, json.RejectUnknownMembers(true))
	if err == nil {
		return request, request.check()
	}
	told := &problem{status: http.StatusBadRequest, Reason: err.Error()}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		told.status = http.StatusRequestEntityTooLarge
	} else if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		told.Field = string(syntax.JSONPointer)
	} else if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		told.Field = string(semantic.JSONPointer)
	}
	return nil, told
}

func (r *erasureRequest) check() error {
	wrong := checkText("/account", r.Account)
	if wrong == nil && r.key != "" {
		wrong = checkText("Idempotency-Key", r.key)
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
	reason := fmt.Sprintf("must be UTF-8 of 1 to %d bytes, not blank and without U+0000", maxText)
	return &problem{http.StatusUnprocessableEntity, reason, field}
}
