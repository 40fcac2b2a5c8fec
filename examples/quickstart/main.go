// Quickstart deletes MemoryPlugin conversations and says what became of each.
//
// Without an API key it shows, on a server in memory, the three things that can
// become of an id. With one it deletes the conversations that it is given:
//
//	go run ./quickstart
//	MEMORYPLUGIN_API_KEY=... go run ./quickstart [--yes] ID...
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

const usage = `usage: quickstart                  show the three outcomes on a server in memory
       quickstart [--yes] ID...    delete conversations from your account, for good

MEMORYPLUGIN_API_KEY is the key of your account; MEMORYPLUGIN_BASE_URL is where
the API is, if elsewhere. --yes skips the question; what follows -- is an id.
The exit code is 0 when all were deleted, 1 when not, 2 when nothing was sent.
`

func main() {
	log.SetOutput(io.Discard) // net/http logs what a server sends unasked, which may echo the key.
	p := program{stdout: os.Stdout, stderr: os.Stderr}
	if isTerminal(os.Stdin) {
		p.stdin = os.Stdin
	}
	os.Exit(p.run(os.Args[1:]))
}

// isTerminal is also true of the null device, where the question then gets no answer.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

type program struct {
	stdin          io.Reader // nil where there is nobody to ask
	stdout, stderr io.Writer
}

// errRefused is in the error of a run that has sent nothing.
var errRefused = errors.New("nothing was deleted")

// run returns the exit code.
func (p program) run(args []string) int {
	err := p.start(args)
	if errors.Is(err, memoryplugin.ErrInvalidArgument) {
		err = fmt.Errorf("%w: %w", errRefused, err)
	}
	if err != nil {
		fmt.Fprintln(p.stderr, "quickstart:", err)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errRefused):
		return 2
	}
	return 1
}

func (p program) start(args []string) error {
	command, err := parse(args)
	if err != nil {
		return err
	}
	hasKey := os.Getenv("MEMORYPLUGIN_API_KEY") != ""
	switch {
	case command.help:
		p.say(usage)
		return nil
	case !hasKey && len(args) == 0:
		p.show()
		return nil
	case !hasKey:
		return fmt.Errorf("%w: MEMORYPLUGIN_API_KEY is not set", errRefused)
	case len(command.ids) == 0:
		return fmt.Errorf("%w: no ids given (--help tells how)", errRefused)
	}
	return p.deleteFromAccount(command)
}

type command struct {
	ids       []string
	yes, help bool
}

// parse takes flags among the ids too: package flag would take a late --yes,
// or one that is misspelt, for an id.
func parse(args []string) (c command, err error) {
	for i, arg := range args {
		switch {
		case arg == "--":
			c.ids = append(c.ids, args[i+1:]...)
			return c, c.check()
		case arg == "--yes":
			c.yes = true
		case arg == "--help", arg == "-h":
			c.help = true
		case strings.HasPrefix(arg, "-"):
			return c, fmt.Errorf("%w: unknown flag %q (--help tells how)", errRefused, arg)
		default:
			c.ids = append(c.ids, arg)
		}
	}
	return c, c.check()
}

// check finds what the SDK would refuse as well, before anybody is asked.
func (c command) check() error {
	for i, id := range c.ids {
		if strings.TrimSpace(id) == "" {
			return fmt.Errorf("%w: id %d of %d is blank", errRefused, i+1, len(c.ids))
		}
	}
	return nil
}

// deleteFromAccount returns nil when every id was deleted.
func (p program) deleteFromAccount(c command) error {
	logger := slog.New(slog.NewTextHandler(p.stderr, nil)) // Shows retries.
	client, err := memoryplugin.NewClientFromEnv(memoryplugin.WithLogger(logger))
	if err != nil {
		return err
	}
	if err := p.confirm(c); err != nil {
		return err
	}
	// Ctrl-C ends the call but not the program, which still says what may be gone.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	result, err := p.delete(ctx, client, c.ids)
	if err == nil && len(result.NotDeleted) > 0 {
		return fmt.Errorf("%d not deleted", len(result.NotDeleted))
	}
	return err
}

// confirm says what is about to be done, and asks unless told not to.
func (p program) confirm(c command) error {
	base, err := url.Parse(cmp.Or(os.Getenv("MEMORYPLUGIN_BASE_URL"), memoryplugin.DefaultBaseURL))
	if err != nil {
		return err
	}
	unique := slices.Compact(slices.Sorted(slices.Values(c.ids)))
	fmt.Fprintf(p.stderr, "About to delete %d conversation(s) from %s. This can't be undone.\n", len(unique), printable(base.Host))
	if c.yes {
		return nil
	}
	if p.stdin == nil {
		return fmt.Errorf("%w: standard input is no terminal to ask at (--yes skips the question)", errRefused)
	}
	fmt.Fprint(p.stderr, "Type yes to go on: ")
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil || strings.TrimRight(answer, "\r\n") != "yes" {
		return fmt.Errorf("%w: the answer was not yes", errRefused)
	}
	return nil
}

// delete prints what became of each id. Like the SDK's method it returns a nil
// result only where nothing was sent.
func (p program) delete(ctx context.Context, client *memoryplugin.Client, ids []string) (*memoryplugin.DeleteConversationsResult, error) {
	result, err := client.DeleteConversations(ctx, ids)
	if result == nil {
		return nil, err
	}
	p.list("Deleted (the server confirms it; gone for good)", result.Deleted)
	if err == nil {
		p.list("NotDeleted (there is no such conversation; nothing to do)", result.NotDeleted)
	} else {
		p.list("NotDeleted (see the error; send them again once it is solved)", result.NotDeleted)
	}
	p.list("Unconfirmed (may be gone, but no reply says so; send them again)", result.Unconfirmed)
	return result, err
}

func (p program) list(heading string, ids []string) {
	if len(ids) == 0 {
		return
	}
	p.say("  %s:\n", heading)
	for _, id := range ids {
		p.say("    %s\n", printable(id))
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

func (p program) say(format string, args ...any) { fmt.Fprintf(p.stdout, format, args...) }

// show lets three calls meet what a network can do to them.
func (p program) show() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	client := srv.Client(memoryplugin.WithLogger(p.retryLogger()))
	srv.AddConversations("conv-1", "conv-2", "conv-3", "conv-4", "conv-5")
	p.say("MEMORYPLUGIN_API_KEY is not set: this is a server in memory, nothing real is deleted.\n")
	p.say("Its conversations: %s\n", strings.Join(srv.Conversations(), " "))

	p.say("\n1. Delete two that exist and one that does not. The server is busy at first:\n")
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests})
	p.step(client, "conv-1", "conv-2", "conv-9")

	p.say("\n2. Delete two more. The connection breaks after they are deleted, before the reply:\n")
	srv.FailNext(memoryplugintest.Fault{Applied: true, Drop: true})
	lost := p.step(client, "conv-3", "conv-4")

	p.say("\n3. Send the unconfirmed ones again. What is NotDeleted now is gone, or was never there:\n")
	p.step(client, lost.Unconfirmed...)

	p.say("\nConversations left: %s\n", strings.Join(srv.Conversations(), " "))
}

func (p program) step(client *memoryplugin.Client, ids ...string) *memoryplugin.DeleteConversationsResult {
	result, err := p.delete(context.Background(), client, ids)
	if err == nil {
		p.say("  err is nil: every id is answered for\n")
	} else {
		p.say("  err is %v\n", err)
	}
	return result
}

// retryLogger prints what the SDK logs, but for what differs from run to run.
func (p program) retryLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(p.stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "wait" {
				return slog.Attr{}
			}
			return a
		},
	}))
}
