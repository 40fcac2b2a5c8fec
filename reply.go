package memoryplugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"regexp"
	"strconv"
	"unicode/utf8"
)

// deletionReply is the answer to a deletion, {"deleted": [...], "count": n}.
type deletionReply struct {
	named     bool     // it has "deleted"
	listed    bool     // and that is not null
	deleted   [][]byte // the ids that it lists
	counted   bool     // it has "count"
	count     int      // the nearest int
	complaint []byte   // its "error", if that says something
}

// confirmsAll reports whether body says to the letter that the ids in list, the
// JSON of their list as it was sent, are deleted. Nearly every answer does.
func confirmsAll(body, list []byte, n int) bool {
	body, found := bytes.CutPrefix(body, []byte(`{"deleted":`))
	if !found || !bytes.HasPrefix(body, list) {
		return false
	}
	return string(body[len(list):]) == `,"count":`+strconv.Itoa(n)+`}`
}

// readDeletion reads body to the letter, since nothing brings back what it
// confirms. If a name or a type is not as documented, a property occurs twice, or
// an id can't be read without loss, it is an error. So is a list of more than
// twice the n ids that were requested, which could take any amount of memory.
func readDeletion(body []byte, n int) (*deletionReply, error) {
	if err := checkObject(body); err != nil {
		return nil, err
	}
	reply := &deletionReply{}
	for name, value := range properties(body) {
		if err := reply.read(name, value, n); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

// checkObject says what keeps body from being a JSON object in UTF-8.
func checkObject(body []byte) error {
	var object json.RawMessage
	switch {
	case !utf8.Valid(body):
		return errors.New("the body is not valid UTF-8")
	case isObject(body) && json.Valid(body):
		return nil
	case json.NewDecoder(bytes.NewReader(body)).Decode(&object) == io.ErrUnexpectedEOF:
		return errors.New("the JSON of the reply ends early")
	}
	return errors.New("the body is not a JSON object")
}

// isObject reports whether body begins as a JSON object does.
func isObject(body []byte) bool {
	text := bytes.TrimSpace(body)
	return len(text) > 0 && text[0] == '{'
}

func (r *deletionReply) read(name, value []byte, n int) error {
	switch string(name) {
	case "deleted":
		if r.named {
			return errors.New(`"deleted" occurs twice`)
		}
		r.named = true
		return r.readDeleted(value, n)
	case "count":
		if r.counted {
			return errors.New(`"count" occurs twice`)
		}
		count, err := strconv.Atoi(string(value))
		if err != nil && !errors.Is(err, strconv.ErrRange) || bytes.ContainsAny(value, ".eE") {
			return errors.New(`"count" is not a whole number`)
		}
		r.counted, r.count = true, count
	case "error":
		if text := string(value); text == "null" || text == `""` {
			return nil
		}
		if r.complaint = value; value[0] == '"' {
			r.complaint, _ = readString(value)
		}
	}
	return nil
}

func (r *deletionReply) readDeleted(value []byte, n int) error {
	if string(value) == "null" {
		return nil
	}
	if value[0] != '[' {
		return errors.New(`"deleted" is not a list`)
	}
	r.listed = true
	r.deleted = make([][]byte, 0, n)
	for element := range elements(value) {
		id, err := readID(element)
		if err != nil {
			return err
		}
		if len(r.deleted) == 2*n {
			return errors.New(`"deleted" lists more than twice as many ids as were requested`)
		}
		r.deleted = append(r.deleted, id)
	}
	return nil
}

// wholeRunes matches a JSON string that has no half of a surrogate pair.
var wholeRunes = regexp.MustCompile(`^(?:[^\\]|\\[^u]|\\u[^dD]...|\\u[dD][0-7]..|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)*$`)

// readID reads a JSON string without loss. For half of a surrogate pair,
// encoding/json reads U+FFFD.
func readID(value []byte) ([]byte, error) {
	if value[0] != '"' {
		return nil, errors.New(`"deleted" lists something that is not a string`)
	}
	id, escaped := readString(value)
	if escaped && bytes.Contains(id, []byte("\ufffd")) && !wholeRunes.Match(value) {
		return nil, errors.New("an id can't be read without loss")
	}
	return id, nil
}

// readString reads a JSON string that is known to be valid.
func readString(value []byte) (text []byte, escaped bool) {
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], false
	}
	var s string
	_ = json.Unmarshal(value, &s)
	return []byte(s), true
}

// properties yields the names and values of a JSON object that is known to be valid.
func properties(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for property := range elements(bytes.TrimSpace(object)) {
			end := stringEnd(property)
			_, value, _ := bytes.Cut(property[end:], []byte(":"))
			name, _ := readString(property[:end])
			if !yield(name, bytes.TrimSpace(value)) {
				return
			}
		}
	}
}

// elements yields what stands between the commas of a JSON list or object that
// is known to be valid.
func elements(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		rest := bytes.TrimSpace(list[1 : len(list)-1])
		for len(rest) > 0 {
			end := elementEnd(rest)
			if !yield(bytes.TrimSpace(rest[:end])) {
				return
			}
			rest = bytes.TrimSpace(rest[min(end+1, len(rest)):])
		}
	}
}

// elementEnd returns the index of the first comma that is neither in a string nor
// in a nested list or object, or the length of text.
func elementEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// stringEnd returns the length of the JSON string that text begins with.
func stringEnd(text []byte) int {
	end := 1
	for {
		end += bytes.IndexByte(text[end:], '"') + 1
		backslashes := end - 1 - len(bytes.TrimRight(text[:end-1], `\`))
		if backslashes%2 == 0 {
			return end
		}
	}
}
