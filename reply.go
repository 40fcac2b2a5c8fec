package memoryplugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// deletionReply is the answer to a deletion, {"deleted": [...], "count": n}.
type deletionReply struct {
	listed  bool     // it has "deleted", and not null
	deleted [][]byte // the ids that it lists
	counted bool     // it has "count"
	count   int
}

// readDeletion reads body to the letter, since nothing brings back what it
// confirms: where the names or types differ from what the API documents, a
// property of the two occurs twice, or an id can't be read without loss, it is
// an error. The ids are views of body where they can be; expected is their
// probable number.
func readDeletion(body []byte, expected int) (*deletionReply, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("its body is not valid UTF-8")
	}
	if reply, ok := readPlainDeletion(body, expected); ok {
		return reply, nil
	}
	reply := &deletionReply{}
	err := readObject(body, func(name string, value json.RawMessage) error {
		switch {
		case name == "deleted" && reply.deleted != nil, name == "count" && reply.counted:
			return fmt.Errorf("%q occurs twice", name)
		case name == "deleted":
			return reply.readDeleted(value)
		case name == "count":
			return reply.readCount(value)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// readDeleted reads the elements one by one, so that a list of something else
// ends with its first and not in memory.
func (r *deletionReply) readDeleted(value json.RawMessage) error {
	r.deleted = [][]byte{} // Not nil even for null: it has occurred.
	if string(value) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		return errors.New(`"deleted" is not a list`)
	}
	r.listed = true
	for dec.More() {
		var raw json.RawMessage
		var id *string
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &id); err != nil || id == nil {
			return errors.New(`"deleted" lists something that is not a string`)
		}
		if hasHalfSurrogate(raw) {
			return errors.New("an id has half of a surrogate pair")
		}
		r.deleted = append(r.deleted, []byte(*id))
	}
	return nil
}

func (r *deletionReply) readCount(value json.RawMessage) error {
	r.counted = true
	count, err := strconv.Atoi(string(value)) // json.Unmarshal takes null for a number.
	if err != nil {
		return errors.New(`"count" is not a whole number`)
	}
	r.count = count
	return nil
}

// hasHalfSurrogate reports whether a valid JSON string escapes half of a
// surrogate pair, for which encoding/json reads U+FFFD.
func hasHalfSurrogate(s []byte) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		i++
		if s[i] != 'u' {
			continue
		}
		switch unit := hexUnit(s[i+1:]); {
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return true
		case unit >= 0xD800 && unit <= 0xDBFF:
			low := s[i+5:]
			if !bytes.HasPrefix(low, []byte(`\u`)) || hexUnit(low[2:]) < 0xDC00 || hexUnit(low[2:]) > 0xDFFF {
				return true
			}
			i += 6 // Past the low half.
		}
	}
	return false
}

func hexUnit(s []byte) uint64 {
	unit, _ := strconv.ParseUint(string(s[:4]), 16, 16)
	return unit
}

// readPlainDeletion reads what nearly every reply is: the two properties alone,
// ids without escapes, a number of digits. It is a third of a call's time with
// 100 ids otherwise. Whatever else it meets, even if it is wrong, is not plain.
func readPlainDeletion(body []byte, expected int) (*deletionReply, bool) {
	s := scanner(body)
	reply := &deletionReply{}
	if !s.next('{') {
		return nil, false
	}
	for {
		name, ok := s.plainString()
		if !ok || !s.next(':') {
			return nil, false
		}
		switch {
		case string(name) == "deleted" && !reply.listed:
			reply.listed = true
			reply.deleted, ok = s.plainStrings(expected)
		case string(name) == "count" && !reply.counted:
			reply.counted = true
			reply.count, ok = s.digits()
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
		if !s.next(',') {
			break
		}
	}
	return reply, s.next('}') && s.end()
}

// scanner is what is left of a JSON text to read.
type scanner []byte

func (s *scanner) skipSpace() {
	text, i := *s, 0
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t') {
		i++
	}
	*s = text[i:]
}

// next takes b, if that comes next.
func (s *scanner) next(b byte) bool {
	s.skipSpace()
	if len(*s) == 0 || (*s)[0] != b {
		return false
	}
	*s = (*s)[1:]
	return true
}

func (s *scanner) end() bool {
	s.skipSpace()
	return len(*s) == 0
}

// plainString takes a string that stands for itself.
func (s *scanner) plainString() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	end := bytes.IndexByte(*s, '"')
	if end < 0 {
		return nil, false
	}
	text := (*s)[:end]
	for _, b := range text {
		if b < ' ' || b == '\\' {
			return nil, false
		}
	}
	*s = (*s)[end+1:]
	return text, true
}

func (s *scanner) plainStrings(expected int) ([][]byte, bool) {
	if !s.next('[') {
		return nil, false
	}
	if s.next(']') {
		return nil, true
	}
	texts := make([][]byte, 0, expected)
	for {
		text, ok := s.plainString()
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
		if !s.next(',') {
			return texts, s.next(']')
		}
	}
}

// digits takes a number that is surely an int.
func (s *scanner) digits() (int, bool) {
	s.skipSpace()
	n := 0
	for n < len(*s) && (*s)[n] >= '0' && (*s)[n] <= '9' {
		n++
	}
	text := (*s)[:n]
	if n == 0 || n > 9 || n > 1 && text[0] == '0' {
		return 0, false
	}
	*s = (*s)[n:]
	number, err := strconv.Atoi(string(text))
	return number, err == nil
}
