package memoryplugin

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// secret returns the forms in which the API key can turn up in a text, the key
// itself first. It is a func because fmt prints what any field of a struct
// holds, exported or not, but not what a closure does.
type secret func() []string

func newSecret(key string) secret {
	quoted := strconv.Quote(key)
	escaped, _ := json.Marshal(key) // A string always marshals.
	forms := []string{
		key,
		quoted[1 : len(quoted)-1],
		string(escaped[1 : len(escaped)-1]),
		strings.ReplaceAll(key, "/", `\/`),
		url.QueryEscape(key),
		url.PathEscape(key),
	}
	return func() []string { return forms }
}

func (s secret) key() string { return s()[0] }

// strike replaces the key by as many asterisks: the length stays, so that a
// text can be cut after it at a place that was chosen before.
func (s secret) strike(text string) string {
	for _, form := range s() {
		text = strings.ReplaceAll(text, form, strings.Repeat("*", len(form)))
	}
	return text
}

// isIn reports whether err, or an error that it wraps, prints the key.
func (s secret) isIn(err error) bool {
	if err == nil {
		return false
	}
	printed := fmt.Sprintf("%s %+v %#v", err, err, err)
	if s.strike(printed) != printed {
		return true
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return s.isIn(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), s.isIn)
	}
	return false
}

// longest is the number of bytes of the key's longest form.
func (s secret) longest() int {
	return len(slices.MaxFunc(s(), func(a, b string) int { return len(a) - len(b) }))
}
