// Cleanup deletes any number of MemoryPlugin conversations and accounts for
// each of them: it asks first, keeps a journal, shows how far it is, and can be
// stopped and started again.
//
//	MEMORYPLUGIN_API_KEY=... go run ./cleanup --file ids.txt --journal cleanup.jsonl
//	go run ./cleanup --demo 1000
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// net/http logs what a server sends unasked: it may echo the key, and would tear the bar.
	log.SetOutput(io.Discard)
	// An output that nobody reads must not end the run in its middle.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(execute())
}

// execute returns the exit code.
func execute() int {
	s := &settings{}
	code := 0
	command := &cobra.Command{
		Use:                   "cleanup [FLAGS] [ID...]",
		Long:                  about,
		Example:               examples,
		Args:                  cobra.ArbitraryArgs,
		DisableFlagsInUseLine: true,
		SilenceErrors:         true,
		SilenceUsage:          true,
		CompletionOptions:     cobra.CompletionOptions{DisableDefaultCmd: true}, // completion is an id like any other.
		RunE: func(command *cobra.Command, args []string) error {
			err := s.check(command.Flags(), args)
			if err == nil {
				code, err = cleanUp(s, args)
			}
			return err
		},
	}
	s.addFlags(command.Flags())
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w (--help lists the flags)", err)
	})
	ran, err := command.ExecuteC()
	if err == nil && ran != command {
		err = fmt.Errorf("%s is a command of the flag library: put -- before the ids", ran.Name())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cleanup: nothing was sent: %v\n", err)
		if errors.Is(err, errInterrupted) {
			return 130
		}
		return 2
	}
	return code
}

// cleanUp returns the exit code, or an error where nothing was sent.
func cleanUp(s *settings, args []string) (int, error) {
	if s.demo > 0 {
		srv := startDemo(s)
		defer srv.Close()
		args = srv.Conversations()
	}
	in, err := readInput(args, s)
	if err != nil {
		return 0, err
	}
	progress := &progress{quiet: s.quiet}
	client, host, err := newClient(s, progress)
	if err != nil {
		return 0, err
	}
	journal, err := openJournal(s.journal, host, s.dryRun)
	if err != nil {
		return 0, err
	}
	defer journal.close()
	summary, ids := plan(in, journal)
	if s.dryRun {
		summary.dryRun = true
		summary.add(outcome{failure: notSent, ids: ids, err: "not sent: a dry run"})
		return report(summary, s.output), nil
	}
	interrupted, aborted := watchSignals()
	if len(ids) > 0 && s.demo == 0 {
		if err := askConsent(interrupted, host, len(ids), s.yes); err != nil {
			return 0, err
		}
	}
	if err := journal.repair(); err != nil {
		return 0, err
	}
	progress.begin(len(ids))
	run := &run{
		settings: s, client: client, journal: journal, progress: progress, summary: summary,
		interrupted: interrupted, aborted: aborted,
	}
	run.deleteAll(ids)
	progress.end()
	return report(summary, s.output), nil
}

// plan leaves out what the journal has as deleted.
func plan(in *input, j *journal) (*summary, []string) {
	s := &summary{Host: j.host, Requested: len(in.ids), Duplicates: in.duplicates, journal: j.path}
	ids := slices.DeleteFunc(in.ids, func(id string) bool { return j.states[id] == deleted })
	s.Skipped = s.Requested - len(ids)
	return s, ids
}

// report prints the summary and returns the exit code.
func report(s *summary, output string) int {
	code := s.exitCode()
	if err := s.write(os.Stdout, output); err != nil {
		fmt.Fprintf(os.Stderr, "cleanup: the summary can't be written: %v\n", err)
		return max(code, 1)
	}
	return code
}
