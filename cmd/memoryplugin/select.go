package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/selection"
)

// selectingHelp explains what the commands with these flags take.
const selectingHelp = `FILTERS are --all, or any of --provider, --title, --before, --after, --updated-before and
--import-id. They leave out pinned conversations, unless --include-pinned is given. IDS are
arguments, or one per line in the file that --file names, or on standard input.`

// selecting is the flags that say which conversations a command is about.
type selecting struct {
	selection.Filters
	file string
	json bool
}

func (s *selecting) addFilterFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&s.All, "all", false, "select every conversation")
	flags.StringVar(&s.Provider, "provider", "", "select those of the platform `NAME`, such as chatgpt or claude")
	flags.StringVar(&s.Title, "title", "", "select those with `TEXT` in their title")
	flags.StringVar(&s.Before, "before", "", "select those created before `WHEN`: a date in UTC, or an age such as 90d, 6w, 1y")
	flags.StringVar(&s.After, "after", "", "select those created at `WHEN` or later")
	flags.StringVar(&s.UpdatedBefore, "updated-before", "", "select those not updated since `WHEN`")
	flags.StringVar(&s.ImportID, "import-id", "", "select those of the import with `ID`")
}

func (s *selecting) addFlags(flags *pflag.FlagSet) {
	s.addFilterFlags(flags)
	flags.BoolVar(&s.IncludePinned, "include-pinned", false, "select pinned conversations too")
	flags.StringVar(&s.file, "file", "", "read ids from `FILE`, one per line (-: standard input)")
	flags.BoolVar(&s.json, "json", false, `read a JSON array or stream of strings, or of objects with "id"`)
}

// checkUsage refuses what selects nothing, or contradicts itself.
func (s *selecting) checkUsage(args []string) error {
	switch {
	case s.IsSet() && (len(args) > 0 || s.file != "" || s.json):
		return errors.New("ids and filters exclude each other")
	case s.IsSet():
		_, err := s.Parse(time.Now())
		return err
	case s.IncludePinned:
		return errors.New("--include-pinned belongs to filters; ids are taken even if they are pinned")
	case len(args) > 0 && (s.file != "" || s.json):
		return errors.New("ids as arguments exclude --file and --json")
	case len(args) > 0:
		_, err := selection.FromArguments(args)
		return err
	case s.file == "" && !isInput(os.Stdin):
		return errors.New("nothing is selected: give --all or filters, or ids as arguments, with --file or on standard input")
	}
	return nil
}

// isInput reports whether f is a pipe or a file. A terminal has no ids, and the null
// device, which cron gives, never has any.
func isInput(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// choose returns what the flags and arguments select.
func (s *selecting) choose(ctx context.Context, client *memoryplugin.Client, args []string) (*selection.Selection, *selection.Query, error) {
	if s.IsSet() {
		return s.list(ctx, client)
	}
	var chosen *selection.Selection
	var err error
	if len(args) > 0 {
		chosen, err = selection.FromArguments(args)
	} else {
		chosen, err = s.readUntil(ctx)
	}
	return chosen, nil, err
}

func (s *selecting) list(ctx context.Context, client *memoryplugin.Client) (*selection.Selection, *selection.Query, error) {
	query, err := s.Parse(time.Now())
	if err != nil {
		return nil, nil, err
	}
	chosen, err := query.List(ctx, client)
	return chosen, query, apiError(ctx, err)
}

// readUntil reads ids until ctx ends. A pipe's read can't be interrupted.
func (s *selecting) readUntil(ctx context.Context) (*selection.Selection, error) {
	var chosen *selection.Selection
	ended := make(chan error, 1)
	go func() {
		var err error
		chosen, err = s.read()
		ended <- err
	}()
	select {
	case err := <-ended:
		return chosen, err
	case <-ctx.Done():
		return nil, &exit{exitInterrupted, context.Cause(ctx)}
	}
}

// read reads ids from a file or from standard input.
func (s *selecting) read() (*selection.Selection, error) {
	var r io.Reader = os.Stdin
	name := "standard input"
	if s.file != "" && s.file != "-" {
		file, err := os.Open(s.file)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		r, name = file, s.file
	}
	if s.json {
		return selection.FromJSON(r, name)
	}
	return selection.FromLines(r, name)
}

// apiError gives a failure of the API its exit code. The end of ctx counts first.
func apiError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &exit{exitInterrupted, context.Cause(ctx)}
	case errors.Is(err, selection.ErrNotObeyed) || errors.Is(err, memoryplugin.ErrInvalidArgument):
		return &exit{exitNothingSent, err}
	case errors.Is(err, memoryplugin.ErrUnauthorized):
		return &exit{exitKeyRefused, fmt.Errorf("%w. Check the API key", err)}
	case isOfAnotherServer(err):
		err = fmt.Errorf("%w. Check the base URL: a proxy or a login page may answer instead of the API", err)
	}
	return &exit{exitLeft, err}
}

func isOfAnotherServer(err error) bool {
	reply, isReply := errors.AsType[*memoryplugin.ErrorResponse](err)
	return errors.Is(err, memoryplugin.ErrUnexpectedResponse) || errors.Is(err, memoryplugin.ErrNotFound) ||
		isReply && reply.StatusCode >= 300 && reply.StatusCode < 400
}
