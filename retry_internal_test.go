package memoryplugin

import (
	"fmt"
	"math"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestBackoffIsRandomUpToItsCeiling(t *testing.T) {
	for _, test := range []struct {
		min, max time.Duration
		n        int
		ceiling  time.Duration
	}{
		{500 * time.Millisecond, 30 * time.Second, 1, 500 * time.Millisecond},
		{500 * time.Millisecond, 30 * time.Second, 4, 4 * time.Second},
		{500 * time.Millisecond, 30 * time.Second, 7, 30 * time.Second},
		{500 * time.Millisecond, 30 * time.Second, math.MaxInt, 30 * time.Second},
		{time.Second, time.Second, 5, time.Second},
		{1 << 20, math.MaxInt64, 43, 1 << 62},
		{1 << 20, math.MaxInt64, 44, math.MaxInt64},
		{1 << 20, math.MaxInt64, 1000, math.MaxInt64},
		{math.MaxInt64/2 + 1, math.MaxInt64, 2, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, 3, math.MaxInt64},
		{0, 0, 5, 0},
	} {
		t.Run(fmt.Sprintf("%v to %v, retry %d", test.min, test.max, test.n), func(t *testing.T) {
			shortest, longest := time.Duration(math.MaxInt64), time.Duration(-1)
			for range 100 {
				wait := backoff{test.min, test.max}.wait(test.n)
				shortest, longest = min(shortest, wait), max(longest, wait)
			}
			assert.GreaterOrEqual(t, shortest, time.Duration(0))
			assert.LessOrEqual(t, longest, test.ceiling)
			if test.ceiling > 0 { // Chance fails one of these once in 2^100 runs.
				assert.Less(t, shortest, test.ceiling/2)
				assert.Greater(t, longest, test.ceiling/2)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, time.November, 1, 10, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		value, date string
		want        time.Duration
	}{
		"seconds":                           {"120", "", 2 * time.Minute},
		"spaces around":                     {" 120\t", "", 2 * time.Minute},
		"the most whole seconds":            {"9223372036", "", 9223372036 * time.Second},
		"more than a Duration holds":        {"9223372037", "", math.MaxInt64},
		"more than an int64 holds":          {"99999999999999999999", "", math.MaxInt64},
		"IMF-fixdate":                       {"Sun, 01 Nov 2026 10:00:07 GMT", "", 7 * time.Second},
		"RFC 850":                           {"Sunday, 01-Nov-26 10:00:07 GMT", "", 7 * time.Second},
		"asctime":                           {"Sun Nov  1 10:00:07 2026", "", 7 * time.Second},
		"from a Date as RFC 850":            {"Sun, 01 Nov 2026 09:00:07 GMT", "Sunday, 01-Nov-26 09:00:00 GMT", 7 * time.Second},
		"from a Date as asctime":            {"Sun, 01 Nov 2026 09:00:07 GMT", "Sun Nov  1 09:00:00 2026", 7 * time.Second},
		"from a Date of nonsense":           {"Sun, 01 Nov 2026 10:00:07 GMT", "nonsense", 7 * time.Second},
		"past by Date, future by our clock": {"Sun, 01 Nov 2026 10:00:07 GMT", "Sun, 01 Nov 2026 10:00:08 GMT", 0},
		"a date beyond a Duration":          {"Fri, 31 Dec 9999 23:59:59 GMT", "", math.MaxInt64},
		"a date long ago":                   {"Mon, 01 Jan 0001 00:00:00 GMT", "", 0},
		"none":                              {"", "", 0},
		"blank":                             {"  ", "", 0},
		"zero":                              {"0", "", 0},
		"negative":                          {"-1", "", 0},
		"with a sign":                       {"+1", "", 0},
		"a fraction":                        {"1.5", "", 0},
		"an exponent":                       {"1e3", "", 0},
		"grouped":                           {"1_000", "", 0},
		"a unit":                            {"10s", "", 0},
		"digits that are not ASCII":         {"１０", "", 0},
		"an RFC 3339 date":                  {"2026-11-01T10:00:07Z", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Retry-After": {test.value}, "Date": {test.date}}
			assert.Equal(t, test.want, retryAfter(header, now))
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{
		"", "0", "7", "007", " 7 ", "-7", "+7", "1.5", "7s", "9223372036", "9223372037", "18446744074", "99999999999999999999",
		"Sun, 01 Nov 2026 10:00:07 GMT", "Sunday, 01-Nov-26 10:00:07 GMT", "Sun Nov  1 10:00:07 2026", "Fri, 31 Dec 9999 23:59:59 GMT",
	} {
		f.Add(value, "Sun, 01 Nov 2026 10:00:00 GMT")
		f.Add(value, "")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		now := time.Date(2026, time.November, 1, 10, 0, 0, 0, time.UTC)
		got := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, now)

		trimmed := strings.TrimSpace(value)
		at, dateErr := http.ParseTime(trimmed)
		switch {
		case trimmed != "" && strings.Trim(trimmed, "0123456789") == "":
			want, _ := new(big.Int).SetString(trimmed, 10)
			want.Mul(want, big.NewInt(int64(time.Second)))
			if !want.IsInt64() {
				want.SetInt64(math.MaxInt64)
			}
			assert.Equal(t, want.Int64(), int64(got))
		case dateErr == nil:
			if sent, err := http.ParseTime(date); err == nil {
				now = sent
			}
			assert.Equal(t, at.After(now), got > 0)
			assert.False(t, now.Add(got).After(at) && got > 0)
		default:
			assert.Zero(t, got)
		}
	})
}

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
