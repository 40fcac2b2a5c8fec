// Memoryplugin finds, copies and deletes the conversations of a MemoryPlugin
// account, and accounts for each of them.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/terminal"
)

// The exit codes. It is never 2, with which a Go program crashes.
const (
	exitLeft        = 1 // something is left, or a file could not be written
	exitNothingSent = 3 // bad usage or input, no consent, a file that can't be used
	exitKeyRefused  = 4
	exitInterrupted = 130
)

// exit is an error that ends the program with a code.
type exit struct {
	code int
	err  error // nil if everything is said
}

func (e *exit) Error() string { return fmt.Sprint(e.err) }
func (e *exit) Unwrap() error { return e.err }

func main() {
	// net/http logs what a server sends unasked: it may echo the key, and would tear the bar.
	log.SetOutput(io.Discard)
	os.Exit(run())
}

// run returns the exit code.
func run() int {
	err := newRoot().Execute()
	if err == nil {
		return 0
	}
	ending := &exit{exitNothingSent, err}
	errors.As(err, &ending)
	if ending.err != nil {
		text := strings.TrimPrefix(err.Error(), "memoryplugin: ") // It may have a flag, or a file's name, as it was given.
		fmt.Fprintf(os.Stderr, "memoryplugin: %s\n", terminal.Escape([]byte(text)))
	}
	return ending.code
}

const about = `Finds, copies and deletes the conversations of a MemoryPlugin account. A deletion is
for good: nothing brings a conversation back.

The API key is read from the file that --api-key-file names, or from
MEMORYPLUGIN_API_KEY. The API is at --base-url, at MEMORYPLUGIN_BASE_URL, or at
` + memoryplugin.DefaultBaseURL + `.

Exit codes:
    0  done: every selected conversation is deleted, gone or absent; or there was none
    1  something is left, or a file could not be written
    3  nothing was sent: bad usage or input, no consent, a file that can't be used
    4  the API key was refused (401)
  130  interrupted, with something left`

func newRoot() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:               "memoryplugin",
		Long:              about,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              noCommand,
		RunE:              func(command *cobra.Command, _ []string) error { return command.Help() },
		PersistentPreRunE: func(command *cobra.Command, _ []string) error { return s.check(command.Flags()) },
	}
	s.addFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newList(s), newCount(s), newBackup(s), newDelete(s), newDemo(s))
	return root
}

func noCommand(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q. memoryplugin --help lists the commands", args[0])
	}
	return nil
}

// noArguments is for commands that take flags alone.
func noArguments(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no ids and no other arguments. %s --help lists its flags", command.Name(), command.CommandPath())
	}
	return nil
}

// flagError says what is wrong with a flag, and where to look. What begins with - may
// be meant as an id.
func flagError(command *cobra.Command, err error) error {
	text := err.Error()
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		text = fmt.Sprintf("--%s can't be %q", invalid.GetFlag().Name, invalid.GetValue())
		if invalid.GetFlag().Value.Type() == "duration" {
			text += `: want a time such as "30s" or "5m"`
		}
	}
	if _, ok := errors.AsType[*pflag.NotExistError](err); ok && command.Flags().Lookup("file") != nil {
		text += ". Put -- before an id that begins with -"
	}
	return fmt.Errorf("%s. %s --help lists the flags", text, command.CommandPath())
}

// checkNotEmpty refuses a flag that is given as "", as by a script's variable that is
// not set.
func checkNotEmpty(flags *pflag.FlagSet) error {
	var err error
	flags.Visit(func(flag *pflag.Flag) {
		if strings.TrimSpace(flag.Value.String()) == "" {
			err = fmt.Errorf("--%s is empty", flag.Name)
		}
	})
	return err
}
