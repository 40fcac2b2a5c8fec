package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// askConsent says what is about to be done, and returns nil where it may be
// done. The end of ctx ends the question, with its cause.
func askConsent(ctx context.Context, host string, n int, yes bool) error {
	fmt.Fprintf(os.Stderr, "About to delete %s from %s. This can't be undone.\n", conversations(n), printable(host))
	if yes {
		return nil
	}
	if !isTerminal(os.Stdin) {
		return errors.New("standard input is not a terminal, so nobody can be asked: --yes deletes without asking")
	}
	fmt.Fprintf(os.Stderr, "Type yes, or the number %d, to go on: ", n)
	select {
	case answer, ok := <-readAnswer():
		if !ok {
			return fmt.Errorf("%w: the terminal is gone", errInterrupted)
		}
		if answer != "yes" && answer != strconv.Itoa(n) {
			return fmt.Errorf("the answer was neither yes nor %d", n)
		}
		return nil
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr)
		return context.Cause(ctx)
	}
}

// readAnswer reads in a goroutine of its own, since a terminal's read can't be
// interrupted. A line without an end is no answer; the channel is closed where
// the terminal is gone.
func readAnswer() <-chan string {
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil && !isTerminal(os.Stdin) {
			close(answer)
			return
		}
		if err != nil {
			line = ""
			fmt.Fprintln(os.Stderr) // The cursor is behind the question.
		}
		answer <- strings.TrimRight(line, "\r\n")
	}()
	return answer
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func conversations(n int) string {
	if n == 1 {
		return "1 conversation"
	}
	return fmt.Sprintf("%d conversations", n)
}
