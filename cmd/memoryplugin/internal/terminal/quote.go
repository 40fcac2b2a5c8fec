// Package terminal is what a person sees: the question, the progress, the table and
// the summary.
package terminal

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Quote returns text as it is, or in quotes if it could move a terminal's cursor or
// pass for other text.
func Quote(text string) string {
	quoted := strconv.Quote(text)
	if quoted == `"`+text+`"` && text != "" && !strings.Contains(text, " ") {
		return text
	}
	return quoted
}

// quoteTitle is Quote for a text in which spaces are usual.
func quoteTitle(text string) string {
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}

// Escape writes what could move a terminal's cursor as \uXXXX. In JSON, that occurs
// in strings alone.
func Escape(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for _, r := range string(text) {
		if r == '\n' || strconv.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = append(out, `\u`...)
			out = append(out, strconv.FormatUint(0x10000|uint64(unit), 16)[1:]...)
		}
	}
	return out
}

// Plural returns "1 conversation" or "2 conversations".
func Plural(n int) string {
	if n == 1 {
		return "1 conversation"
	}
	return strconv.Itoa(n) + " conversations"
}
