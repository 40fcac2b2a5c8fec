package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/backup"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/patience"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/selection"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/terminal"
)

// sending is the flags of the commands that send a request for each conversation.
type sending struct {
	concurrency int
	patience    time.Duration
}

func (s *sending) addFlags(flags *pflag.FlagSet) {
	flags.IntVar(&s.concurrency, "concurrency", 4, "have at most `N` requests in flight")
	flags.DurationVar(&s.patience, "patience", 5*time.Minute, "go on for `TIME` without progress")
}

func (s *sending) check() error {
	if s.concurrency < 1 || s.concurrency > 1000 {
		return errors.New("--concurrency is not a number from 1 to 1000")
	}
	if s.patience < 0 {
		return errors.New("--patience is less than 0")
	}
	return nil
}

// firstWait is the wait before the second round, if it is not 0. Tests set it.
var firstWait time.Duration

func (s *sending) newPatience(progress *terminal.Progress) *patience.Patience {
	return &patience.Patience{Limit: s.patience, First: firstWait, OnWait: func(until time.Time, why error) {
		progress.Wait(until, shortError(why))
	}}
}

// shortError is a failure in some words: "429 Too Many Requests".
func shortError(err error) string {
	if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
		text, _, _ := strings.Cut(reply.Error(), ":")
		return text
	}
	return strings.TrimPrefix(err.Error(), "memoryplugin: ")
}

func newBackup(s *settings) *cobra.Command {
	selecting, sending, to := &selecting{}, &sending{}, ""
	command := &cobra.Command{
		Use:   "backup FILTERS|IDS --to FILE.jsonl",
		Short: "Copy conversations with their messages to a file",
		Long: `Copies conversations with their messages to a file, one JSON object per line. Started
again with the same file, it goes on where it ended, and copies again what was updated.

` + selectingHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			return backUp(s, selecting, sending, to, args)
		},
	}
	selecting.addFlags(command.Flags())
	sending.addFlags(command.Flags())
	command.Flags().StringVar(&to, "to", "", "write the copies to `FILE`, or go on with it")
	return command
}

func backUp(s *settings, selecting *selecting, sending *sending, to string, args []string) error {
	if to == "" {
		return errors.New("--to is missing: it names the file for the copies")
	}
	if err := cmp.Or(sending.check(), selecting.checkUsage(args)); err != nil {
		return err
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	stop, _ := watchSignals(func(sig os.Signal) { c.progress.Say("%v: stopping. What is copied is on disk.", sig) })
	chosen, _, err := selecting.choose(stop, c.Client, args)
	if err != nil {
		return err
	}
	if len(chosen.Conversations) == 0 {
		c.progress.Say("%s", selecting.nothing(chosen))
		return nil
	}
	copies, err := c.openBackup(stop, to, chosen)
	if err != nil {
		return err
	}
	defer copies.Close()
	outcomes, err := c.copyAll(stop, copies, sending, chosen)
	return reportCopies(stop, chosen, outcomes, to, err)
}

// openBackup opens a backup, and looks up how old the conversations are if there are
// copies that may be older.
func (c *connection) openBackup(ctx context.Context, path string, chosen *selection.Selection) (*backup.Backup, error) {
	copies, err := backup.Open(path, c.account)
	if err != nil {
		return nil, err
	}
	if copies.CutOff() > 0 {
		c.progress.Say("The last line of %s was torn: %d bytes are cut off.", terminal.Quote(path), copies.CutOff())
	}
	for _, conversation := range chosen.Conversations {
		if !chosen.WasListed && copies.HasAny(conversation.ID) {
			err = chosen.Describe(ctx, c.Client)
			break
		}
	}
	if err != nil {
		copies.Discard()
		return nil, apiError(ctx, err)
	}
	return copies, nil
}

// copyAll returns the outcome of each conversation.
func (c *connection) copyAll(ctx context.Context, copies *backup.Backup, sending *sending, chosen *selection.Selection) ([]error, error) {
	c.progress.Begin("copied", len(chosen.Conversations))
	defer c.progress.End()
	return copies.Fetch(ctx, &backup.Fetch{
		Client: c.Client, Concurrency: sending.concurrency, Patience: sending.newPatience(c.progress),
		OnCopy: func() { c.progress.Add(1) },
	}, chosen.Conversations)
}

func reportCopies(ctx context.Context, chosen *selection.Selection, outcomes []error, to string, failure error) error {
	copied := 0
	var failed strings.Builder
	for i, err := range outcomes {
		if err == nil {
			copied++
			continue
		}
		fmt.Fprintf(&failed, "    %s: %s\n", terminal.Quote(chosen.Conversations[i].ID), shortError(err))
	}
	text := fmt.Sprintf("%d of %s copied to %s%s.\n", copied, terminal.Plural(len(outcomes)), terminal.Quote(to), leftOut(chosen))
	if copied < len(outcomes) {
		text += "Not copied:\n" + failed.String()
	}
	if err := written(os.Stdout.WriteString(text)); err != nil {
		return err
	}
	switch {
	case failure != nil:
		return apiError(ctx, failure)
	case copied < len(outcomes):
		return &exit{code: exitLeft}
	}
	return nil
}

// nothing says that nothing is selected, and what may be wrong.
func (s *selecting) nothing(chosen *selection.Selection) string {
	text := "Nothing is selected" + leftOut(chosen) + "."
	if s.Provider != "" {
		text += " Is --provider spelt as list shows it?"
	}
	return text
}

// leftOut says how many conversations a selection leaves out.
func leftOut(chosen *selection.Selection) string {
	text := ""
	if n := len(chosen.Pinned); n > 0 {
		text = fmt.Sprintf("; %d left out: pinned, or may be (--include-pinned selects them)", n)
	}
	if chosen.Duplicates > 0 {
		text += fmt.Sprintf("; %d given twice", chosen.Duplicates)
	}
	return text
}
