//go:build unix

package main

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	xterm "golang.org/x/term"
)

// onTerminal is a run of the tool at a terminal.
type onTerminal struct {
	*program
	screen *output // everything that the terminal was sent, echoes included
	hand   *os.File
	name   string
	copied chan struct{}
}

// atTerminal starts the tool at a terminal of a usual size. Those of its standard
// streams (0, 1 and 2) that are named lead there, and the others stay what they are.
func (p *program) atTerminal(streams ...int) *onTerminal {
	p.t.Helper()
	return p.atTerminalOf(pty.Winsize{Rows: 24, Cols: 120}, streams...)
}

func (p *program) atTerminalOf(size pty.Winsize, streams ...int) *onTerminal {
	p.t.Helper()
	hand, tty, err := pty.Open()
	require.NoError(p.t, err)
	p.t.Cleanup(func() { hand.Close() })
	require.NoError(p.t, pty.Setsize(hand, &size))
	// The library leaves it blocking, and a Read that waits would keep it from being closed.
	require.NoError(p.t, syscall.SetNonblock(int(hand.Fd()), true))
	for _, stream := range streams {
		switch stream {
		case 0:
			p.Stdin = tty
		case 1:
			p.Stdout = tty
		case 2:
			p.Stderr = tty
		}
	}
	p.ExtraFiles = []*os.File{tty} // It is descriptor 3, even if no stream leads there.
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	p.start()
	require.NoError(p.t, tty.Close())
	at := &onTerminal{p, &output{}, hand, tty.Name(), make(chan struct{})}
	go func() {
		defer close(at.copied)
		_, _ = io.Copy(at.screen, hand) // It ends with the program, or with hangUp.
	}()
	return at
}

func (at *onTerminal) typed(text string) {
	at.t.Helper()
	_, err := at.hand.WriteString(text)
	require.NoError(at.t, err)
}

// asked waits for the question, and returns what the screen shows then.
func (at *onTerminal) asked() string {
	at.t.Helper()
	at.screen.waitFor(at.t, "to delete them: ")
	return strings.Join(rendered(at.screen.String()), "\n")
}

// shows waits until a line of the screen matches a pattern.
func (at *onTerminal) shows(pattern string) {
	at.t.Helper()
	re := regexp.MustCompile(pattern)
	require.Eventually(at.t, func() bool {
		return slices.ContainsFunc(rendered(at.screen.String()), re.MatchString)
	}, 30*time.Second, 10*time.Millisecond, "%s was never on the screen", pattern)
}

// hangUp closes the terminal, and returns when it is gone.
func (at *onTerminal) hangUp() {
	at.t.Helper()
	tty, err := os.OpenFile(at.name, os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(at.t, err)
	defer tty.Close()
	require.NoError(at.t, at.hand.Close())
	// A process that another test has just forked may have it a moment longer.
	require.Eventually(at.t, func() bool { return !xterm.IsTerminal(int(tty.Fd())) }, 30*time.Second, time.Millisecond)
}

func (at *onTerminal) end() outcome {
	at.t.Helper()
	got := at.program.end()
	<-at.copied
	return got
}

// screen is what a terminal without end shows.
type screen struct {
	lines       [][]rune
	row, column int
}

// rendered returns what a screen without end shows, line by line.
func rendered(text string) []string {
	s := &screen{}
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '\r':
			s.column = 0
		case r == '\n':
			s.row++
		case r == '\x1b' && i+1 < len(runes) && runes[i+1] == '[':
			n := slices.IndexFunc(runes[i+2:], func(r rune) bool { return r >= '@' && r <= '~' })
			if n < 0 {
				i = len(runes) // The rest of it is still to come.
				break
			}
			s.obey(runes[i+2+n], string(runes[i+2:i+2+n]))
			i += 2 + n
		default:
			s.put(r)
		}
	}
	shown := make([]string, len(s.lines))
	for i, line := range s.lines {
		shown[i] = strings.TrimRight(string(line), " ")
	}
	return shown
}

func (s *screen) put(r rune) {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
	for len(s.lines[s.row]) <= s.column {
		s.lines[s.row] = append(s.lines[s.row], ' ')
	}
	s.lines[s.row][s.column] = r
	s.column++
}

// obey moves the cursor, or erases.
func (s *screen) obey(command rune, argument string) {
	n, err := strconv.Atoi(argument)
	if err != nil {
		n = 1
	}
	switch command {
	case 'A':
		s.row = max(0, s.row-n)
	case 'B':
		s.row += n
	case 'C':
		s.column += n
	case 'D':
		s.column = max(0, s.column-n)
	case 'F':
		s.row, s.column = max(0, s.row-n), 0
	case 'G':
		s.column = n - 1
	case 'J', 'K':
		s.erase(command == 'J', argument == "2")
	}
}

func (s *screen) erase(below, wholeLine bool) {
	if s.row >= len(s.lines) {
		return
	}
	if below {
		s.lines = s.lines[:s.row+1]
	}
	line := &s.lines[s.row]
	if *line = (*line)[:min(s.column, len(*line))]; wholeLine {
		*line = nil
	}
}

func TestTheTestsOwnTerminalShowsWhatAScreenShows(t *testing.T) {
	for text, want := range map[string][]string{
		"a\r\nb\r\n":               {"a", "b"},
		"long\rab":                 {"abng"},
		"long\r\x1b[Kab":           {"ab"},
		"long\x1b[2K\rab":          {"ab"},
		"long\r\x1b[0Kab":          {"ab"},
		"a\r\nb\r\x1b[1A\x1b[Jc\n": {"c"},
		"\x1b[31mred\x1b[0m":       {"red"},
		"cut\x1b[3":                {"cut"},
	} {
		require.Equal(t, want, rendered(text), "%q", text)
	}
}
