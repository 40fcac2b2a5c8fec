package memoryplugintest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// forget stands for your own code, which takes a Client.
func forget(ctx context.Context, client *memoryplugin.Client, ids ...string) error {
	_, err := client.DeleteConversations(ctx, ids)
	return err
}

func ExampleNewServer() {
	srv := memoryplugintest.NewServer(nil) // In a test: NewServer(t), and no Close.
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2", "conv-3")

	err := forget(context.Background(), srv.Client(), "conv-1", "conv-3")

	fmt.Println(err)
	fmt.Println("left:", srv.Conversations())
	// Output:
	// <nil>
	// left: [conv-2]
}

func ExampleServer_AddConversation() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	pinned := true
	srv.AddConversation(memoryplugintest.Conversation{
		Conversation: memoryplugin.Conversation{
			ID: "conv-1", Title: "A walk through Rome", Platform: "chatgpt", Pinned: &pinned,
			CreatedAt: time.Date(2025, time.May, 1, 8, 0, 0, 0, time.UTC),
		},
		Messages: []memoryplugin.Message{{Sender: "human", Text: "Where do I start?"}},
	})
	srv.AddConversations("conv-2") // Of which there is nothing but the id.

	ctx, client := context.Background(), srv.Client()
	lastYear, err := client.AllConversations(ctx, memoryplugin.ConversationFilter{DateFrom: "2025-01-01", DateTo: "2025-12-31"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, conversation := range lastYear {
		transcript, err := client.GetTranscript(ctx, conversation.ID)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s, %q: %s\n", conversation.ID, conversation.Title, transcript.Messages[0].Text)
	}
	// Output: conv-1, "A walk through Rome": Where do I start?
}

func ExampleServer_FailNext() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1")
	srv.FailNext(
		memoryplugintest.Fault{Status: http.StatusServiceUnavailable},
		memoryplugintest.Fault{Drop: true},
	)

	err := forget(context.Background(), srv.Client(), "conv-1")

	fmt.Println(err)
	fmt.Println("requests:", len(srv.Requests()))
	// Output:
	// <nil>
	// requests: 3
}

// The worst that a network does: the conversation is deleted, but the
// confirmation is lost.
func ExampleServer_FailNext_lostReply() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1")
	srv.FailNext(memoryplugintest.Fault{Applied: true, Drop: true})

	err := forget(context.Background(), srv.Client(), "conv-1")

	fmt.Println(errors.Is(err, memoryplugin.ErrUnconfirmed))
	fmt.Println("left:", srv.Conversations())
	// Output:
	// true
	// left: []
}

// The server can't delete one of the conversations, however often it is asked.
func ExampleServer_FailFunc() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2")
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if slices.Contains(r.IDs, "conv-2") {
			return memoryplugintest.Fault{Status: http.StatusForbidden}
		}
		return memoryplugintest.Fault{}
	})

	fmt.Println(forget(context.Background(), srv.Client(), "conv-1"))
	fmt.Println(forget(context.Background(), srv.Client(), "conv-2"))
	// Output:
	// <nil>
	// memoryplugin: delete conversations: 403 Forbidden: "Forbidden" (1 attempt)
}

func ExampleServer_Requests() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()

	_ = forget(context.Background(), srv.Client(), "conv-1", "conv-2")

	for _, request := range srv.Requests() {
		fmt.Println(request.Method, request.Path, request.IDs)
	}
	// Output: DELETE /api/chat-history/chats [conv-1 conv-2]
}

func ExampleServer_LimitIDs() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.LimitIDs(1)

	err := forget(context.Background(), srv.Client(), "conv-1", "conv-2")

	fmt.Println(err)
	// Output: memoryplugin: delete conversations: 413 Request Entity Too Large: "At most 1 ids" (1 attempt)
}
