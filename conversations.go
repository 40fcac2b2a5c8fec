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

// DeleteConversationsResult says what became of each id. Its four lists divide
// the requested ids: each is in exactly one of them, once, in the order of the
// request. None of the lists is nil.
type DeleteConversationsResult struct {
	// Deleted are the ids that the server says it deleted.
	Deleted []string `json:"deleted"`
	// NotListed are the ids that the server left out of its answer: it deleted
	// nothing under them. Most likely there is no such conversation, or one that
	// it won't delete.
	NotListed []string `json:"notListed"`
	// NotDeleted are certainly not deleted by this call: they were refused, or
	// never sent. The error says why. They are worth sending again.
	NotDeleted []string `json:"notDeleted"`
	// Unconfirmed may be deleted or not: no answer settles it. They are worth
	// sending again; deleting twice does no harm. If another call has one as
	// NotListed, this one may have deleted it.
	Unconfirmed []string `json:"unconfirmed"`
	// Count is the number of deletions as the server reports it, or the length
	// of Deleted if it does not.
	Count int `json:"count"`
	// Attempts is the number of HTTP requests made.
	Attempts int `json:"attempts"`
	// RequestID is what to give MemoryPlugin's support about the last reply: the
	// first of X-Request-Id, X-Vercel-Id and Cf-Ray, cut to 256 bytes. It is empty
	// if the ids were more than one batch.
	RequestID string `json:"requestId"`
}

// DeleteConversations deletes the conversations with these ids, with their
// messages, irreversibly and in one request. Ids are sent to the letter; one
// that is given twice is sent once. The API documents no limit on their number;
// for more than some hundreds use [Client.DeleteConversationsInBatches]. No ids
// are an empty result and no error. The caller may reuse ids at once.
//
// The result is never nil, and accounts for every id whatever the error. A nil
// error means that NotDeleted and Unconfirmed are empty: each id is deleted, or
// the server answered and did not list it. The error is
//   - [ErrUnconfirmed] exactly when Unconfirmed is not empty;
//   - [ErrInvalidArgument] if an id is blank or not valid UTF-8, or ctx is nil:
//     nothing is sent, and every id is NotDeleted;
//   - an [*ErrorResponse], such as [ErrUnauthorized], if the server refused;
//   - [ErrUnexpectedResponse] if the reply is not what the API documents, or
//     contradicts itself;
//   - ctx's error and its cause, if ctx ended the call.
//
// Failures that may pass are retried; see the package documentation.
//
//	DELETE /api/chat-history/chats
func (c *Client) DeleteConversations(ctx context.Context, ids []string) (*DeleteConversationsResult, error) {
	ids, err := c.checkIDs(ctx, deleteOperation, ids)
	if err != nil || len(ids) == 0 {
		return newResult(ids, make([]fate, len(ids))), err
	}
	d := c.newDeletion(ctx, ids)
	d.run()
	return d.result(), d.err
}

// checkIDs returns ids without duplicates, and what keeps them from being sent.
func (c *Client) checkIDs(ctx context.Context, operation string, ids []string) ([]string, error) {
	err := c.check(ctx)
	unique := make([]string, 0, len(ids))
	seen := make(map[string]struct{}, len(ids))
	for i, id := range ids {
		if bad := checkID(id); bad != nil && err == nil {
			err = fmt.Errorf("ids[%d] %w", i, bad)
		}
		if _, ok := seen[id]; !ok {
			seen[id] = struct{}{}
			unique = append(unique, id)
		}
	}
	if err != nil {
		err = invalidArgument(operation, err)
	}
	return unique, err
}

// checkID says what is wrong with id.
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

// fate is what became of an id.
type fate byte

const (
	notDeleted fate = iota
	deleted
	notListed
	unconfirmed
	fates
)

// newResult divides ids by their fates.
func newResult(ids []string, fateOf []fate) *DeleteConversationsResult {
	var sizes [fates]int
	for _, f := range fateOf {
		sizes[f]++
	}
	var lists [fates][]string
	for f, size := range sizes {
		lists[f] = make([]string, 0, size)
	}
	for i, id := range ids {
		lists[fateOf[i]] = append(lists[fateOf[i]], id)
	}
	return &DeleteConversationsResult{
		Deleted: lists[deleted], NotListed: lists[notListed],
		NotDeleted: lists[notDeleted], Unconfirmed: lists[unconfirmed],
	}
}

// deletion is what came of a call that deletes ids.
type deletion struct {
	*call
	ids   []string
	fates []fate
	count int
	err   error // a *callError, or nil if every id is answered for
}

func (c *Client) newDeletion(ctx context.Context, ids []string) *deletion {
	call := c.newCall(ctx, deleteOperation, http.MethodDelete, conversationsPath, deletionBody(ids))
	return &deletion{call: call, ids: ids, fates: make([]fate, len(ids))}
}

const (
	bodyStart = `{"ids":`
	bodyEnd   = `}`
)

// deletionBody returns {"ids": [...]}.
func deletionBody(ids []string) []byte {
	size := len(bodyStart) + len("[]") + len(bodyEnd)
	for _, id := range ids {
		size += len(id) + len(`"",`)
	}
	body := append(make([]byte, 0, size), bodyStart...)
	separator := byte('[')
	for _, id := range ids {
		body = append(body, separator)
		body = appendJSON(body, id)
		separator = ','
	}
	return append(append(body, ']'), bodyEnd...)
}

func appendJSON(body []byte, id string) []byte {
	for i := range len(id) {
		if id[i] < ' ' || id[i] == '"' || id[i] == '\\' {
			escaped, _ := json.Marshal(id)
			return append(body, escaped...)
		}
	}
	return append(append(append(body, '"'), id...), '"')
}

// run makes the call and says what became of each id.
func (d *deletion) run() {
	if d.do(); d.answer == nil {
		if d.unknown != nil {
			d.setAll(unconfirmed)
		}
		d.err = d.unanswered(d.inDoubt())
		return
	}
	doubt := d.readAnswer()
	if doubt == nil && d.unknown != nil {
		doubt = earlierAttempt(d.unknown)
	}
	rest := notListed
	if doubt != nil {
		rest = unconfirmed
	}
	for i, f := range d.fates {
		if f != deleted {
			d.fates[i] = rest
		}
	}
	if text := d.inDoubt(); text != "" || errors.Is(doubt, ErrUnexpectedResponse) {
		d.err = d.newError(text, doubt.Error(), doubt)
	}
}

func (d *deletion) setAll(f fate) {
	for i := range d.fates {
		d.fates[i] = f
	}
}

// inDoubt says how many ids are unconfirmed, if any are.
func (d *deletion) inDoubt() string {
	n := 0
	for _, f := range d.fates {
		if f == unconfirmed {
			n++
		}
	}
	return inDoubt(n, 0, len(d.ids))
}

// inDoubt says how many ids are unconfirmed and not deleted, if any are.
func inDoubt(unconfirmed, notDeleted, of int) string {
	switch {
	case unconfirmed > 0 && notDeleted > 0:
		return fmt.Sprintf(": %d of %d unconfirmed, %d not deleted", unconfirmed, of, notDeleted)
	case unconfirmed > 0:
		return fmt.Sprintf(": %d of %d unconfirmed", unconfirmed, of)
	case notDeleted > 0:
		return fmt.Sprintf(": %d of %d not deleted", notDeleted, of)
	}
	return ""
}

// readAnswer finds out which ids are deleted. It returns why the answer can't be
// trusted for what it leaves out, or nil.
func (d *deletion) readAnswer() error {
	list := d.request.body[len(bodyStart) : len(d.request.body)-len(bodyEnd)]
	if confirmsAll(d.answer, list, len(d.ids)) {
		d.setAll(deleted)
		d.count = len(d.ids)
		return nil
	}
	reply, err := readDeletion(d.answer, len(d.ids))
	if err != nil {
		return unexpected(fmt.Sprintf("200 OK, but %v: %s", err, d.client.secret.quote(d.answer)))
	}
	listed, strangers := d.mark(reply.deleted)
	d.count = listed
	if reply.counted {
		d.count = reply.count
	}
	switch {
	case len(reply.complaint) > 0:
		return unexpected("200 OK with an error: " + d.client.secret.quote(reply.complaint))
	case len(strangers) > 0:
		return unexpected("the reply lists " + d.describe(strangers))
	case reply.listed && d.count != listed:
		return unexpected(fmt.Sprintf("the reply's count is %d, but it lists %d", d.count, listed))
	case reply.listed, reply.counted && d.count == 0:
		return nil
	case reply.counted && d.count == len(d.ids):
		d.setAll(deleted)
		return nil
	}
	return unexpected("the reply does not say which ids are deleted: " + d.client.secret.quote(d.answer))
}

// mark sets the fate of the ids that are listed. It returns their number, and
// what is listed but was not requested.
func (d *deletion) mark(list [][]byte) (listed int, strangers [][]byte) {
	var positions map[string]int
	next := 0
	for _, id := range list {
		// Most replies keep the request's order, which saves the map.
		if next == len(d.ids) || d.ids[next] != string(id) {
			if positions == nil {
				positions = positionsOf(d.ids)
			}
			position, ok := positions[string(id)]
			if !ok {
				strangers = append(strangers, id)
				continue
			}
			next = position
		}
		if d.fates[next] != deleted {
			d.fates[next] = deleted
			listed++
		}
		next++
	}
	return listed, strangers
}

func positionsOf(ids []string) map[string]int {
	positions := make(map[string]int, len(ids))
	for i, id := range ids {
		positions[id] = i
	}
	return positions
}

// describe says how many strangers there are, and names three.
func (d *deletion) describe(strangers [][]byte) string {
	var names []string
	for _, id := range strangers[:min(len(strangers), 3)] {
		names = append(names, d.client.secret.quote(id))
	}
	return plural(len(strangers), "id that was not requested: ", "ids that were not requested: ") + strings.Join(names, ", ")
}

func (d *deletion) result() *DeleteConversationsResult {
	result := newResult(d.ids, d.fates)
	result.Count, result.Attempts, result.RequestID = d.count, d.attempts, d.requestID
	return result
}
