package selection

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

var (
	age    = regexp.MustCompile(`^([1-9][0-9]{0,4})([dwy])$`)
	daysOf = map[string]int{"d": 1, "w": 7, "y": 365}

	errNoInstant = errors.New(`want a date such as "2026-01-31", or an age such as "90d", "6w" or "1y"`)
)

// parseInstant reads a date, which is its midnight in UTC, or an age.
func parseInstant(text string, now time.Time) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, text)
	if parts := age.FindStringSubmatch(text); parts != nil {
		n, _ := strconv.Atoi(parts[1]) // At most five digits.
		t, err = now.UTC().AddDate(0, 0, -n*daysOf[parts[2]]), nil
	}
	if err != nil {
		return time.Time{}, errNoInstant
	}
	if t.Year() < 1970 || t.Year() > 2999 {
		return time.Time{}, errors.New("that is before 1970, or after 2999")
	}
	return t, nil
}
