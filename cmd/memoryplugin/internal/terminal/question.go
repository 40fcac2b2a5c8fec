package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/memoryplugin/memoryplugin-go"
)

var (
	// ErrNo is an answer that is not a yes.
	ErrNo = errors.New("the answer was no")
	// ErrNobody says that there is no terminal to ask at.
	ErrNobody = errors.New("there is no terminal to ask at. See what would go with --dry-run, then use --yes, which does not ask")
)

// Question is what is about to be done.
type Question struct {
	Host          string
	Selected      string // what the filters say, if there are any
	Conversations []memoryplugin.Conversation
	Resumed       int    // of them, taken up from the journal
	Backup        string // the file with their copies, or ""
	Journal       string // what is said of it
}

// String describes what is about to be done.
func (q *Question) String() string {
	w := &strings.Builder{}
	n := len(q.Conversations)
	fmt.Fprintf(w, "About to delete %s from %s for good", Plural(n), Quote(q.Host))
	if q.Selected != "" {
		fmt.Fprintf(w, ": %s", q.Selected)
	}
	fmt.Fprintln(w, ".")
	if first, last, ok := q.span(); ok {
		fmt.Fprintf(w, "They were created from %s to %s.\n", day(first), day(last))
	}
	if q.Resumed > 0 {
		fmt.Fprintf(w, "%d of them: an earlier run sent them, or was about to, and the journal does not say what became of them.\n", q.Resumed)
	}
	if q.Backup != "" {
		fmt.Fprintf(w, "Backup: %s has a copy of each.\n", Quote(q.Backup))
	}
	fmt.Fprintf(w, "Journal: %s", q.Journal)
	const first = 3
	for i, c := range q.Conversations {
		if i == first && n > first+1 {
			fmt.Fprint(w, "\n  ...")
		}
		if i < first || i == n-1 {
			fmt.Fprintf(w, "\n  %s", describe(c))
		}
	}
	return w.String()
}

// span returns when the oldest and the newest conversation were created, if that is
// known of all.
func (q *Question) span() (oldest, newest time.Time, ok bool) {
	for i, c := range q.Conversations {
		if c.CreatedAt.IsZero() {
			return oldest, newest, false
		}
		if i == 0 || c.CreatedAt.Before(oldest) {
			oldest = c.CreatedAt
		}
		if c.CreatedAt.After(newest) {
			newest = c.CreatedAt
		}
	}
	return oldest, newest, len(q.Conversations) > 0
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func describe(c memoryplugin.Conversation) string {
	text := cut(Quote(c.ID), idWidth)
	if !c.CreatedAt.IsZero() {
		text += "  " + day(c.CreatedAt)
	}
	if c.Title != "" {
		text += "  " + cut(quoteTitle(c.Title), 60)
	}
	return text
}

// cut cuts text to n characters.
func cut(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}

// Console is the terminal that the program was started from, whatever its standard
// input is.
type Console struct{ in, out *os.File }

// OpenConsole opens the terminal. The error is ErrNobody if there is none.
func OpenConsole() (*Console, error) {
	in, out := "/dev/tty", "/dev/tty"
	if runtime.GOOS == "windows" {
		in, out = "CONIN$", "CONOUT$"
	}
	c := &Console{}
	var err1, err2 error
	c.in, err1 = os.OpenFile(in, os.O_RDWR, 0)
	c.out, err2 = os.OpenFile(out, os.O_RDWR, 0)
	if err1 != nil || err2 != nil || !term.IsTerminal(int(c.in.Fd())) {
		return nil, ErrNobody
	}
	return c, nil
}

// Ask asks the question, and returns nil if the answer is yes, or the number of
// conversations. What was typed before the question is no answer. The end of ctx
// ends it, with its cause.
func (c *Console) Ask(ctx context.Context, q *Question) error {
	n := len(q.Conversations)
	flush(c.in)
	fmt.Fprintf(c.out, "%v\nNothing brings them back. Type yes, or the number %d, to delete them: ", q, n)
	answered := make(chan error, 1)
	go func() { answered <- c.read(strconv.Itoa(n)) }() // A terminal's read can't be interrupted.
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		fmt.Fprintln(c.out)
		return context.Cause(ctx)
	}
}

func (c *Console) read(number string) error {
	line, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil {
		return errors.New("there was no answer") // The terminal is gone, or the line has no end.
	}
	if answer := strings.TrimRight(line, "\r\n"); answer != "yes" && answer != number {
		return fmt.Errorf("%w: neither yes nor %s", ErrNo, number)
	}
	return nil
}
