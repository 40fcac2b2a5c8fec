package main

import (
	"context"
	"fmt"
	"log"

	"github.com/memoryplugin/memoryplugin-go"
)

func main() {
	client, err := memoryplugin.NewClientFromEnv() // MEMORYPLUGIN_API_KEY
	if err != nil {
		log.Fatal(err)
	}
	result, err := client.DeleteConversations(context.Background(), []string{"conv-id-1", "conv-id-2"})
	fmt.Println("deleted:    ", result.Deleted)
	fmt.Println("not listed: ", result.NotListed)
	fmt.Println("not deleted:", result.NotDeleted)
	fmt.Println("unconfirmed:", result.Unconfirmed)
	if err != nil {
		log.Fatal(err)
	}
}
