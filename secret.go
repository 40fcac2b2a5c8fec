package memoryplugin

import (
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
)

// secret returns the API key, and the pattern of it as it is or as JSON, a URL,
// HTML or Go code may write it. It is a func because fmt prints what it finds in any
// field of a struct, exported or not, but not what a closure holds.
type secret func() (key string, written *regexp.Regexp)

func newSecret(key string) secret {
	var text, decimals, hexes []string
	for _, c := range []byte(key) {
		text = append(text, anyEscape(c))
		decimals = append(decimals, fmt.Sprint(c))
		hexes = append(hexes, fmt.Sprintf("0x%x", c))
	}
	pattern := regexp.MustCompile(strings.Join([]string{
		strings.Join(text, ""), strings.Join(decimals, " "), strings.Join(hexes, ", "), // The latter as fmt prints bytes.
	}, "|"))
	return func() (string, *regexp.Regexp) { return key, pattern }
}

// anyEscape is a pattern of the ways in which c may be written.
func anyEscape(c byte) string {
	return fmt.Sprintf(`(?:\\*%s|(?i:\\+u00%02x|\\+x%02x|%%%02x|&#x0*%x;)|&#0*%d;|%s)`,
		regexp.QuoteMeta(string(c)), c, c, c, c, c, regexp.QuoteMeta(html.EscapeString(string(c))))
}

// strike replaces the key by as many asterisks: the length stays, so that a
// text can be cut after it at a place that was chosen before.
func (s secret) strike(text string) string {
	key, written := s()
	if !strings.ContainsAny(text, `\%&, `) { // Nothing is escaped, which saves the slow search.
		if !strings.Contains(text, key) {
			return text
		}
		return strings.ReplaceAll(text, key, strings.Repeat("*", len(key)))
	}
	return written.ReplaceAllStringFunc(text, func(found string) string { return strings.Repeat("*", len(found)) })
}

// strikeName is strike for the name of a header, of which net/http changes the case.
func (s secret) strikeName(name string) string {
	key, _ := s()
	if strings.Contains(strings.ToLower(name), strings.ToLower(key)) {
		return strings.Repeat("*", len(name))
	}
	return s.strike(name)
}

// isIn reports whether value, or an error that it wraps, prints the key.
func (s secret) isIn(value any) bool {
	if value == nil {
		return false
	}
	marshalled, _ := json.Marshal(value) // It goes where fmt does not: behind pointers.
	if _, written := s(); written.MatchString(fmt.Sprintf("%s %+v %#v %s", value, value, value, marshalled)) {
		return true
	}
	switch err := value.(type) {
	case interface{ Unwrap() error }:
		return s.isIn(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), func(err error) bool { return s.isIn(err) })
	}
	return false
}
