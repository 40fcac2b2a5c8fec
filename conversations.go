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

const (
	deleteOperation   = "delete conversations"
	conversationsPath = "/api/chat-history/chats"
)

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
	// its headers X-Request-Id, X-Vercel-Id and Cf-Ray, cut to 256 bytes.
	RequestID string `json:"requestId"`
}

// DeleteConversations deletes the conversations with these ids, with their
// messages, chunks and vectors, irreversibly and in one request. Ids are sent
// to the letter; one that is given twice is sent once. The API documents no
// limit on their number; for more than some hundreds use
// [Client.DeleteConversationsInBatches]. ids can be reused when it returns.
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
	return c.deleteConversations(ctx, ids, &call{})
}

// deleteConversations deletes ids by a call that may know of an earlier attempt.
func (c *Client) deleteConversations(ctx context.Context, ids []string, call *call) (*DeleteConversationsResult, error) {
	if err := c.check(ctx); err != nil {
		return nil, invalidArgument(deleteOperation, err)
	}
	ids, err := uniqueIDs(ids)
	if err != nil {
		return nil, invalidArgument(deleteOperation, err)
	}
	call.client, call.operation = c, deleteOperation
	if call.body, err = json.Marshal(deletionRequest{ids}); err != nil {
		return nil, invalidArgument(deleteOperation, err)
	}
	call.do(ctx, http.MethodDelete, conversationsPath)
	return account(ids, call)
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

// uniqueIDs copies ids without duplicates, or says why one of them can't be sent.
func uniqueIDs(ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, errors.New("no ids")
	}
	unique := make([]string, 0, len(ids))
	seen := make(map[string]struct{}, len(ids))
	for i, id := range ids {
		if err := checkID(id); err != nil {
			return nil, fmt.Errorf("ids[%d] %w", i, err)
		}
		if _, ok := seen[id]; !ok {
			seen[id] = struct{}{}
			unique = append(unique, id)
		}
	}
	return unique, nil
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

func newResult() *DeleteConversationsResult {
	return &DeleteConversationsResult{Deleted: []string{}, NotDeleted: []string{}, Unconfirmed: []string{}}
}

// account says what became of each id, and returns the error that goes with it.
func account(ids []string, call *call) (*DeleteConversationsResult, error) {
	result := newResult()
	result.Attempts, result.RequestID = call.attempts, call.requestID
	switch {
	case call.answered:
		return result, accountAnswer(ids, call, result)
	case call.unknown != nil:
		result.Unconfirmed = ids
		return result, call.err(ErrOutcomeUnknown)
	default:
		result.NotDeleted = ids
		return result, call.err()
	}
}

// accountAnswer reads a complete 200 into result. The error is nil when every
// id is answered for.
func accountAnswer(ids []string, call *call, result *DeleteConversationsResult) error {
	reply, err := readDeletion(call.answer, len(ids))
	if err != nil {
		result.Unconfirmed = ids
		start := call.answer[:min(len(call.answer), maxErrorBody)] // More than is quoted, for a key across the cut.
		body := quote(call.client.secret.strike(string(start)))
		what := fmt.Errorf("%w: 200 OK, but %w: %s", ErrUnexpectedResponse, err, body)
		return call.newError(what.Error(), what, ErrOutcomeUnknown)
	}
	left, doubt := reply.match(ids, result)
	if doubt != nil {
		doubt = fmt.Errorf("%w: %w", ErrUnexpectedResponse, doubt)
	} else if call.unknown != nil && len(left) > 0 {
		doubt = earlierAttempt(call.unknown)
	}
	switch {
	case doubt == nil:
		result.NotDeleted = left
		return nil
	case len(left) == 0:
		return call.newError(doubt.Error(), doubt)
	}
	result.Unconfirmed = left
	text := fmt.Sprintf("%d of %d unconfirmed: %v", len(left), len(ids), doubt)
	return call.newError(text, doubt, ErrOutcomeUnknown)
}

// match sets Deleted and Count of result. It returns the requested ids that the
// reply leaves out, and why it can't be trusted for what it leaves out.
func (r *deletionReply) match(ids []string, result *DeleteConversationsResult) (left []string, doubt error) {
	result.Count = r.count
	switch {
	case r.listed:
		strangers := false
		result.Deleted, left, strangers = split(ids, r.deleted)
		if !r.counted {
			result.Count = len(result.Deleted)
		}
		if strangers {
			return left, errors.New("the reply names an id that was not requested")
		}
		if result.Count != len(result.Deleted) {
			return left, fmt.Errorf("the reply's count is %d, but it lists %d", r.count, len(result.Deleted))
		}
		return left, nil
	case r.counted && r.count == len(ids):
		result.Deleted = ids
		return []string{}, nil
	case r.counted && r.count == 0:
		return ids, nil
	default:
		return ids, errors.New("the reply does not say which ids are deleted")
	}
}

// split divides ids into those that are listed, in that order and each once,
// and those left. There are strangers where others are listed as well.
func split(ids []string, listed [][]byte) (deleted, left []string, strangers bool) {
	deleted, left = make([]string, 0, len(ids)), []string{}
	isDeleted := make([]bool, len(ids))
	var positions map[string]int
	next := 0
	for _, id := range listed {
		// Most replies keep the request's order, which saves the map.
		if next == len(ids) || ids[next] != string(id) {
			if positions == nil {
				positions = positionsOf(ids)
			}
			position, ok := positions[string(id)]
			if !ok {
				strangers = true
				continue
			}
			next = position
		}
		if !isDeleted[next] {
			isDeleted[next] = true
			deleted = append(deleted, ids[next])
		}
		next++
	}
	for i, id := range ids {
		if !isDeleted[i] {
			left = append(left, id)
		}
	}
	return deleted, left, strangers
}

func positionsOf(ids []string) map[string]int {
	positions := make(map[string]int, len(ids))
	for i, id := range ids {
		positions[id] = i
	}
	return positions
}
