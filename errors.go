package memoryplugin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// What errors.Is finds in the error of a call. One error can be several of them.
var (
	// ErrUnauthorized is a reply with status 401: the API key is wrong or was revoked.
	ErrUnauthorized = errors.New("memoryplugin: unauthorized")
	// ErrForbidden is a reply with status 403: the API key may not do this.
	ErrForbidden = errors.New("memoryplugin: forbidden")
	// ErrNotFound is a reply with status 404: the base URL is probably wrong.
	ErrNotFound = errors.New("memoryplugin: not found")
	// ErrPayloadTooLarge is a reply with status 413: send fewer ids per request.
	ErrPayloadTooLarge = errors.New("memoryplugin: payload too large")
	// ErrRateLimited is a reply with status 429, where no retry is left, or its
	// Retry-After is above [WithMaxRetryAfter].
	ErrRateLimited = errors.New("memoryplugin: rate limited")

	// ErrInvalidArgument is a setting or an argument that can't be used.
	// Nothing was sent.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrUnexpectedResponse is a complete reply that is not what the API
	// documents, or that contradicts itself.
	ErrUnexpectedResponse = errors.New("unexpected response")
	// ErrOutcomeUnknown says that conversations may have been deleted without
	// the server's confirmation: those in Unconfirmed of the result.
	ErrOutcomeUnknown = errors.New("memoryplugin: outcome unknown")
)

// ErrorResponse is a reply with a status from 300 to 599. It is the API's own
// error body; errors.AsType finds it in the error of a call, and errors.Is matches
// it with [ErrUnauthorized] and the other sentinels of a status.
//
// Fields that the reply doesn't have, or that can't be read, are zero. Where
// the server echoes the API key, asterisks stand in its place. An ErrorResponse
// may be shared by the errors of several calls: don't change it.
type ErrorResponse struct {
	StatusCode int
	Message    string        // "error" in the body
	Text       string        // "text" in the body
	Score      float64       // "score" in the body
	RequestID  string        // the first of X-Request-Id, X-Vercel-Id and Cf-Ray, cut to 256 bytes
	RetryAfter time.Duration // 0 where the reply names none
	Header     http.Header
	Body       []byte // decompressed, at most 64 KiB
}

// Error returns the status, and quotes the server's words, or for a redirect
// its Location, cut to 512 bytes.
func (e *ErrorResponse) Error() string {
	status := statusText(e.StatusCode)
	if location := e.Header.Get("Location"); location != "" && e.StatusCode < 400 {
		return fmt.Sprintf("%s: redirect to %s was not followed", status, quote(location))
	}
	if words := cmp.Or(e.Message, e.Text, strings.TrimSpace(string(e.Body))); words != "" {
		return fmt.Sprintf("%s: %s", status, quote(words))
	}
	return status
}

// Is reports whether target is the sentinel error of e's status.
func (e *ErrorResponse) Is(target error) bool {
	switch e.StatusCode {
	case http.StatusUnauthorized:
		return target == ErrUnauthorized
	case http.StatusForbidden:
		return target == ErrForbidden
	case http.StatusNotFound:
		return target == ErrNotFound
	case http.StatusRequestEntityTooLarge:
		return target == ErrPayloadTooLarge
	case http.StatusTooManyRequests:
		return target == ErrRateLimited
	}
	return false
}

const maxErrorBody = 64 << 10

// newErrorResponse makes the error of a reply. body goes on after
// maxErrorBody, so that a key across the cut is found.
func newErrorResponse(resp *http.Response, body []byte, s secret) *ErrorResponse {
	struck := s.strike(string(body))
	e := &ErrorResponse{
		StatusCode: resp.StatusCode,
		RequestID:  requestID(resp.Header, s),
		RetryAfter: retryAfter(resp.Header, time.Now()),
		Header:     make(http.Header, len(resp.Header)),
		Body:       []byte(struck[:min(len(struck), maxErrorBody)]),
	}
	for name, values := range resp.Header {
		name = s.strikeName(name)
		for _, value := range values {
			e.Header[name] = append(e.Header[name], s.strike(value))
		}
	}
	e.readBody()
	// An escape in the JSON can hide the key from the first strike.
	e.Message, e.Text = s.strike(e.Message), s.strike(e.Text)
	if score := strconv.FormatFloat(e.Score, 'f', -1, 64); s.strike(score) != score {
		e.Score = 0 // A key of digits.
	}
	return e
}

// readBody takes what it can get: a property of another type, or a body that
// is cut, does not cost the others.
func (e *ErrorResponse) readBody() {
	fields := map[string]any{"error": &e.Message, "text": &e.Text, "score": &e.Score}
	_ = readObject(e.Body, func(name string, value json.RawMessage) error {
		if field, ok := fields[name]; ok {
			_ = json.Unmarshal(value, field)
		}
		return nil
	})
}

// readObject calls property for each property of the JSON object in body, and
// returns its error, or what keeps body from being one object and nothing else.
func readObject(body []byte, property func(name string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if start, err := dec.Token(); err != nil {
		return err
	} else if start != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if err := property(name.(string), value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if len(bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n")) > 0 {
		return errors.New("something after the JSON object")
	}
	return nil
}

const maxRequestID = 256

// requestID is cut, since it goes into the logs and journals of users.
func requestID(h http.Header, s secret) string {
	id := cmp.Or(h.Get("X-Request-Id"), h.Get("X-Vercel-Id"), h.Get("Cf-Ray"))
	struck := s.strike(id[:min(len(id), maxErrorBody)]) // More than is kept, for a key across the cut.
	return struck[:min(len(struck), maxRequestID)]
}

// failure is an attempt that the server did not answer with a complete 200.
type failure struct {
	err       error
	unknown   bool // the request may have been applied; else it certainly was not
	retry     bool // another attempt may do better
	byContext bool // err is the end of the call's own context
}

// statusFailure classifies a reply from 300 to 599 by its status alone. That a
// 4xx means that nothing was applied is an assumption.
func statusFailure(e *ErrorResponse) *failure {
	f := &failure{err: e}
	switch code := e.StatusCode; {
	case code == http.StatusTemporaryRedirect, code == http.StatusPermanentRedirect:
	case code < 400:
		f.unknown = true
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		f.retry = true
	case code < 500, code == http.StatusNotImplemented, code == http.StatusHTTPVersionNotSupported:
	default:
		f.unknown, f.retry = true, true
	}
	return f
}

// unexpectedFailure is a complete reply that the API does not document.
func unexpectedFailure(what string) *failure {
	return &failure{err: fmt.Errorf("%w: %s", ErrUnexpectedResponse, what), unknown: true}
}

// lostFailure is an attempt without a complete reply. connected says whether it
// had obtained a connection, so that the request may have reached the server.
func lostFailure(err error, connected bool, s secret) *failure {
	external := newExternalError(err, s)
	found := external.is
	external.is = func(target error) bool {
		// A time-out below the attempt can call itself that; the caller's context is not done.
		return target != context.DeadlineExceeded && target != context.Canceled && found(target)
	}
	return &failure{err: external, unknown: connected, retry: !permanent(err, connected)}
}

// permanent reports whether err, of a connection that could not be made, will
// be the same at the next try.
func permanent(err error, connected bool) bool {
	var certificate *tls.CertificateVerificationError
	var lookup *net.DNSError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return true
	case errors.As(err, &lookup):
		return lookup.IsNotFound
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return !connected // Later it is a damaged reply, not a plain port.
	}
	return false
}

// attemptTimeout is the error of an attempt that took longer than its bound.
// It is not context.DeadlineExceeded: the caller's context still has time.
type attemptTimeout time.Duration

func (t attemptTimeout) Error() string {
	return fmt.Sprintf("no complete reply within the attempt's time-out of %v", time.Duration(t))
}

// Timeout makes it a time-out to those who ask for net.Error's method.
func (t attemptTimeout) Timeout() bool { return true }

// externalError is an error of a transport, a limiter or a context's cause. It
// says what errors.Is and errors.As would find in it, but has no Unwrap, since
// what it wraps may print the API key. Closures, so that fmt can't print it.
type externalError struct {
	text string
	is   func(target error) bool
	as   func(target any) bool
}

func newExternalError(err error, s secret) *externalError {
	text := err.Error()
	text = text[:min(len(text), maxErrorBody)] // More than is quoted, for a key across the cut.
	return &externalError{
		text: quote(s.strike(text)),
		// A call of another Client can be the cause; its outcome is not this one's.
		is: func(target error) bool { return target != ErrOutcomeUnknown && errors.Is(err, target) },
		as: func(target any) bool {
			// An As method of its own can hand out what no Unwrap leads to.
			found := reflect.New(reflect.TypeOf(target).Elem())
			if !errors.As(err, found.Interface()) || s.isIn(err) || s.isIn(found.Elem().Interface()) {
				return false
			}
			reflect.ValueOf(target).Elem().Set(found.Elem())
			return true
		},
	}
}

func (e *externalError) Error() string        { return e.text }
func (e *externalError) Is(target error) bool { return e.is(target) }
func (e *externalError) As(target any) bool   { return e.as(target) }

// endedBy reports whether err is the end of ctx.
func endedBy(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// contextError is nil, or the error of a context that is done, with its cause. A
// transport returns the cause alone, which need not be context.Canceled.
func contextError(ctx context.Context, s secret) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if cause == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, newExternalError(cause, s))
}

// callError is the error of a call: what was asked, what happened, and after
// how many attempts.
type callError struct {
	operation string
	text      string
	attempts  int
	unknown   error // of an attempt that may have been applied
	wrapped   []error
}

func (e *callError) Error() string {
	plural := "s"
	if e.attempts == 1 {
		plural = ""
	}
	return fmt.Sprintf("memoryplugin: %s: %s (%d attempt%s)", e.operation, e.text, e.attempts, plural)
}

func (e *callError) Unwrap() []error { return e.wrapped }

func statusText(code int) string {
	// Not the server's own phrase, which can be anything.
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// quote makes text from outside safe to print: it can't forge a line of a log,
// move a terminal's cursor or flood either.
func quote(text string) string {
	const limit = 512
	quoted := strconv.Quote(text[:min(len(text), limit)])
	if len(text) <= limit && len(quoted) <= limit {
		return quoted
	}
	return strings.ToValidUTF8(quoted[:min(len(quoted)-1, limit-4)], "") + `..."`
}
