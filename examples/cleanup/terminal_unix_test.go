//go:build unix

package main_test

import (
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	xterm "golang.org/x/term"
)

// terminal is where a run of the program takes place.
type terminal struct {
	*program
	screen *output // everything that the terminal was sent, echoes included
	hand   *os.File
	name   string
	copied chan struct{}
}

// atTerminal starts the program with those of its standard streams (0, 1 and 2)
// at a terminal of a usual size.
func (p *program) atTerminal(streams ...int) *terminal {
	p.t.Helper()
	return p.atTerminalOf(pty.Winsize{Rows: 24, Cols: 120}, streams...)
}

func (p *program) atTerminalOf(size pty.Winsize, streams ...int) *terminal {
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
			p.Cmd.Stderr = tty
		}
	}
	// A session of its own, so that the terminal's signals reach it and nobody else.
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: streams[0]}
	p.start()
	require.NoError(p.t, tty.Close())
	term := &terminal{p, &output{}, hand, tty.Name(), make(chan struct{})}
	go func() {
		defer close(term.copied)
		_, _ = io.Copy(term.screen, hand) // It ends with the program, or with hangUp.
	}()
	return term
}

func (term *terminal) typed(text string) {
	term.t.Helper()
	_, err := term.hand.WriteString(text)
	require.NoError(term.t, err)
}

// hangUp closes the terminal, and returns when it is gone.
func (term *terminal) hangUp() {
	term.t.Helper()
	tty, err := os.OpenFile(term.name, os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(term.t, err)
	defer tty.Close()
	require.NoError(term.t, term.hand.Close())
	// A process that another test has just forked may have it a moment longer.
	require.Eventually(term.t, func() bool { return !xterm.IsTerminal(int(tty.Fd())) }, 30*time.Second, time.Millisecond)
}

func (term *terminal) end() outcome {
	term.t.Helper()
	got := term.program.end()
	<-term.copied
	return got
}

// rendered is what a screen without end shows, line by line.
func rendered(text string) []string {
	var screen [][]rune
	row, column := 0, 0
	put := func(r rune) {
		for len(screen) <= row {
			screen = append(screen, nil)
		}
		for len(screen[row]) <= column {
			screen[row] = append(screen[row], ' ')
		}
		screen[row][column] = r
		column++
	}
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '\r':
			column = 0
		case r == '\n':
			row++
		case r == '\x1b' && i+1 < len(runes) && runes[i+1] == '[':
			end := i + 2 + slices.IndexFunc(runes[i+2:], func(r rune) bool { return r >= '@' && r <= '~' })
			n, argument := 1, string(runes[i+2:end])
			if argument != "" && strings.Trim(argument, "0123456789") == "" {
				n = 0
				for _, digit := range argument {
					n = 10*n + int(digit-'0')
				}
			}
			switch runes[end] {
			case 'A':
				row = max(0, row-n)
			case 'F':
				row, column = max(0, row-n), 0
			case 'B':
				row += n
			case 'C':
				column += n
			case 'D':
				column = max(0, column-n)
			case 'G':
				column = n - 1
			case 'K':
				if row < len(screen) {
					if argument == "2" {
						screen[row] = nil
					} else {
						screen[row] = screen[row][:min(column, len(screen[row]))]
					}
				}
			case 'J':
				if row < len(screen) {
					screen = screen[:row+1]
					screen[row] = screen[row][:min(column, len(screen[row]))]
				}
			}
			i = end
		default:
			put(r)
		}
	}
	shown := make([]string, len(screen))
	for i, line := range screen {
		shown[i] = strings.TrimRight(string(line), " ")
	}
	return shown
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
	} {
		require.Equal(t, want, rendered(text), "%q", text)
	}
}
