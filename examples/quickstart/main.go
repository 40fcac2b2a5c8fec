// Quickstart shows deletions from beginning to end. Without an API key it runs
// against a server in memory. With one in MEMORYPLUGIN_API_KEY, it deletes the
// conversations of your account that are given as arguments, for good and
// without asking.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func main() {
	log.SetFlags(0)
	if os.Getenv("MEMORYPLUGIN_API_KEY") == "" {
		demo()
		return
	}
	ids := os.Args[1:]
	if len(ids) == 0 {
		log.Fatal("Give the ids of the conversations to delete. Without MEMORYPLUGIN_API_KEY this is a demo.")
	}
	client, err := memoryplugin.NewClientFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	if !deleteAndShow(client, ids...) {
		os.Exit(1)
	}
}

// demo deletes from a server in memory that fails as a network does.
func demo() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2", "conv-3", "conv-4", "conv-5")
	client := srv.Client(memoryplugin.WithLogger(slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		// Without what differs each time.
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "wait" {
				return slog.Attr{}
			}
			return a
		},
	}))))
	fmt.Println("MEMORYPLUGIN_API_KEY is not set: this is a server in memory, with", srv.Conversations())

	fmt.Println("1. Delete two that exist and one that does not. The server is busy at first:")
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests})
	deleteAndShow(client, "conv-1", "conv-2", "conv-9")

	fmt.Println("2. Delete two more. The connection breaks after they are deleted, before the reply:")
	srv.FailNext(memoryplugintest.Fault{Applied: true, Drop: true})
	deleteAndShow(client, "conv-3", "conv-4")

	fmt.Println("3. Find out whether the unconfirmed ones are gone:")
	verified, err := client.VerifyDeleted(context.Background(), []string{"conv-3", "conv-4"})
	show("Gone", verified.Gone)
	if err != nil {
		fmt.Println("  err is", err)
	}
	fmt.Println("Conversations left:", srv.Conversations())
}

// deleteAndShow reports whether every id is answered for.
func deleteAndShow(client *memoryplugin.Client, ids ...string) bool {
	result, err := client.DeleteConversations(context.Background(), ids)
	show("Deleted (the server says so; gone for good)", result.Deleted)
	show("NotListed (most likely there is no such conversation)", result.NotListed)
	show("NotDeleted (certainly not; send them again)", result.NotDeleted)
	show("Unconfirmed (may be gone)", result.Unconfirmed)
	if err != nil {
		fmt.Println("  err is", err)
		return false
	}
	fmt.Println("  err is nil: every id is deleted, or the server did not list it")
	return true
}

func show(list string, ids []string) {
	if len(ids) > 0 {
		fmt.Printf("  %s: %q\n", list, ids)
	}
}
