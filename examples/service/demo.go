package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// demo runs the service against a server in memory, and shows one erasure.
func demo(ctx context.Context, s settings) error {
	fake := memoryplugintest.NewServer(nil)
	defer fake.Close()
	fake.AddConversations("conv-1", "conv-2", "conv-3")
	s.baseURL, s.addr, s.token, s.databaseURL, s.sqlite = fake.URL, "127.0.0.1:0", "", "", ":memory:"
	s.vault = func(context.Context, string) (string, error) { return memoryplugintest.APIKey, nil }
	s.log = slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(ctx)
	var shown error
	s.listening = func(url string) {
		shown = showErasure(ctx, url)
		fmt.Println("conversations left:", fake.Conversations())
		stop()
	}
	err := serve(ctx, s)
	return errors.Join(shown, err)
}

func showErasure(ctx context.Context, url string) error {
	const body = `{"account": "alice", "conversationIds": ["conv-1", "conv-2", "conv-9"]}`
	response, err := http.Post(url+"/erasures", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	location := response.Header.Get("Location")
	fmt.Printf("POST /erasures %s\n%s, Location: %s\n", body, response.Status, location)
	var reply []byte
	for err == nil && ctx.Err() == nil && !strings.Contains(string(reply), `"state":"done"`) {
		time.Sleep(10 * time.Millisecond)
		if response, err = http.Get(url + location); err == nil {
			reply, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
	}
	fmt.Printf("GET %s\n%s\n", location, reply)
	return cmp.Or(err, ctx.Err())
}
