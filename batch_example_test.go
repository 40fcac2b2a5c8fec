package memoryplugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func ExampleClient_DeleteConversationsInBatches() {
	srv := memoryplugintest.NewServer(nil) // Stands for the real API.
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2", "conv-3", "conv-4")
	client := srv.Client()

	// Any sequence will do: the lines of a file, the rows of a query, or a slice.
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("conv-%d", i+1)
	}

	var deleted, notDeleted, unconfirmed int
	for result, err := range client.DeleteConversationsInBatches(context.Background(), slices.Values(ids), memoryplugin.BatchOptions{}) {
		if err != nil {
			fmt.Println(err)
		}
		deleted += len(result.Deleted)
		notDeleted += len(result.NotDeleted)
		unconfirmed += len(result.Unconfirmed)
	}

	fmt.Println(deleted, "deleted,", notDeleted, "not deleted,", unconfirmed, "unconfirmed")
	// Output: 4 deleted, 996 not deleted, 0 unconfirmed
}

// Every result goes to a journal as a line of JSON. When that can't be written,
// the ids end, so that nothing more is sent.
func ExampleClient_DeleteConversationsInBatches_journal() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2", "conv-3")
	srv.FailNext(memoryplugintest.Fault{}, memoryplugintest.Fault{Status: http.StatusForbidden})
	ids := slices.Values([]string{"conv-1", "conv-2", "conv-3"})
	client := srv.Client()

	type entry struct {
		*memoryplugin.DeleteConversationsResult
		Error string `json:"error,omitempty"`
	}
	journal := json.NewEncoder(os.Stdout) // Yours is a file, opened with os.O_APPEND.
	broken := false
	whileWritten := func(yield func(string) bool) {
		for id := range ids {
			if broken || !yield(id) {
				return
			}
		}
	}
	for result, err := range client.DeleteConversationsInBatches(context.Background(), whileWritten, memoryplugin.BatchOptions{Size: 2, Concurrency: 1}) {
		line := entry{DeleteConversationsResult: result}
		if err != nil {
			line.Error = err.Error()
		}
		if err := journal.Encode(line); err != nil {
			fmt.Println(err, line) // Still accounted for.
			broken = true
		}
	}
	// Output:
	// {"deleted":["conv-1","conv-2"],"count":2,"notDeleted":[],"unconfirmed":[],"attempts":1,"requestId":""}
	// {"deleted":[],"count":0,"notDeleted":["conv-3"],"unconfirmed":[],"attempts":1,"requestId":"","error":"memoryplugin: delete conversations: 403 Forbidden: \"Forbidden\" (1 attempt)"}
}

// A batch that fails does not stop the run. What it leaves is sent once more.
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
		var left []string
		for result, err := range client.DeleteConversationsInBatches(context.Background(), slices.Values(ids), memoryplugin.BatchOptions{Size: 2, Concurrency: 1}) {
			fmt.Println(result.Deleted, result.NotDeleted, result.Unconfirmed)
			if err != nil {
				left = append(left, result.NotDeleted...)
				left = append(left, result.Unconfirmed...)
			}
		}
		fmt.Println("left:", left)
		if len(left) == len(ids) {
			break // Nothing was achieved: try later.
		}
		ids = left
	}
	// Output:
	// [] [] [conv-1 conv-2]
	// [] [] [conv-3 conv-4]
	// [conv-5 conv-6] [] []
	// left: [conv-1 conv-2 conv-3 conv-4]
	// [conv-1 conv-2] [] []
	// [] [conv-3 conv-4] []
	// left: []
}

// Ending the ids, rather than the context, lets everything that is in flight
// be confirmed.
func ExampleClient_DeleteConversationsInBatches_signal() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	var ids []string
	for i := range 10_000 {
		ids = append(ids, fmt.Sprintf("conv-%d", i))
	}
	srv.AddConversations(ids...)
	client := srv.Client()

	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	untilInterrupted := func(yield func(string) bool) {
		for _, id := range ids {
			if interrupted.Err() != nil || !yield(id) {
				return
			}
		}
	}
	deleted, unconfirmed := 0, 0
	for result, err := range client.DeleteConversationsInBatches(context.Background(), untilInterrupted, memoryplugin.BatchOptions{}) {
		if err != nil {
			fmt.Println(err)
		}
		deleted += len(result.Deleted)
		unconfirmed += len(result.Unconfirmed)
		stop() // Stands for a Ctrl-C in the middle of the run.
	}

	fmt.Println("every deletion is confirmed:", deleted == 10_000-len(srv.Conversations()))
	fmt.Println("some are left for another run:", deleted < 10_000)
	fmt.Println("unconfirmed:", unconfirmed)
	// Output:
	// every deletion is confirmed: true
	// some are left for another run: true
	// unconfirmed: 0
}
