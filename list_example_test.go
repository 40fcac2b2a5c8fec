package memoryplugin_test

import (
	"context"
	"fmt"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// newAccount stands for an account: a server in memory with four conversations.
func newAccount() *memoryplugintest.Server {
	srv := memoryplugintest.NewServer(nil)
	yes, no := true, false
	for _, c := range []memoryplugin.Conversation{
		{ID: "conv-1", Title: "Holiday plans", Platform: "chatgpt", CreatedAt: time.Date(2025, 3, 1, 9, 0, 0, 0, time.UTC), Pinned: &no},
		{ID: "conv-2", Title: "Recipes", Platform: "chatgpt", CreatedAt: time.Date(2025, 4, 1, 9, 0, 0, 0, time.UTC), Pinned: &yes},
		{ID: "conv-3", Title: "Tax return", Platform: "claude", CreatedAt: time.Date(2025, 5, 1, 9, 0, 0, 0, time.UTC), Pinned: &no},
		{ID: "conv-4", Title: "Go generics", Platform: "chatgpt", CreatedAt: time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC), Pinned: &no},
	} {
		srv.AddConversation(memoryplugintest.Conversation{Conversation: c})
	}
	return srv
}

// Last year's conversations of one platform: find them, choose, delete them, and
// make sure that they are gone.
func ExampleClient_AllConversations() {
	srv := newAccount()
	defer srv.Close()
	client := srv.Client()
	ctx := context.Background()

	listed, err := client.AllConversations(ctx, memoryplugin.ConversationFilter{
		Provider: "chatgpt", DateFrom: "2025-01-01", DateTo: "2025-12-31",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var ids []string
	for _, conversation := range listed {
		if conversation.Pinned != nil && !*conversation.Pinned { // Keep what is pinned, or may be.
			ids = append(ids, conversation.ID)
		}
	}
	result, err := client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{})
	fmt.Println("deleted:", result.Deleted, err)
	verified, err := client.VerifyDeleted(ctx, ids)
	fmt.Println("gone:", verified.Gone, err)
	fmt.Println("left:", srv.Conversations())
	// Output:
	// deleted: [conv-1] <nil>
	// gone: [conv-1] <nil>
	// left: [conv-2 conv-3 conv-4]
}

func ExampleClient_ListConversations() {
	srv := newAccount()
	defer srv.Close()

	page, err := srv.Client().ListConversations(context.Background(), memoryplugin.ListConversationsOptions{PageSize: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, conversation := range page.Items {
		fmt.Println(conversation.ID, conversation.Title)
	}
	fmt.Println(page.Total, "in all")
	// Output:
	// conv-1 Holiday plans
	// conv-2 Recipes
	// 4 in all
}

// The reply to a deletion is lost. Whether it was applied can be found out.
func ExampleClient_VerifyDeleted() {
	srv := newAccount()
	defer srv.Close()
	srv.FailNext(memoryplugintest.Fault{Applied: true, Drop: true})
	client := srv.Client(memoryplugin.WithMaxRetries(0))
	ctx := context.Background()

	result, err := client.DeleteConversations(ctx, []string{"conv-1"})
	fmt.Println(err)
	verified, err := client.VerifyDeleted(ctx, result.Unconfirmed)
	fmt.Println("gone:", verified.Gone, err)
	// Output:
	// memoryplugin: delete conversations: 1 of 1 unconfirmed: "EOF" (1 attempt)
	// gone: [conv-1] <nil>
}
