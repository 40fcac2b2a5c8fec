package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// input is what is to be deleted, each id once.
type input struct {
	ids        []string
	duplicates int
	seen       map[string]struct{}
}

// readInput reads all ids, wherever they come from. Its errors name the first
// one that can't be an id.
func readInput(args []string, s *settings) (*input, error) {
	in := &input{seen: map[string]struct{}{}}
	var err error
	switch {
	case len(args) > 0 && (s.file != "" || s.json):
		return nil, errors.New("ids as arguments exclude --file and --json")
	case len(args) > 0:
		err = in.readArguments(args)
	case s.file != "":
		err = in.readFile(s.file, s.json)
	case isTerminal(os.Stdin):
		return nil, errors.New("no ids: give them as arguments, with --file, or on standard input")
	default:
		err = in.read(os.Stdin, "standard input", s.json)
	}
	if err == nil && len(in.ids) == 0 {
		err = errors.New("no ids in the input")
	}
	in.seen = nil // With a million ids half of the memory, and no longer needed.
	return in, err
}

func (in *input) readArguments(args []string) error {
	for i, arg := range args {
		if err := in.add(arg); err != nil {
			return fmt.Errorf("argument %d %w", i+1, err)
		}
	}
	return nil
}

func (in *input) readFile(path string, isJSON bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return in.read(file, path, isJSON)
}

// read reads r to its end. name is what its errors call it.
func (in *input) read(r io.Reader, name string, isJSON bool) error {
	var buffer strings.Builder
	if _, err := io.Copy(&buffer, r); err != nil {
		return err
	}
	text := strings.TrimPrefix(buffer.String(), "\ufeff")
	var line int
	var err error
	switch {
	case !isJSON:
		line, err = in.readLines(text, in.addLine)
	case strings.HasPrefix(strings.TrimLeft(text, jsonSpace), "["):
		line, err = in.readArray(text)
	default:
		line, err = in.readLines(text, func(line string) error { return in.addJSON(jsontext.Value(line)) })
	}
	if err != nil {
		return fmt.Errorf("%s, line %d %w", name, line, err)
	}
	return nil
}

// readLines returns the number of the line that its error is about.
func (in *input) readLines(text string, add func(line string) error) (int, error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		if text, ended := strings.CutSuffix(line, "\n"); ended {
			line = strings.TrimSuffix(text, "\r")
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := add(line); err != nil {
			return number, err
		}
	}
	return number, nil
}

func (in *input) addLine(line string) error {
	if strings.HasPrefix(line, "#") {
		return nil
	}
	return in.add(line)
}

const jsonSpace = " \t\r\n"

// readArray reads a JSON array and nothing else. It returns the number of the
// line that its error is about.
func (in *input) readArray(text string) (int, error) {
	at, err := in.readElements(jsontext.NewDecoder(strings.NewReader(text)))
	rest := strings.TrimLeft(text[at:], jsonSpace)
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at, err = syntax.ByteOffset, badJSON(err)
	} else if err == nil && rest != "" {
		at, err = int64(len(text)-len(rest)), errors.New("has something after the array")
	}
	return 1 + strings.Count(text[:at], "\n"), err
}

// readElements returns where the array ends, or where the element begins that
// its error is about.
func (in *input) readElements(decoder *jsontext.Decoder) (int64, error) {
	if _, err := decoder.ReadToken(); err != nil {
		return 0, err
	}
	for n := 1; decoder.PeekKind() != ']'; n++ {
		value, err := decoder.ReadValue()
		if err != nil {
			return 0, err
		}
		if err := in.addJSON(value); err != nil {
			return decoder.InputOffset() - int64(len(value)), fmt.Errorf("(element %d of the array) %w", n, err)
		}
	}
	_, err := decoder.ReadToken()
	return decoder.InputOffset(), err
}

// addJSON takes a string, or the property id of an object. The JSON library
// reads to the letter: it refuses what encoding/json would replace or ignore.
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
		return errors.New("is neither a JSON string nor an object with the property id")
	}
	switch {
	case err != nil:
		return badJSON(err)
	case object.ID == nil:
		return errors.New(`has no property "id", or null in it`)
	}
	return in.add(*object.ID)
}

// badJSON says it without the words of the library and of Go.
func badJSON(err error) error {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("is bad JSON: the value at %s is of another type", cmp.Or(string(semantic.JSONPointer), "its top"))
	}
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "json: "), "jsontext: ")
	return fmt.Errorf("is bad JSON: %s", text)
}

// add takes an id to the letter.
func (in *input) add(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if _, ok := in.seen[id]; ok {
		in.duplicates++
		return nil
	}
	in.seen[id] = struct{}{}
	in.ids = append(in.ids, id)
	return nil
}

// checkID refuses what the SDK would refuse later, in the middle of the run.
func checkID(id string) error {
	switch {
	case strings.TrimSpace(id) == "":
		return errors.New("is blank")
	case !utf8.ValidString(id):
		return errors.New("is not valid UTF-8")
	}
	return nil
}
