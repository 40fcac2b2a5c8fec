package memoryplugin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// decodeObject reads properties of the JSON object in body to the letter of their
// names, each once at most. Its errors quote nothing of it, since conversations
// are private.
func decodeObject(body []byte, properties map[string]any) error {
	if !isObject(body) {
		return errNoObject
	}
	if !utf8.Valid(body) {
		return unexpected("200 OK, but the body is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	seen := map[string]bool{}
	_, err := dec.Token() // The brace.
	for err == nil && dec.More() {
		var token json.Token
		if token, err = dec.Token(); err != nil {
			break
		}
		name := token.(string)
		into, known := properties[name]
		if known && seen[name] {
			return unexpected(fmt.Sprintf("the property %q occurs twice", name))
		}
		if !known {
			into = &ignored{}
		}
		seen[name] = known
		if err = decodeValue(dec, name, into); errors.Is(err, ErrUnexpectedResponse) {
			return err
		}
	}
	if err == nil {
		_, err = dec.Token()
	}
	if _, after := dec.Token(); err != nil || after != io.EOF {
		return unexpected("200 OK, but the body is not valid JSON")
	}
	return nil
}

// decodeValue reads the value of a property. If it is of another type, the error
// is ErrUnexpectedResponse.
func decodeValue(dec *json.Decoder, name string, into any) error {
	var err error
	if list, ok := into.(interface{ decode(*json.Decoder) error }); ok {
		err = list.decode(dec)
	} else {
		err = dec.Decode(into)
	}
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(mismatch.Value, " ") // A number can be of any length.
		if mismatch.Field != "" {
			name += "." + embedded.Replace(mismatch.Field)
		}
		return unexpected(fmt.Sprintf("the property %q can't hold this %s", name, kind))
	}
	return err
}

// embedded strikes the names of Go's structs, which encoding/json takes for properties.
var embedded = strings.NewReplacer("Conversation.", "", "Message.", "")

// listOf is a list that is read element by element, so that the first one of
// another type ends it, and millions of them take no memory.
type listOf[T any] []T

// maxElements is more than any page, and more than any conversation.
const maxElements = 1 << 17

func (l *listOf[T]) decode(dec *json.Decoder) error {
	start, err := dec.Token()
	if err != nil || start == nil {
		return err
	}
	if start != json.Delim('[') {
		return &json.UnmarshalTypeError{Value: "value"}
	}
	*l = listOf[T]{}
	for dec.More() {
		var element T
		if err := dec.Decode(&element); err != nil {
			return err
		}
		if len(*l) == maxElements {
			return unexpected("a list without end")
		}
		*l = append(*l, element)
	}
	_, err = dec.Token()
	return err
}

// exactID is an id that something is deleted by, so it is read to the letter.
type exactID struct {
	text  string
	times int // that it occurs
}

// otherIDs take what encoding/json, which ignores the case of names, would read
// as id otherwise.
type otherIDs struct {
	A ignored `json:"ID"`
	B ignored `json:"Id"`
	C ignored `json:"iD"`
}

type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

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

// listedMessage is a message as the API sends it.
type listedMessage struct {
	Message
	Timestamp *string `json:"timestamp"`
}

func decodeTranscript(body []byte, id string) (*Transcript, error) {
	t := &Transcript{Raw: body}
	var found exactID
	var messages listOf[listedMessage]
	err := decodeObject(body, map[string]any{
		"id": &found, "title": &t.Title, "messages": &messages, "total": &t.Total,
		"platformConversationId": &t.PlatformConversationID, "sourceId": &t.SourceID, "tokenCount": &t.TokenCount,
	})
	if err := cmp.Or(err, found.check()); err != nil {
		return nil, err
	}
	if t.Total < 0 {
		return nil, unexpected("the total is negative")
	}
	if found.text != id {
		return nil, unexpected("the reply is another conversation's")
	}
	t.ID = id
	t.Messages = make([]Message, len(messages))
	for i, message := range messages {
		t.Messages[i] = message.Message
		if t.Messages[i].Timestamp, err = decodeTime("messages.timestamp", message.Timestamp); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func decodeCount(body []byte) (int, error) {
	var count *int
	if err := decodeObject(body, map[string]any{"count": &count}); err != nil {
		return 0, err
	}
	if count == nil || *count < 0 {
		return 0, unexpected("the reply has no count")
	}
	return *count, nil
}
