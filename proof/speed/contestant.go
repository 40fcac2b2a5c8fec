package main

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/memoryplugin/memoryplugin-go"
)

const (
	apiKey            = "key-of-nobody"
	conversationsPath = "/api/chat-history/chats"
)

// contestant is one way to call the API. Each method returns how many
// conversations were deleted or listed.
type contestant interface {
	delete(ctx context.Context, ids []string) (int, error)
	deleteBatches(ctx context.Context, ids []string, size, concurrency int) (int, error)
	list(ctx context.Context) (int, error)
}

// names are those of the contestants, in the order of newContestants.
var names = []string{"SDK", "by hand", "go-retryablehttp"}

// byHand is the contestant that the others are compared with.
const byHand = 1

// newContestants returns those that call the server at base through transport.
func newContestants(base string, transport http.RoundTripper) []contestant {
	hc := &http.Client{Transport: transport, Timeout: time.Minute}
	client, err := memoryplugin.NewClient(apiKey, memoryplugin.WithBaseURL(base), memoryplugin.WithHTTPClient(hc))
	if err != nil {
		panic(err)
	}
	return []contestant{sdk{client}, hand{base, sender(hc)}, hand{base, retryableSender(hc)}}
}

// sender sends requests by hc, each once.
func sender(hc *http.Client) send {
	return func(ctx context.Context, method, url string, body []byte) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		setHeader(req.Header)
		return hc.Do(req)
	}
}

// retryableSender sends requests by hc, with the retries of go-retryablehttp's defaults.
func retryableSender(hc *http.Client) send {
	client := retryablehttp.NewClient()
	client.HTTPClient, client.Logger = hc, nil
	return func(ctx context.Context, method, url string, body []byte) (*http.Response, error) {
		var raw any // A body of no bytes would not be the same as none.
		if body != nil {
			raw = body
		}
		req, err := retryablehttp.NewRequestWithContext(ctx, method, url, raw)
		if err != nil {
			return nil, err
		}
		setHeader(req.Header)
		return client.Do(req)
	}
}

func setHeader(h http.Header) {
	h.Set("Authorization", "Bearer "+apiKey)
	h.Set("Content-Type", "application/json")
}

type sdk struct{ *memoryplugin.Client }

func (s sdk) delete(ctx context.Context, ids []string) (int, error) {
	result, err := s.DeleteConversations(ctx, ids)
	return len(result.Deleted), err
}

func (s sdk) deleteBatches(ctx context.Context, ids []string, size, concurrency int) (int, error) {
	result, err := s.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{Size: size, Concurrency: concurrency})
	return len(result.Deleted), err
}

func (s sdk) list(ctx context.Context) (int, error) {
	all, err := s.AllConversations(ctx, memoryplugin.ConversationFilter{})
	return len(all), err
}
