package main

import (
	"context"
	"fmt"
	"log"

	"github.com/memoryplugin/memoryplugin-go"
)

func main() {
	ctx := context.Background()
	client, err := memoryplugin.NewClientFromEnv() // MEMORYPLUGIN_API_KEY
	if err != nil {
		log.Fatal(err)
	}
	lastYear := memoryplugin.ConversationFilter{Provider: "chatgpt", DateFrom: "2025-01-01", DateTo: "2025-12-31"}
	listed, err := client.AllConversations(ctx, lastYear)
	if err != nil {
		log.Fatal(err)
	}
	var ids []string
	for _, conversation := range listed {
		if conversation.Pinned != nil && !*conversation.Pinned { // Keep what is pinned, or may be.
			ids = append(ids, conversation.ID)
		}
	}
	fmt.Println("found:", len(listed), "to delete:", len(ids))
	result, err := client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{})
	fmt.Println("deleted:", len(result.Deleted), "not listed:", result.NotListed)
	fmt.Println("not deleted:", result.NotDeleted, "unconfirmed:", result.Unconfirmed)
	if err != nil {
		log.Print(err)
	}
	verified, err := client.VerifyDeleted(ctx, ids)
	fmt.Println("gone:", len(verified.Gone), "still there:", verified.Present, "unknown:", verified.Unknown)
	if err != nil || len(verified.Present) > 0 {
		log.Fatalln("not done:", err)
	}
}
