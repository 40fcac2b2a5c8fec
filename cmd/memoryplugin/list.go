package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/selection"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/terminal"
)

func newList(s *settings) *cobra.Command {
	selecting := &selecting{}
	output := ""
	command := &cobra.Command{
		Use:   "list [FILTERS]",
		Short: "List conversations",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			selecting.IncludePinned = true
			return list(s, selecting, output)
		},
	}
	selecting.addFilterFlags(command.Flags())
	command.Flags().StringVar(&output, "output", "table", "print as `FORMAT`: table, ids (one per line), or json")
	return command
}

func newCount(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "count",
		Short: "Count the conversations of the account",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			stop, _ := watchSignals(func(os.Signal) {})
			n, err := c.CountConversations(stop)
			if err != nil {
				return apiError(stop, err)
			}
			return written(fmt.Fprintln(os.Stdout, n))
		},
	}
}

func list(s *settings, selecting *selecting, output string) error {
	write, ok := map[string]func(io.Writer, []memoryplugin.Conversation) error{
		"table": terminal.WriteTable, "ids": writeIDs, "json": writeJSON,
	}[output]
	if !ok {
		return fmt.Errorf("--output is table, ids or json, not %q", output)
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	stop, _ := watchSignals(func(os.Signal) {})
	listed, _, err := selecting.list(stop, c.Client)
	if err != nil {
		return err
	}
	if len(listed.Conversations) == 0 {
		c.progress.Say("No conversation matches.")
	}
	var text bytes.Buffer
	if err := write(&text, listed.Conversations); err != nil {
		return err
	}
	return written(os.Stdout.Write(text.Bytes()))
}

// written gives a failure to write to standard output its exit code.
func written(_ int, err error) error {
	if err != nil {
		return &exit{exitLeft, fmt.Errorf("standard output can't be written: %w", err)}
	}
	return nil
}

// writeIDs writes what the other commands read back.
func writeIDs(w io.Writer, conversations []memoryplugin.Conversation) error {
	for _, c := range conversations {
		if err := selection.CheckID(c.ID); err != nil {
			return &exit{exitLeft, fmt.Errorf("an id, %q, %w. Use --output json, and --json to read it", c.ID, err)}
		}
		fmt.Fprintln(w, c.ID)
	}
	return nil
}

// writeJSON writes an array with one conversation on a line.
func writeJSON(w io.Writer, conversations []memoryplugin.Conversation) error {
	separator := "[\n"
	for _, c := range conversations {
		c.CreatedAt, c.UpdatedAt = c.CreatedAt.UTC(), c.UpdatedAt.UTC() // Not every zone can be written.
		line, err := json.Marshal(c)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s%s", separator, terminal.Escape(line))
		separator = ",\n"
	}
	if len(conversations) == 0 {
		fmt.Fprint(w, "[")
	}
	_, err := fmt.Fprint(w, "\n]\n")
	return err
}
