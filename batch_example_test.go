package memoryplugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func ExampleClient_DeleteConversationsInBatches() {
	srv := memoryplugintest.NewServer(nil) // Stands for the real API.
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2", "conv-3", "conv-4")
	client := srv.Client()
	ctx := context.Background()
	ids := []string{"conv-1", "conv-2", "conv-3", "conv-4", "conv-5"}

	result, err := client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Size: 2})
	fmt.Println(result.Deleted, result.NotListed, err)
	// Output: [conv-1 conv-2 conv-3 conv-4] [conv-5] <nil>
}

// A line of JSON for every batch. If the journal can't be written, the run stops,
// and what is in flight is still accounted for.
func ExampleBatchOptions_journal() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2", "conv-3")
	srv.FailNext(memoryplugintest.Fault{}, memoryplugintest.Fault{Status: http.StatusForbidden})
	client := srv.Client()

	type entry struct {
		*memoryplugin.DeleteConversationsResult
		Error string `json:"error,omitempty"`
	}
	journal := json.NewEncoder(os.Stdout) // Yours is a file, opened with os.O_APPEND.
	stop := make(chan struct{})
	broken := false
	write := func(result *memoryplugin.DeleteConversationsResult, err error) {
		line := entry{DeleteConversationsResult: result}
		if err != nil {
			line.Error = err.Error()
		}
		if err := journal.Encode(line); err != nil && !broken {
			broken = true
			close(stop)
		}
	}
	_, _ = client.DeleteConversationsInBatches(context.Background(), []string{"conv-1", "conv-2", "conv-3"},
		memoryplugin.BatchOptions{Size: 2, Concurrency: 1, Stop: stop, OnBatch: write})
	// Output:
	// {"deleted":["conv-1","conv-2"],"notListed":[],"notDeleted":[],"unconfirmed":[],"count":2,"attempts":1,"requestId":""}
	// {"deleted":[],"notListed":[],"notDeleted":["conv-3"],"unconfirmed":[],"count":0,"attempts":1,"requestId":"","error":"memoryplugin: delete conversations: 403 Forbidden: \"Forbidden\" (1 attempt)"}
}

// What a run leaves is sent once more.
func ExampleClient_DeleteConversationsInBatches_secondRun() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2", "conv-3", "conv-4", "conv-5", "conv-6")
	srv.FailNext(
		memoryplugintest.Fault{Status: http.StatusServiceUnavailable},
		memoryplugintest.Fault{Applied: true, Drop: true}, // The deletion is made, but its confirmation lost.
	)
	ids := []string{"conv-1", "conv-2", "conv-3", "conv-4", "conv-5", "conv-6"}
	client := srv.Client(memoryplugin.WithMaxRetries(0)) // So that it fails here.

	for len(ids) > 0 {
		result, err := client.DeleteConversationsInBatches(context.Background(), ids, memoryplugin.BatchOptions{Size: 2, Concurrency: 1})
		// What is not listed in the second round may be deleted by the first one.
		fmt.Println("deleted", result.Deleted, "not listed", result.NotListed)
		left := append(result.NotDeleted, result.Unconfirmed...)
		if err != nil && len(left) == len(ids) {
			fmt.Println(err)
			break // Nothing was achieved: try later.
		}
		ids = left
	}
	// Output:
	// deleted [conv-5 conv-6] not listed []
	// deleted [conv-1 conv-2] not listed [conv-3 conv-4]
}

// The first Ctrl-C stops gently; the second one ends the program.
func ExampleBatchOptions_signal() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2")
	client := srv.Client()
	ctx := context.Background()
	ids := []string{"conv-1", "conv-2"}

	interrupted, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(interrupted, restore) // A second Ctrl-C ends the program.
	result, err := client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Stop: interrupted.Done()})

	fmt.Println(result.Deleted, err)
	// Output: [conv-1 conv-2] <nil>
}

// The first Ctrl-C stops gently: the run waits for what is on the wire, and
// nothing becomes Unconfirmed because of it. The second one cuts it off. Don't
// use a context that the first signal cancels, such as that of
// signal.NotifyContext.
func ExampleBatchOptions_twoSignals() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2")
	client := srv.Client()
	ids := []string{"conv-1", "conv-2"}

	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt)
	go func() {
		<-signals
		close(stop) // The first Ctrl-C: wait for what is on the wire.
		<-signals
		cancel() // The second one: cut it off.
	}()
	result, err := client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Stop: stop})

	fmt.Println(result.Deleted, err)
	// Output: [conv-1 conv-2] <nil>
}
