package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/terminal"
)

// journalFrom is how many conversations have a journal without a flag.
const journalFrom = 101

// deleting is a delete command: its flags, and what becomes of it.
type deleting struct {
	*settings
	selecting
	sending
	journalPath, backupPath, output  string
	noJournal, noVerify, dryRun, yes bool
	max, batchSize                   int
}

func newDelete(s *settings) *cobra.Command {
	d := &deleting{settings: s}
	command := &cobra.Command{
		Use:   "delete FILTERS|IDS [--backup FILE.jsonl] [--journal FILE.jsonl] [--dry-run] [--yes]",
		Short: "Delete conversations for good",
		Long: `Deletes conversations for good. It asks first, at the terminal. Without a terminal, --yes
is needed.

` + selectingHelp + `

With more than 100 conversations it keeps a journal, in a new file in the current folder.
Started again with --journal and that file, it goes on where it ended.`,
		Example: `  memoryplugin delete --before 1y --backup copies.jsonl
  memoryplugin list --title draft --output ids | memoryplugin delete --file - --yes
  memoryplugin delete --dry-run conv-id-1 conv-id-2`,
		Args: cobra.ArbitraryArgs,
		RunE: func(command *cobra.Command, args []string) error {
			return d.run(command.Flags().Changed("max"), args)
		},
	}
	d.addDeleteFlags(command.Flags())
	return command
}

func (d *deleting) addDeleteFlags(flags *pflag.FlagSet) {
	d.selecting.addFlags(flags)
	d.sending.addFlags(flags)
	flags.StringVar(&d.backupPath, "backup", "", "copy everything to `FILE` first; delete nothing without a copy")
	flags.StringVar(&d.journalPath, "journal", "", "record what becomes of each conversation in `FILE`, or go on with it")
	flags.BoolVar(&d.noJournal, "no-journal", false, "keep no journal, however many conversations there are")
	flags.BoolVar(&d.noVerify, "no-verify", false, "don't find out what became of those without an answer")
	flags.BoolVar(&d.dryRun, "dry-run", false, "say what would be deleted, and delete nothing")
	flags.BoolVar(&d.yes, "yes", false, "delete without asking")
	flags.IntVar(&d.max, "max", 0, "delete nothing if there are more than `N`")
	flags.IntVar(&d.batchSize, "batch-size", 100, "send at most `N` ids in a request")
	flags.StringVar(&d.output, "output", "text", "print the summary as `FORMAT`: text or json")
}

func (d *deleting) check() error {
	switch {
	case d.output != "text" && d.output != "json":
		return fmt.Errorf("--output is text or json, not %q", d.output)
	case d.noJournal && d.journalPath != "":
		return errors.New("--journal and --no-journal exclude each other")
	case d.journalPath != "" && d.journalPath == d.backupPath:
		return errors.New("--journal and --backup name the same file")
	case d.batchSize < 1 || d.batchSize > 10_000:
		return errors.New("--batch-size is not a number from 1 to 10000")
	case d.max < 0:
		return errors.New("--max is less than 0")
	}
	return d.sending.check()
}

// run selects, copies, asks, deletes and sums up, in this order.
func (d *deleting) run(hasMax bool, args []string) error {
	if err := cmp.Or(d.check(), d.checkUsage(args)); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // An output that nobody reads must not end it in its middle.
	var console *terminal.Console
	if !d.yes && !d.dryRun {
		var err error
		if console, err = terminal.OpenConsole(); err != nil {
			return err
		}
	}
	c, err := d.connect()
	if err != nil {
		return err
	}
	var isSending atomic.Bool
	stop, ctx := watchSignals(func(sig os.Signal) { c.progress.Say("%s", onSignal(sig, isSending.Load())) })
	p, err := d.plan(stop, c, args)
	if err != nil {
		return err
	}
	defer p.close()
	switch {
	case len(p.pending) == 0 && p.skipped == 0:
		c.progress.Say("%s", d.nothing(p.chosen))
		return d.report(p, &deletion.Summary{}, nil)
	case hasMax && len(p.pending) > d.max:
		return fmt.Errorf("nothing was deleted: %s selected, and --max is %d. Raise it, or select less", terminal.Plural(len(p.pending)), d.max)
	case d.dryRun:
		return d.preview(p)
	}
	if err := d.backUp(stop, p); err != nil {
		return err
	}
	if err := d.ask(stop, console, p); err != nil {
		return err
	}
	if err := p.copies.Check(); err != nil { // The question may have been open for hours.
		return &exit{exitLeft, fmt.Errorf("nothing was deleted: %w", err)}
	}
	isSending.Store(true)
	return d.deleteAll(ctx, stop, p)
}

func onSignal(sig os.Signal, isSending bool) string {
	if !isSending {
		return fmt.Sprintf("%v: stopping. Nothing was deleted.", sig)
	}
	return fmt.Sprintf("%v: nothing more is sent, and what is on the wire is awaited. A second signal cuts that off.", sig)
}

// backUp copies what is to be deleted, and withholds what could not be copied.
func (d *deleting) backUp(ctx context.Context, p *plan) error {
	if d.backupPath == "" || len(p.pending) == 0 {
		return nil
	}
	chosen := *p.chosen
	chosen.Conversations = p.pending
	copies, err := p.openBackup(ctx, d.backupPath, &chosen)
	if err != nil {
		return err
	}
	p.copies, p.pending, p.chosen.Described = copies, chosen.Conversations, chosen.Described
	outcomes, err := p.copyAll(ctx, copies, &d.sending, &chosen)
	if err != nil {
		p.keepsCopies = true // The next run goes on with them.
		if ctx.Err() != nil {
			return &exit{exitInterrupted, fmt.Errorf("%w; the same command goes on with the copies in %s", context.Cause(ctx), terminal.Quote(d.backupPath))}
		}
		return apiError(ctx, fmt.Errorf("nothing was deleted: the backup is not complete: %w", err))
	}
	p.outcomes = outcomes
	return nil
}

// ask returns nil once there is consent. A no leaves no file behind.
func (d *deleting) ask(ctx context.Context, console *terminal.Console, p *plan) error {
	q := p.question()
	if len(q.Conversations) == 0 {
		return nil
	}
	if console == nil {
		p.progress.Say("%s", q)
		return nil
	}
	err := console.Ask(ctx, q)
	if err == nil {
		return nil
	}
	p.keepsCopies = !errors.Is(err, terminal.ErrNo)
	err = fmt.Errorf("nothing was deleted: %w", err)
	if errors.Is(err, errInterrupted) {
		return &exit{exitInterrupted, err}
	}
	return err
}

func (d *deleting) deleteAll(ctx, stop context.Context, p *plan) error {
	p.isBegun, p.start = true, time.Now()
	conversations := p.toDelete()
	p.progress.Begin("done", len(conversations))
	run := &deletion.Run{
		Client: p.Client, Journal: p.journal, BatchSize: d.batchSize, Concurrency: d.concurrency,
		Patience: d.newPatience(p.progress), NoVerify: d.noVerify, Ready: p.copies.Check, OnDone: p.progress.Add,
	}
	summary := run.Do(ctx, stop, conversations)
	p.progress.End()
	return d.report(p, summary, stop.Err())
}

// report prints the summary, and returns the exit code.
func (d *deleting) report(p *plan, summary *deletion.Summary, interrupted error) error {
	s := &terminal.Summary{
		Summary: summary, Host: p.host, Selected: len(p.pending) + p.skipped, Skipped: p.skipped,
		Pinned: len(p.chosen.Pinned), Duplicates: p.chosen.Duplicates, Took: time.Since(p.start), Journal: p.journal.Path(),
	}
	code := 0
	switch {
	case summary.KeyRefused:
		code = exitKeyRefused
	case summary.JournalError != nil:
		code = exitLeft
	case summary.IsComplete():
	case interrupted != nil:
		code = exitInterrupted
	default:
		code = exitLeft
	}
	if err := d.write(os.Stdout, s); err != nil {
		_ = s.WriteText(os.Stderr) // The ids that are left must be somewhere.
		return &exit{max(code, exitLeft), fmt.Errorf("the summary can't be written: %w", err)}
	}
	if code == 0 {
		return nil
	}
	return &exit{code: code}
}

func (d *deleting) write(w io.Writer, s *terminal.Summary) error {
	if d.output == "json" {
		s.WriteUnrecorded(os.Stderr)
		return s.WriteJSON(w)
	}
	if s.Selected == 0 {
		return nil // It was said.
	}
	s.Rest = s.Journal
	if s.JournalError != nil {
		s.Rest = ""
	}
	if s.Rest == "" {
		s.Rest = writeLeft(s.Left)
	}
	return s.WriteText(w)
}

// writeLeft writes the ids that are left to a file, if they are many, and returns
// its path. If that fails, all are shown.
func writeLeft(left []deletion.Group) string {
	isLong := false
	for _, g := range left {
		isLong = isLong || len(g.IDs) > terminal.MostIDs
	}
	if !isLong {
		return ""
	}
	path := newPath("memoryplugin-left-", ".jsonl")
	var lines []byte
	for _, g := range left {
		for _, id := range g.IDs { // As JSON, since an id can have a line break.
			line, err := json.Marshal(id)
			if err != nil {
				return ""
			}
			lines = append(append(lines, terminal.Escape(line)...), '\n')
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return ""
	}
	_, err = file.Write(lines)
	if errors.Join(err, file.Close()) != nil {
		_ = os.Remove(path)
		return ""
	}
	return path
}

// newPath returns the path of a new file in the current folder. Two runs can start
// in the same second.
func newPath(before, after string) string {
	return fmt.Sprintf("%s%s-%d%s", before, time.Now().Format("20060102-150405"), os.Getpid(), after)
}

// preview is what a dry run prints.
func (d *deleting) preview(p *plan) error {
	if d.output == "json" {
		summary := &deletion.Summary{NotDeleted: len(p.pending)}
		group := deletion.Group{Reason: deletion.NotSent, Error: "a dry run"}
		for _, c := range p.pending {
			group.IDs = append(group.IDs, c.ID)
		}
		summary.Left = append(summary.Left, group)
		s := &terminal.Summary{Summary: summary, Host: p.host, Selected: len(p.pending) + p.skipped, Skipped: p.skipped}
		return written(0, s.WriteJSON(os.Stdout))
	}
	q := p.question()
	q.Journal = d.journalToBe(len(p.chosen.Conversations))
	skipped := ""
	if p.skipped > 0 {
		skipped = fmt.Sprintf("; %d skipped: done by an earlier run", p.skipped)
	}
	return written(fmt.Printf("A dry run: nothing is deleted%s%s. Without --dry-run:\n\n%s\n", skipped, leftOut(p.chosen), q))
}

// journalToBe says which journal a run would have.
func (d *deleting) journalToBe(n int) string {
	switch {
	case d.journalPath != "":
		return terminal.Quote(d.journalPath)
	case d.noJournal || n < journalFrom:
		return "none"
	}
	return "a new one in the current folder"
}

// openJournal opens the journal that a flag names. A dry run only looks at it.
func (d *deleting) openJournal(account appendfile.Account) (*journal.Journal, error) {
	switch {
	case d.journalPath == "":
		return nil, nil
	case d.dryRun:
		return journal.Look(d.journalPath, account)
	}
	return journal.Open(d.journalPath, account)
}

// makeJournal makes a journal in the current folder if there are many conversations
// and no flag names one.
func (d *deleting) makeJournal(p *plan) error {
	if d.journalPath != "" || d.noJournal || d.dryRun || len(p.chosen.Conversations) < journalFrom {
		return nil
	}
	var err error
	if p.journal, err = journal.Open(newPath("memoryplugin-", ".jsonl"), p.account); err != nil {
		return fmt.Errorf("%w. Name one with --journal, or use --no-journal", err)
	}
	return nil
}
