package memoryplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

const conversationsPath = "/api/chat-history/chats"

// DeleteConversationsResult says what became of each id. Deleted, NotDeleted
// and Unconfirmed divide the requested ids: each is in exactly one of them,
// once, even if it was requested twice. None of the lists is nil.
type DeleteConversationsResult struct {
	// Deleted are the requested ids that the server reports deleted, in its
	// order, or in the order of the request where it only reports their number.
	Deleted []string `json:"deleted"`
	// Count is the number of deletions as the server reports it, or the length
	// of Deleted where it does not.
	Count int `json:"count"`
	// NotDeleted are certainly not deleted by this call, in the order of the
	// request. After a nil error: the account has no such conversation.
	NotDeleted []string `json:"notDeleted"`
	// Unconfirmed were not reported deleted, but may be gone, in the order of
	// the request. Send them again: what is NotDeleted then is gone, or was
	// never there.
	Unconfirmed []string `json:"unconfirmed"`
	// Attempts is the number of HTTP requests made.
	Attempts int `json:"attempts"`
	// RequestID names the last reply to the server's operators: the first of
	// its headers X-Request-Id, X-Vercel-Id and Cf-Ray.
	RequestID string `json:"requestId"`
}

// DeleteConversations deletes the conversations with these ids, with their
// messages, chunks and vectors, irreversibly and in one request. Ids are sent
// to the letter; one that is given twice is sent once. The API documents no
// limit on their number; for more than some hundreds see the package's notes
// on batches. ids can be reused when it returns.
//
// A nil error means that the server has answered for every id: it is in
// Deleted, or in NotDeleted since there is no such conversation. With an error
// the result still accounts for every id, and is nil only with
// [ErrInvalidArgument]: no ids, one that is blank or not valid UTF-8, or a nil
// context. The error is [ErrOutcomeUnknown] exactly when Unconfirmed is not
// empty, [ErrUnexpectedResponse] when the reply is not what the API documents
// or contradicts itself, and wraps an [*ErrorResponse] when the server refused
// the call, such as [ErrUnauthorized]. It is ctx's error where that ended the call.
//
// Failures that may pass are retried; see the package documentation.
//
//	DELETE /api/chat-history/chats
func (c *Client) DeleteConversations(ctx context.Context, ids []string) (*DeleteConversationsResult, error) {
	const operation = "delete conversations"
	if err := c.check(ctx); err != nil {
		return nil, invalidArgument(operation, err)
	}
	requested, err := newRequested(ids)
	if err != nil {
		return nil, invalidArgument(operation, err)
	}
	body, err := json.Marshal(deletionRequest{requested.ids})
	if err != nil {
		return nil, invalidArgument(operation, err)
	}
	call := c.do(ctx, operation, http.MethodDelete, conversationsPath, body)
	return requested.account(call)
}

type deletionRequest struct {
	IDs []string `json:"ids"`
}

// check refuses what no method can work with.
func (c *Client) check(ctx context.Context) error {
	if c == nil || c.transport == nil {
		return errors.New("the Client was not made by NewClient")
	}
	if ctx == nil {
		return errors.New("the context is nil")
	}
	return nil
}

// requested are the ids of one request, each once and in its order.
type requested struct {
	ids      []string
	position map[string]int // of an id in ids
}

// newRequested copies ids, or says why one of them can't be sent.
func newRequested(ids []string) (*requested, error) {
	if len(ids) == 0 {
		return nil, errors.New("no ids")
	}
	r := &requested{ids: make([]string, 0, len(ids)), position: make(map[string]int, len(ids))}
	for i, id := range ids {
		if err := checkID(id); err != nil {
			return nil, fmt.Errorf("ids[%d] %w", i, err)
		}
		if _, ok := r.position[id]; !ok {
			r.position[id] = len(r.ids)
			r.ids = append(r.ids, id)
		}
	}
	return r, nil
}

func checkID(id string) error {
	if strings.TrimSpace(id) == "" {
		return errors.New("is blank")
	}
	if !utf8.ValidString(id) {
		// JSON would carry another id, and another conversation would be deleted.
		return errors.New("is not valid UTF-8")
	}
	return nil
}

// account says what became of each id, and returns the error that goes with it.
func (r *requested) account(call *call) (*DeleteConversationsResult, error) {
	result := &DeleteConversationsResult{
		Deleted: []string{}, NotDeleted: []string{}, Unconfirmed: []string{},
		Attempts: call.attempts, RequestID: call.requestID,
	}
	switch {
	case call.answered:
		return result, r.accountAnswer(call, result)
	case call.unknown != nil:
		result.Unconfirmed = r.ids
		return result, call.err(ErrOutcomeUnknown)
	default:
		result.NotDeleted = r.ids
		return result, call.err()
	}
}

// accountAnswer reads a complete 200 into result. The error is nil when every
// id is answered for.
func (r *requested) accountAnswer(call *call, result *DeleteConversationsResult) error {
	reply, err := readDeletion(call.answer, len(r.ids))
	if err != nil {
		result.Unconfirmed = r.ids
		body := quote(call.client.secret.strike(string(call.answer)))
		what := fmt.Errorf("%w: 200 OK, but %w: %s", ErrUnexpectedResponse, err, body)
		return call.newError(what.Error(), what, ErrOutcomeUnknown)
	}
	left, doubt := r.match(reply, result)
	if doubt != nil {
		doubt = fmt.Errorf("%w: %w", ErrUnexpectedResponse, doubt)
	} else if call.unknown != nil && len(left) > 0 {
		doubt = fmt.Errorf("an earlier attempt got no answer: %w", call.unknown)
	}
	switch {
	case doubt == nil:
		result.NotDeleted = left
		return nil
	case len(left) == 0:
		return call.newError(doubt.Error(), doubt)
	}
	result.Unconfirmed = left
	text := fmt.Sprintf("%d of %d unconfirmed: %v", len(left), len(r.ids), doubt)
	return call.newError(text, doubt, ErrOutcomeUnknown)
}

// match sets Deleted and Count of result, and returns the requested ids that
// reply leaves out, and why it can't be trusted for what it leaves out.
func (r *requested) match(reply *deletionReply, result *DeleteConversationsResult) (left []string, doubt error) {
	result.Count = reply.count
	switch {
	case reply.listed:
		strangers := 0
		result.Deleted, left, strangers = r.split(reply.deleted)
		if !reply.counted {
			result.Count = len(result.Deleted)
		}
		if strangers > 0 {
			return left, errors.New("the reply names an id that was not requested")
		}
		if result.Count != len(result.Deleted) {
			return left, fmt.Errorf("the reply's count is %d, but it lists %d", reply.count, len(result.Deleted))
		}
		return left, nil
	case reply.counted && reply.count == len(r.ids):
		result.Deleted = r.ids
		return []string{}, nil
	case reply.counted && reply.count == 0:
		return r.ids, nil
	default:
		return r.ids, errors.New("the reply does not say which ids are deleted")
	}
}

// split divides the requested ids into those that are listed, in that order,
// and those left. An id that is listed twice counts once.
func (r *requested) split(listed [][]byte) (deleted, left []string, strangers int) {
	deleted, left = make([]string, 0, len(r.ids)), []string{}
	isDeleted := make([]bool, len(r.ids))
	next := 0
	for _, id := range listed {
		// A look into the map is needed only where the order is not the request's.
		if next == len(r.ids) || r.ids[next] != string(id) {
			position, ok := r.position[string(id)]
			if !ok {
				strangers++
				continue
			}
			next = position
		}
		if !isDeleted[next] {
			isDeleted[next] = true
			deleted = append(deleted, r.ids[next])
		}
		next++
	}
	for i, id := range r.ids {
		if !isDeleted[i] {
			left = append(left, id)
		}
	}
	return deleted, left, strangers
}
