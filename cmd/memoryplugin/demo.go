package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

const (
	demoConversations = 1000
	demoMost          = 20_000
	demoDelay         = 20 * time.Millisecond // of each reply, so that there is something to watch
	demoOutage        = 3 * time.Second
)

func newDemo(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "demo [N]",
		Short: "Watch it list, copy, delete and settle, on a server in memory",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			n := demoConversations
			if len(args) > 0 {
				var err error
				if n, err = strconv.Atoi(args[0]); err != nil || n < 1 || n > demoMost {
					return fmt.Errorf("the number of conversations is %q: want 1 to %d", args[0], demoMost)
				}
			}
			return demo(s, n)
		},
	}
}

// demo runs the tool's own commands, in a folder that it removes.
func demo(s *settings, n int) error {
	if s.baseURL != "" || s.apiKeyFile != "" {
		return errors.New("the demo has a server of its own: no --base-url and no --api-key-file")
	}
	folder, err := os.MkdirTemp("", "memoryplugin-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := os.Chdir(folder); err != nil {
		return err
	}
	defer os.Chdir(os.TempDir()) // Windows does not remove the current folder.
	srv := newDemoServer(n)
	defer srv.Close()
	s.baseURL, s.apiKey = srv.URL, memoryplugintest.APIKey
	fmt.Printf("A demo: the server, its conversations and its faults are made up.\n")
	for _, step := range [][]string{
		{"count"},
		{"list", "--before", "1y", "--title", "99", "--output", "ids"},
		{"delete", "--before", "1y", "--backup", "copies.jsonl", "--journal", "journal.jsonl", "--batch-size", "25", "--yes"},
		{"count"},
	} {
		fmt.Printf("\n$ memoryplugin")
		for _, word := range step {
			fmt.Printf(" %s", word)
		}
		fmt.Println()
		if err := runStep(s, step); err != nil {
			return err
		}
	}
	_, err = fmt.Print(demoEnd)
	return err
}

const demoEnd = `
What happened: the server was busy, lost a reply and was away for some seconds. The tool
copied each conversation before it deleted it, waited, sent again what may pass, and looked
up what became of those without an answer.

For real, with your API key in MEMORYPLUGIN_API_KEY:

    memoryplugin delete --before 1y --dry-run
    memoryplugin delete --before 1y --backup copies.jsonl
`

func runStep(s *settings, args []string) error {
	root := &cobra.Command{SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(newCount(s), newList(s), newDelete(s))
	root.SetArgs(args)
	return root.Execute()
}

// newDemoServer starts a server whose conversations are up to three years old.
func newDemoServer(n int) *memoryplugintest.Server {
	srv := memoryplugintest.NewServer(nil)
	now := time.Now()
	for i := range n {
		age := 3 * 365 * 24 * time.Hour / time.Duration(n) * time.Duration(n-i)
		pinned, messages := i%50 == 7, 2
		srv.AddConversation(memoryplugintest.Conversation{
			Conversation: memoryplugin.Conversation{
				ID: fmt.Sprintf("demo-%05d", i+1), Title: fmt.Sprintf("Conversation %d", i+1), Platform: "chatgpt",
				MessageCount: &messages, CreatedAt: now.Add(-age), UpdatedAt: now.Add(-age), Pinned: &pinned,
			},
			Messages: []memoryplugin.Message{
				{Index: 0, Sender: "user", Text: "A question"},
				{Index: 1, Sender: "assistant", Text: "An answer"},
			},
		})
	}
	faults := &demoFaults{lost: fmt.Sprintf("demo-%05d", n/4+1), busy: fmt.Sprintf("demo-%05d", n/8+1), away: fmt.Sprintf("demo-%05d", n/2+1)}
	srv.FailFunc(faults.next)
	return srv
}

// demoFaults are met once each, by the deletion of a certain conversation.
type demoFaults struct {
	mu               sync.Mutex
	busy, lost, away string
	backAt           time.Time
}

func (f *demoFaults) next(r memoryplugintest.Request) memoryplugintest.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodGet {
		return memoryplugintest.Fault{}
	}
	meets := func(id *string) bool {
		isIn := slices.Contains(r.IDs, *id)
		if isIn {
			*id = ""
		}
		return isIn
	}
	switch {
	case meets(&f.busy):
		return memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3"}}}
	case meets(&f.lost):
		return memoryplugintest.Fault{Applied: true, Drop: true}
	case meets(&f.away):
		f.backAt = time.Now().Add(demoOutage)
	}
	if time.Now().Before(f.backAt) {
		return memoryplugintest.Fault{Status: http.StatusServiceUnavailable}
	}
	return memoryplugintest.Fault{Delay: demoDelay}
}
