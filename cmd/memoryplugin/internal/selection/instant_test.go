package selection_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/selection"
)

// instant is what the dates of a query say.
func instant(text string) (string, error) {
	q, err := selection.Filters{Before: text}.Parse(now)
	if err != nil {
		return "", err
	}
	return q.String(), nil
}

func TestADateIsItsMidnightAndAnAgeIsCountedFromNow(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-01-31": "2026-01-31 00:00",
		"2024-02-29": "2024-02-29 00:00", // A leap year.
		"2000-02-29": "2000-02-29 00:00", // And so was this.
		"1970-01-01": "1970-01-01 00:00",
		"1d":         "2026-03-09 15:04",
		"90d":        "2025-12-10 15:04",
		"6w":         "2026-01-27 15:04",
		"1w":         "2026-03-03 15:04",
		"1y":         "2025-03-10 15:04",
		"3y":         "2023-03-11 15:04", // Of 365 days, although 2024 had 366.
		"20000d":     "1971-06-07 15:04",
		"56y":        "1970-03-24 15:04",
	} {
		got, err := instant(text)
		require.NoError(t, err, text)
		assert.Equal(t, "created before "+want+" UTC", got, text)
	}
}

func TestNowMayBeInAnyTimeZone(t *testing.T) {
	t.Parallel()
	q, err := selection.Filters{Before: "90d"}.Parse(now.In(time.FixedZone("", -10*3600)))
	require.NoError(t, err)
	assert.Equal(t, "created before 2025-12-10 15:04 UTC", q.String())
}

// badInstants are typos, and other formats.
var badInstants = []string{
	"90", "d", "-90d", "+90d", "90d ", " 90d", "90 d", "90D", "0d", "00d", "01d", "1.5y", "1m", "1h", "90days", "1y6w", "99999999999999999999d", "100000d",
	"٩٠d", "90d\n", "2026-1-5", "2026-02-30", "2025-02-29", "1900-02-29", "2026-13-01", "2026-00-10", "2026-01-00", "26-01-01", "2026/01/01", "01-02-2026",
	"2026-01-31T00:00:00Z", "2026-01-31 ", "20260131", "today", "yesterday", "-2026-01-01", "12026-01-01", "\x00",
}

func TestWhatIsNoInstantIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range badInstants {
		_, err := instant(text)
		assert.ErrorContains(t, err, `want a date such as "2026-01-31", or an age such as "90d", "6w" or "1y"`, "%q", text)
	}
}

func TestWhatIsBefore1970OrAfter2999IsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1969-12-31", "0001-01-01", "0000-01-01", "57y", "99999y", "99999w", "99999d", "3000-01-01", "9999-12-31"} {
		_, err := instant(text)
		assert.ErrorContains(t, err, "before 1970", text)
	}
}

func FuzzInstant(f *testing.F) {
	for _, text := range append([]string{"2026-01-31", "90d", "6w", "1y", "99999y", "9999-12-31"}, badInstants...) {
		f.Add(text)
	}
	shape := regexp.MustCompile(`^([1-9][0-9]{0,4}[dwy]|[0-9]{4}-[0-9]{2}-[0-9]{2})$`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := selection.Filters{Before: text}.Parse(now)
		if err != nil || text == "" {
			return
		}
		require.Regexp(t, shape, text)
		require.Regexp(t, `^created before (19[7-9]|[2-9][0-9]{2})[0-9]-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC$`, q.String())
	})
}
