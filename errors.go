package memoryplugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
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
	// ErrNotFound is a reply with status 404. For [Client.GetTranscript] there is no
	// such conversation; for anything else the base URL is probably wrong.
	ErrNotFound = errors.New("memoryplugin: not found")
	// ErrPayloadTooLarge is a reply with status 413: send fewer ids per request.
	ErrPayloadTooLarge = errors.New("memoryplugin: payload too large")
	// ErrRateLimited is a reply with status 429 after the last retry, or with a
	// Retry-After above [WithMaxRetryAfter].
	ErrRateLimited = errors.New("memoryplugin: rate limited")

	// ErrInvalidArgument is a setting or an argument that can't be used.
	// Nothing was sent.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrUnexpectedResponse is a complete reply that is not what the API
	// documents, or that contradicts itself.
	ErrUnexpectedResponse = errors.New("unexpected response")
	// ErrUnconfirmed says that conversations may have been deleted without the
	// server's confirmation: those in Unconfirmed of the result.
	ErrUnconfirmed = errors.New("unconfirmed")
	// ErrStopped says that ids were left unsent, or not sent again, because
	// [BatchOptions].Stop was closed.
	ErrStopped = errors.New("stopped")
)

var sentinels = []error{
	ErrUnauthorized, ErrForbidden, ErrNotFound, ErrPayloadTooLarge, ErrRateLimited,
	ErrInvalidArgument, ErrUnexpectedResponse, ErrUnconfirmed, ErrStopped,
}

// ErrorResponse is a reply with a status from 300 to 599: the API's own error
// body, and what came with it. errors.AsType finds it in the error of a call,
// and errors.Is matches it with [ErrUnauthorized] and the other sentinels of a
// status.
//
// A field that the reply doesn't have, or that can't be read, is zero. If the
// server echoes the API key, asterisks stand in its place. The errors of several
// calls may share an ErrorResponse: don't change it.
type ErrorResponse struct {
	StatusCode int
	Message    string        // "error" in the body
	Text       string        // "text" in the body
	Score      float64       // "score" in the body
	RequestID  string        // the first of X-Request-Id, X-Vercel-Id and Cf-Ray, cut to 256 bytes
	RetryAfter time.Duration // 0 if the reply names none
	Header     http.Header
	Body       []byte // at most 64 KiB; nil if it is still encoded (compressed)
}

// Error returns the status, and quotes the server's words (for a redirect its
// Location), cut to 512 bytes.
func (e *ErrorResponse) Error() string {
	status := statusText(e.StatusCode)
	if location := e.Header.Get("Location"); location != "" && e.StatusCode >= 300 && e.StatusCode < 400 {
		return fmt.Sprintf("%s: redirect to %s was not followed", status, quote(location))
	}
	if encoding := stillEncoded(e.Header); encoding != "" {
		return fmt.Sprintf("%s: the reply is still encoded as %s", status, quote(encoding))
	}
	start := string(e.Body[:min(len(e.Body), 2*maxQuote)])
	if words := cmp.Or(e.Message, e.Text, strings.TrimSpace(start)); words != "" {
		return fmt.Sprintf("%s: %s", status, quote(words))
	}
	return status
}

var statusErrors = map[int]error{
	http.StatusUnauthorized:          ErrUnauthorized,
	http.StatusForbidden:             ErrForbidden,
	http.StatusNotFound:              ErrNotFound,
	http.StatusRequestEntityTooLarge: ErrPayloadTooLarge,
	http.StatusTooManyRequests:       ErrRateLimited,
}

// Is reports whether target is the sentinel error of e's status.
func (e *ErrorResponse) Is(target error) bool {
	return target != nil && target == statusErrors[e.StatusCode]
}

// Retryable reports whether sending the request again later may work. It is true
// for exactly the statuses that the SDK itself retries: 408, 425, 429, 460, 499,
// 5xx except 501 and 505, and a 403 with a Retry-After.
func (e *ErrorResponse) Retryable() bool {
	_, retry := judge(e.StatusCode, e.RetryAfter)
	return retry
}

const maxErrorBody = 64 << 10

// newErrorResponse makes the error of a reply. body goes on after maxErrorBody,
// so that a key across the cut is found.
func newErrorResponse(resp *http.Response, body []byte, s secret) *ErrorResponse {
	e := &ErrorResponse{
		StatusCode: resp.StatusCode,
		RequestID:  requestID(resp.Header, s),
		RetryAfter: retryAfter(resp.Header, time.Now()),
		Header:     s.strikeHeader(resp.Header),
	}
	if stillEncoded(resp.Header) != "" {
		return e // The key could hide in it.
	}
	struck := s.strike(string(body))
	e.Body = []byte(struck[:min(len(struck), maxErrorBody)])
	var fields map[string]json.RawMessage
	if json.Unmarshal(e.Body, &fields) == nil {
		// An escape in the JSON can hide the key from the first strike.
		e.Message, e.Text = s.strike(decoded[string](fields["error"])), s.strike(decoded[string](fields["text"]))
		e.Score = decoded[float64](fields["score"])
	}
	return e
}

// decoded returns the zero T if value can't be read as one.
func decoded[T any](value json.RawMessage) T {
	var v, zero T
	if json.Unmarshal(value, &v) != nil {
		return zero // Not v: a decoder may leave something in it.
	}
	return v
}

const maxRequestID = 256

// requestID is cut, since it goes into the logs and journals of users.
func requestID(h http.Header, s secret) string {
	id := cmp.Or(h.Get("X-Request-Id"), h.Get("X-Vercel-Id"), h.Get("Cf-Ray"))
	struck := s.strike(id[:min(len(id), maxErrorBody)]) // More than is kept, for a key across the cut.
	return struck[:min(len(struck), maxRequestID)]
}

// stillEncoded names the encoding, such as gzip, that a transport has left in place.
func stillEncoded(h http.Header) string {
	encoding := strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ", "))
	if strings.EqualFold(encoding, "identity") {
		return ""
	}
	return encoding
}

// strangeNotFound is a 404 to a read that is not the API's own. It is not [ErrNotFound],
// since it says nothing about a conversation.
type strangeNotFound struct{ reply *ErrorResponse }

func (e *strangeNotFound) Error() string {
	text := e.reply.Error()
	if isObject(e.reply.Body) {
		text = statusText(e.reply.StatusCode) // Conversations are private.
	}
	return text + ", which is not the API's own: check the base URL"
}

func (e *strangeNotFound) Is(target error) bool { return target == ErrUnexpectedResponse }

func (e *strangeNotFound) As(target any) bool {
	reply, ok := target.(**ErrorResponse)
	if ok {
		*reply = e.reply
	}
	return ok
}

// callError is the error of a call or a run. It says what was asked, how many
// ids are unconfirmed, and what happened.
type callError struct {
	asked       string // the operation, and how many ids it leaves in doubt
	happened    string
	suffix      string // how many attempts, and the request id
	unconfirmed bool
	wrapped     []error
}

func (e *callError) Error() string   { return "memoryplugin: " + e.asked + ": " + e.happened + e.suffix }
func (e *callError) Unwrap() []error { return e.wrapped }

// Is finds ErrUnconfirmed here alone, never in what is wrapped: the outcome of
// another call is not that of this one.
func (e *callError) Is(target error) bool { return target == ErrUnconfirmed && e.unconfirmed }

// Format prints the text whatever the verb is: others, such as %d and %#v, would
// print the fields of the errors of others.
func (e *callError) Format(s fmt.State, verb rune) {
	fmt.Fprintf(s, fmt.FormatString(s, verb), e.Error())
}

// foreignError is an error of a transport, a limiter or a context. errors.Is and
// errors.As find what is in it, except our own errors: what another call met
// says nothing about this one.
type foreignError struct {
	from string // who made it, or ""
	text string // what it says, without the key
	err  error
}

func newForeignError(from string, err error, s secret) *foreignError {
	text := err.Error()
	text = s.strike(text[:min(len(text), maxErrorBody)]) // More than is kept, for a key across the cut.
	return &foreignError{from: from, text: text[:min(len(text), maxQuote)], err: err}
}

func (e *foreignError) Error() string { return e.say(quote(e.text)) }

func (e *foreignError) say(text string) string {
	if e.from == "" {
		return text
	}
	return e.from + ": " + text
}

// Format prints the text whatever the verb is, as callError does.
func (e *foreignError) Format(s fmt.State, verb rune) {
	fmt.Fprintf(s, fmt.FormatString(s, verb), e.Error())
}

func (e *foreignError) Is(target error) bool {
	return !slices.Contains(sentinels, target) && errors.Is(e.err, target)
}

func (e *foreignError) As(target any) bool {
	ours := reflect.TypeFor[*ErrorResponse]().AssignableTo(reflect.TypeOf(target).Elem())
	return !ours && errors.As(e.err, target)
}

// ownReason is the cause of a context that the SDK itself has ended.
type ownReason struct{ error }

// contextError returns nil, or why ctx has ended: the SDK's own reason, or the
// context's error with its cause, which need not be context.Canceled.
func contextError(ctx context.Context, s secret) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if reason, ok := cause.(ownReason); ok {
		return reason.error
	}
	from := "the context ended" // A Context of the caller's own can say anything.
	if err == context.Canceled || err == context.DeadlineExceeded {
		if cause == err {
			return err
		}
		from = err.Error()
	}
	foreign := newForeignError(from, cause, s)
	foreign.err = errors.Join(err, cause)
	return foreign
}

func statusText(code int) string {
	// Not the server's own phrase, which can be anything.
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

const maxQuote = 512

// quote makes text from outside safe to print: it can't forge a line of a log,
// move a terminal's cursor or flood either.
func quote(text string) string {
	quoted := strconv.Quote(text[:min(len(text), maxQuote)])
	if len(text) <= maxQuote && len(quoted) <= maxQuote {
		return quoted
	}
	return strings.ToValidUTF8(quoted[:min(len(quoted)-1, maxQuote-4)], "") + `..."`
}
