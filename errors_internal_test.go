package memoryplugin

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestQuoteIsOneShortPrintableString(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                   "",
		"plain":                   "busy",
		"a forged line":           "busy\nlevel=ERROR\r\nall deleted",
		"a terminal's escapes":    "\x1b[2J\x1b]0;title\x07\u009b2J\x7f",
		"right to left":           "\u202egnp.exe",
		"no UTF-8":                "\xff\xfe",
		"quotes and backslashes":  `say "no" \`,
		"512 bytes":               strings.Repeat("x", 512),
		"a mebibyte":              strings.Repeat("x", 1<<20),
		"escapes across the cut":  strings.Repeat("\x01", 1000),
		"a rune across the cut":   "x" + strings.Repeat("語", 1000),
		"a quote across the cut":  strings.Repeat(`"`, 1000),
		"an emoji across the cut": "xx" + strings.Repeat("🎈", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			quoted := quote(text)

			assert.LessOrEqual(t, len(quoted), 512)
			assert.True(t, utf8.ValidString(quoted))
			assert.NotContains(t, quoted, string(utf8.RuneError))
			assert.False(t, strings.ContainsFunc(quoted, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", quoted)
			assert.True(t, strings.HasPrefix(quoted, `"`) && strings.HasSuffix(quoted, `"`), quoted)
		})
	}
}

func TestQuoteShowsThatItCut(t *testing.T) {
	assert.Equal(t, `"busy"`, quote("busy"))
	assert.NotContains(t, quote(strings.Repeat("x", 510)), "...")
	assert.Contains(t, quote(strings.Repeat("x", 511)), "x...")
}
