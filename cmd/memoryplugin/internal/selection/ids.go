package selection

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
)

// input is ids as they are read, each once.
type input struct {
	Selection
	seen map[string]struct{}
}

func newInput() *input { return &input{seen: map[string]struct{}{}} }

// FromArguments returns the conversations with these ids.
func FromArguments(args []string) (*Selection, error) {
	in := newInput()
	for i, arg := range args {
		if err := CheckID(arg); err != nil {
			return nil, fmt.Errorf("argument %d, %s, %w", i+1, strconv.Quote(arg), err)
		}
		in.add(arg)
	}
	return &in.Selection, nil
}

// FromLines reads an id a line. Blank lines and lines that begin with # are
// skipped. name is what errors call r.
func FromLines(r io.Reader, name string) (*Selection, error) {
	text, err := readText(r, name)
	if err != nil {
		return nil, err
	}
	in := newInput()
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := CheckID(line); err != nil {
			return nil, fmt.Errorf("%s, line %d %w", name, number, err)
		}
		in.add(line)
	}
	return &in.Selection, nil
}

// FromJSON reads a JSON array, or a stream, of strings or of objects with "id".
func FromJSON(r io.Reader, name string) (*Selection, error) {
	text, err := readText(r, name)
	if err != nil {
		return nil, err
	}
	in := newInput()
	if at, err := in.readJSON(text); err != nil {
		at = min(max(at, 0), int64(len(text)))
		return nil, fmt.Errorf("%s, line %d %w", name, 1+strings.Count(text[:at], "\n"), err)
	}
	return &in.Selection, nil
}

func readText(r io.Reader, name string) (string, error) {
	var text strings.Builder
	if _, err := io.Copy(&text, r); err != nil {
		return "", fmt.Errorf("%s can't be read: %w", name, err)
	}
	return strings.TrimPrefix(text.String(), "\ufeff"), nil // As programs on Windows write it.
}

// readJSON returns where the value is that its error is about.
func (in *input) readJSON(text string) (int64, error) {
	decoder := jsontext.NewDecoder(strings.NewReader(text))
	for {
		kind := decoder.PeekKind()
		if kind == ']' || kind == '[' && decoder.StackDepth() == 0 {
			if _, err := decoder.ReadToken(); err != nil {
				return badSyntax(err)
			}
			continue
		}
		value, err := decoder.ReadValue()
		if err == io.EOF {
			return 0, nil
		}
		if err != nil {
			return badSyntax(err)
		}
		if err := in.addJSON(value); err != nil {
			return decoder.InputOffset() - int64(len(value)), err
		}
	}
}

func badSyntax(err error) (int64, error) {
	at := int64(0)
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = syntax.ByteOffset
	}
	return at, fmt.Errorf("is not valid: %w", appendfile.BadJSON(err))
}

// addJSON takes a string, or the property id of an object, to the letter.
func (in *input) addJSON(value jsontext.Value) error {
	var object struct {
		ID *string `json:"id"`
	}
	var err error
	switch value.Kind() {
	case '"':
		err = json.Unmarshal(value, &object.ID)
	case '{':
		err = json.Unmarshal(value, &object)
	default:
		return errors.New(`is neither a string nor an object with "id"`)
	}
	switch {
	case err != nil:
		return fmt.Errorf("is not valid: %w", appendfile.BadJSON(err))
	case object.ID == nil:
		return errors.New(`has no "id"`)
	case strings.TrimSpace(*object.ID) == "":
		return errors.New("is blank")
	}
	in.add(*object.ID)
	return nil
}

func (in *input) add(id string) {
	if _, ok := in.seen[id]; ok {
		in.Duplicates++
		return
	}
	in.seen[id] = struct{}{}
	in.Conversations = append(in.Conversations, memoryplugin.Conversation{ID: id})
}

// CheckID refuses what is not an id on a line of its own, but another format.
func CheckID(id string) error {
	if strings.TrimSpace(id) == "" {
		return errors.New("is blank")
	}
	if strings.HasPrefix(id, "#") {
		return errors.New("begins with #, as a comment does")
	}
	if !utf8.ValidString(id) {
		return errors.New("is not valid UTF-8")
	}
	for _, r := range id {
		if isForeign(r) {
			return fmt.Errorf("has %s, which no id has: give one id per line or argument, or JSON with --json", strconv.QuoteToASCII(string(r)))
		}
	}
	return nil
}

// isForeign reports whether a character belongs to another format, or can't be seen.
func isForeign(r rune) bool {
	return strings.ContainsRune("\"'`,;()[]{}<>“”‘’«»", r) || unicode.IsSpace(r) || !strconv.IsPrint(r) ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == '\u2800'
}
