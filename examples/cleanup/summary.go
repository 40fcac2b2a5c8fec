package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// kind is what happened to an id that is not deleted, as far as a person has
// to tell one from the other.
type kind int

const (
	none kind = iota
	notListed
	refused
	mayBeGone
	goneAlready
	notSent
)

const (
	mostIDs    = 10 // of a group, where a journal has the rest
	mostErrors = 3  // of a group
)

// outcome is what became of some ids.
type outcome struct {
	state     state // as the journal has it
	ids       []string
	requestID string
	failure   kind
	status    int // of the refusing reply, 0 where there was none
	err       string
}

// summary accounts for every id of a run. It marshals to what --output json
// prints, but for the failures.
type summary struct {
	Host        string  `json:"host"`
	Requested   int     `json:"requested"` // Skipped and what follows it add up to it.
	Duplicates  int     `json:"duplicates"`
	Skipped     int     `json:"skipped"`
	Deleted     int     `json:"deleted"`
	NotDeleted  int     `json:"not_deleted"`
	Unconfirmed int     `json:"unconfirmed"`
	NotSent     int     `json:"not_sent"`
	Interrupted bool    `json:"interrupted"`
	Seconds     float64 `json:"seconds"`

	failed       []outcome
	journal      string // its path
	dryRun       bool
	stopped      []error // the reasons
	keyRefused   bool
	journalError error
}

type failure struct {
	ID    string `json:"id"`
	State state  `json:"state"`
	Error string `json:"error"`
}

func (s *summary) add(o outcome) {
	n := len(o.ids)
	switch {
	case n == 0:
		return
	case o.failure == none:
		s.Deleted += n
		return
	case o.failure == notSent:
		s.NotSent += n
	case o.state == notDeleted:
		s.NotDeleted += n
	default:
		s.Unconfirmed += n
	}
	s.failed = append(s.failed, o)
}

// complete reports whether every id is deleted, now or by an earlier run.
func (s *summary) complete() bool { return s.Skipped+s.Deleted == s.Requested }

func (s *summary) exitCode() int {
	switch {
	case s.dryRun:
		return 0
	case s.keyRefused:
		return 3
	case s.journalError != nil:
		return 1
	case s.complete():
		return 0
	case s.Interrupted:
		return 130
	}
	return 1
}

func (s *summary) write(w io.Writer, output string) error {
	buffered := bufio.NewWriter(w)
	if output == "json" {
		if err := s.writeJSON(buffered); err != nil {
			return err
		}
	} else {
		s.writeText(buffered)
	}
	return buffered.Flush() // Its error is that of any write before.
}

func (s *summary) writeJSON(w io.Writer) error {
	whole := struct {
		*summary
		Failures []failure `json:"failures"`
	}{summary: s}
	for _, o := range s.failed {
		shown := o.state
		if o.failure == notSent {
			shown = "not_sent" // The journal has it as what it was before.
		}
		for _, id := range o.ids {
			whole.Failures = append(whole.Failures, failure{id, shown, o.err})
		}
	}
	line, err := json.Marshal(whole, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", escaped(line))
	return err
}

// escaped writes what could move a terminal's cursor as \uXXXX. In a line of
// JSON it occurs in strings alone.
func escaped(line []byte) []byte {
	out := make([]byte, 0, len(line))
	for _, r := range string(line) {
		if strconv.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}

func (s *summary) writeText(w io.Writer) {
	took := time.Duration(s.Seconds * float64(time.Second)).Round(time.Millisecond)
	notSentIs := "not sent"
	if s.dryRun {
		notSentIs = "would be deleted"
		fmt.Fprintf(w, "Dry run: nothing was sent. %s would be deleted from %s.\n\n", conversations(s.NotSent), printable(s.Host))
	} else {
		fmt.Fprintf(w, "%d of %s deleted from %s in %v", s.Skipped+s.Deleted, conversations(s.Requested), printable(s.Host), took)
		if s.Skipped > 0 {
			fmt.Fprintf(w, ", %d of them by earlier runs", s.Skipped)
		}
		fmt.Fprint(w, ".\n\n")
	}
	for _, row := range []struct {
		n    int
		what string
	}{
		{s.Deleted, "deleted"},
		{s.Skipped, "skipped: an earlier run deleted them"},
		{s.NotDeleted, "not deleted"},
		{s.Unconfirmed, "unconfirmed"},
		{s.NotSent, notSentIs},
		{s.Duplicates, "duplicates left out"},
	} {
		if row.n > 0 {
			fmt.Fprintf(w, "%8d  %s\n", row.n, row.what)
		}
	}
	for _, reason := range s.stopped {
		fmt.Fprintf(w, "\nStopped early: %v\n", reason)
	}
	if s.dryRun && s.NotSent > 0 {
		fmt.Fprintln(w)
		writeIDs(w, s.failed[0].ids, mostIDs, "of the input") // A dry run has this one outcome.
	} else {
		s.writeFailures(w)
	}
}

// group is what failures are told apart by.
type group struct {
	failure kind
	status  int
}

func (s *summary) writeFailures(w io.Writer) {
	groups := map[group][]outcome{}
	for _, o := range s.failed {
		g := group{o.failure, o.status}
		groups[g] = append(groups[g], o)
	}
	inOrder := slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.failure, b.failure), cmp.Compare(a.status, b.status))
	})
	for _, g := range inOrder {
		s.writeGroup(w, g, groups[g])
	}
}

// writeGroup says what happened to ids, why, what to do about it, and to which.
func (s *summary) writeGroup(w io.Writer, g group, outcomes []outcome) {
	var ids []string
	for _, o := range outcomes {
		ids = append(ids, o.ids...)
	}
	title, advice := s.explain(g)
	fmt.Fprintf(w, "\n%d %s\n", len(ids), title)
	if g.failure != notListed && g.failure != goneAlready { // Their title says all that the error does.
		writeErrors(w, outcomes)
	}
	fmt.Fprintf(w, "  What to do: %s\n", advice)
	switch {
	case s.journal == "" || s.journalError != nil:
		writeIDs(w, ids, len(ids), "")
	case g.failure == notSent:
		writeIDs(w, ids, mostIDs, "of the input")
	default:
		writeIDs(w, ids, mostIDs, "in "+s.journal)
	}
}

// writeIDs prints as many ids as most, and says where the others are.
func writeIDs(w io.Writer, ids []string, most int, others string) {
	shown := min(len(ids), most)
	for _, id := range ids[:shown] {
		fmt.Fprintf(w, "    %s\n", printable(id))
	}
	if cut := len(ids) - shown; cut > 0 {
		fmt.Fprintf(w, "    and %d more %s\n", cut, others)
	}
}

func (s *summary) explain(g group) (title, advice string) {
	again := "run it again with these ids alone."
	if s.journal != "" {
		again = "run the same command again: the journal skips what is deleted."
	}
	switch g.failure {
	case notListed:
		return "not deleted: the server answered, but did not list them",
			"check the ids. This account has no such conversations."
	case refused:
		title = fmt.Sprintf("not deleted: refused with status %d", g.status)
		switch {
		case g.status == 0:
			return "not deleted: no request got through", "mend what the error says, then " + again
		case g.status == http.StatusUnauthorized:
			return title, "check the API key, then " + again
		case isRetried(g.status):
			return title, "wait a while, then " + again
		}
		return title, "mend what the error says, then " + again
	case mayBeGone:
		return "may be gone: no answer says what became of them",
			again + " What the server does not list then is gone, or never existed."
	case goneAlready:
		return "gone already, or never there: an earlier run may have deleted them, and the server now answers that it did not",
			"nothing."
	default:
		return "not sent", again
	}
}

// writeErrors prints each error once, but no more of them than a person reads.
func writeErrors(w io.Writer, outcomes []outcome) {
	seen := map[string]bool{}
	for _, o := range outcomes {
		if !seen[o.err] && len(seen) < mostErrors {
			fmt.Fprintf(w, "  %s\n", o.err)
		}
		seen[o.err] = true
	}
	if more := len(seen) - mostErrors; more > 0 {
		fmt.Fprintf(w, "  and %d other errors (--output json has them all)\n", more)
	}
}

// printable quotes what could move a terminal's cursor or pass for another id.
func printable(text string) string {
	quoted := strconv.Quote(text)
	if quoted == `"`+text+`"` && !strings.Contains(text, " ") {
		return text
	}
	return quoted
}
