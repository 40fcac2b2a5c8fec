package memoryplugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	transcriptOperation = "get transcript"
	transcriptPath      = "/api/chat-history/conversation"
	countOperation      = "count conversations"
	countPath           = "/api/chat-history/count"
)

// Transcript is a conversation with its messages. If it has fewer Messages than
// Total, some are missing. If the server did not send a field, a string is empty,
// Total is 0, and TokenCount is nil.
type Transcript struct {
	ID, Title              string
	Messages               []Message
	Total                  int
	PlatformConversationID string
	SourceID               string
	TokenCount             *int
	Raw                    json.RawMessage // the reply as received: save it to keep a copy
}

// Message is one message of a [Transcript]. Timestamp is zero if the server did
// not send it, or sent a time before the year 2000.
type Message struct {
	Index     int       `json:"message_index"`
	Sender    string    `json:"sender"`
	Text      string    `json:"text"`
	Timestamp time.Time `json:"timestamp,omitzero"`
}

// GetTranscript returns a conversation with its messages. If it has fewer
// Messages than Total, some are missing.
//
// If the account has no such conversation, the error is [ErrNotFound]. If a 404
// does not come from the API, it is [ErrUnexpectedResponse]: the base URL is
// probably wrong. An id that is blank or not valid UTF-8 is [ErrInvalidArgument].
// Other errors are those of [Client.ListConversations].
//
//	GET /api/chat-history/conversation
func (c *Client) GetTranscript(ctx context.Context, id string) (*Transcript, error) {
	err := c.check(ctx)
	if err == nil {
		if err = checkID(id); err != nil {
			err = fmt.Errorf("the id %w", err)
		}
	}
	if err != nil {
		return nil, invalidArgument(transcriptOperation, err)
	}
	var transcript *Transcript
	err = c.read(ctx, transcriptOperation, transcriptPath, url.Values{"conversationId": {id}}, func(body []byte) (err error) {
		transcript, err = decodeTranscript(body, id)
		return err
	})
	return transcript, err
}

// CountConversations returns how many conversations the account has. The server
// does not count conversations that are excluded or blocked by a quota, so the
// number can be less than the Total of a list. The errors are those of
// [Client.ListConversations].
//
//	GET /api/chat-history/count
func (c *Client) CountConversations(ctx context.Context) (int, error) {
	if err := c.check(ctx); err != nil {
		return 0, invalidArgument(countOperation, err)
	}
	n := 0
	err := c.read(ctx, countOperation, countPath, nil, func(body []byte) (err error) {
		n, err = decodeCount(body)
		return err
	})
	return n, err
}

// read makes a call that reads, and decodes its answer.
func (c *Client) read(ctx context.Context, operation, path string, query url.Values, decode func([]byte) error) error {
	call := c.newCall(ctx, operation, http.MethodGet, path, nil)
	call.request.read = true
	call.request.url.RawQuery = query.Encode()
	if call.do(); call.answer == nil {
		return call.unanswered("")
	}
	err := decode(call.answer)
	if errors.Is(err, errNoObject) {
		err = fmt.Errorf("%w: %s", err, c.secret.quote(bytes.TrimSpace(call.answer)))
	}
	if err != nil {
		return call.newError("", err.Error(), err)
	}
	return nil
}

var errNoObject = unexpected("200 OK, but the body is not a JSON object")

// decodeObject reads the JSON object in body into v. Its errors quote nothing of
// it, since conversations are private.
func decodeObject(body []byte, v any) error {
	if !isObject(body) {
		return errNoObject
	}
	if !utf8.Valid(body) {
		return unexpected("200 OK, but the body is not valid UTF-8")
	}
	err := json.Unmarshal(body, v)
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mismatch):
		kind, _, _ := strings.Cut(mismatch.Value, " ") // A number can be of any length.
		return unexpected(fmt.Sprintf("the property %q can't hold this %s", embedded.Replace(mismatch.Field), kind))
	}
	return unexpected("200 OK, but the body is not valid JSON")
}

// embedded strikes the names of Go's structs, which encoding/json takes for properties.
var embedded = strings.NewReplacer("Conversation.", "", "Message.", "")

// exactID is an id that something is deleted by, so it is read to the letter.
type exactID struct {
	text  string
	times int // that it occurs
}

// otherIDs take what encoding/json, which ignores the case of names, would read
// as id otherwise.
type otherIDs struct {
	A any `json:"ID"`
	B any `json:"Id"`
	C any `json:"iD"`
}

func (id *exactID) UnmarshalJSON(value []byte) error {
	id.times++
	if value[0] == '"' {
		text, _ := readString(value)
		id.text = string(text)
	}
	return nil
}

// check refuses an id that nothing can be deleted by, or that was not read without
// loss: for half of a surrogate pair, encoding/json reads U+FFFD.
func (id exactID) check() error {
	switch {
	case id.times == 0:
		return unexpected(`the property "id" is missing`)
	case id.times > 1:
		return unexpected(`the property "id" occurs twice`)
	case strings.TrimSpace(id.text) == "":
		return unexpected(`the property "id" is blank, or not a string`)
	case strings.ContainsRune(id.text, utf8.RuneError):
		return unexpected(`the property "id" can't be read without loss`)
	}
	return nil
}

// hasSeveral reports whether a JSON object that is known to be valid has more
// than one property that encoding/json takes for name.
func hasSeveral(object []byte, name string) bool {
	n := 0
	for other := range properties(object) {
		if bytes.EqualFold(other, []byte(name)) {
			n++
		}
	}
	return n > 1
}

// decodeTime reads a time in RFC 3339. What is not there, or before the year
// 2000, is zero.
func decodeTime(property string, text *string) (time.Time, error) {
	if text == nil {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, *text)
	if err != nil {
		return time.Time{}, unexpected(fmt.Sprintf("the property %q is no time", property))
	}
	if t.Year() < 2000 {
		return time.Time{}, nil
	}
	return t, nil
}

func decodeTranscript(body []byte, id string) (*Transcript, error) {
	var reply struct {
		otherIDs
		ID       exactID `json:"id"`
		Title    string  `json:"title"`
		Messages []struct {
			Message
			Timestamp *string `json:"timestamp"`
		} `json:"messages"`
		Total                  int    `json:"total"`
		PlatformConversationID string `json:"platformConversationId"`
		SourceID               string `json:"sourceId"`
		TokenCount             *int   `json:"tokenCount"`
	}
	if err := decodeObject(body, &reply); err != nil {
		return nil, err
	}
	if err := reply.ID.check(); err != nil {
		return nil, err
	}
	if reply.ID.text != id {
		return nil, unexpected("the reply is another conversation's")
	}
	t := &Transcript{
		ID: id, Title: reply.Title, Messages: make([]Message, len(reply.Messages)), Total: reply.Total,
		PlatformConversationID: reply.PlatformConversationID, SourceID: reply.SourceID, TokenCount: reply.TokenCount,
		Raw: body,
	}
	for i, message := range reply.Messages {
		var err error
		if message.Message.Timestamp, err = decodeTime("messages.timestamp", message.Timestamp); err != nil {
			return nil, err
		}
		t.Messages[i] = message.Message
	}
	return t, nil
}

func decodeCount(body []byte) (int, error) {
	var reply struct {
		Count *int `json:"count"`
	}
	if err := decodeObject(body, &reply); err != nil {
		return 0, err
	}
	if reply.Count == nil || *reply.Count < 0 {
		return 0, unexpected("the reply has no count")
	}
	return *reply.Count, nil
}
