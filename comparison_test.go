package memoryplugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// handClient is what a careful hand would take instead of this SDK: net/http with
// go-retryablehttp and its defaults.
func handClient(rt http.RoundTripper) *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.HTTPClient.Transport = rt
	client.Logger = nil
	return client
}

// deleteByRetryableHTTP returns which ids the server says it deleted.
func deleteByRetryableHTTP(ctx context.Context, client *retryablehttp.Client, ids []string) ([]string, error) {
	body, err := json.Marshal(map[string][]string{"ids": ids})
	if err != nil {
		return nil, err
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodDelete, memoryplugin.DefaultBaseURL+"/api/chat-history/chats", body)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	var reply struct{ Deleted []string }
	err = json.NewDecoder(resp.Body).Decode(&reply)
	return reply.Deleted, err
}

func TestAnOutageMeetsFewerRequestsThanWithGoRetryableHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 1000
		busy := reply(503, `{"error":"busy"}`)
		bySDK, byHand := remember(busy), remember(busy)
		client, hand := bySDK.client(t), handClient(byHand)

		var running sync.WaitGroup
		for range calls {
			running.Go(func() {
				_, err := deleteA(t.Context(), client)
				assert.Error(t, err)
			})
			running.Go(func() {
				_, err := deleteByRetryableHTTP(t.Context(), hand, onlyA)
				assert.Error(t, err)
			})
		}
		running.Wait()

		sdk, bare := len(bySDK.arrived()), len(byHand.arrived())
		t.Logf("%d concurrent calls send %d requests to a server that always answers 503; with go-retryablehttp's defaults they send %d", calls, sdk, bare)
		assert.Less(t, sdk, bare)
		assert.GreaterOrEqual(t, sdk, calls)
	})
}

// losingServer deletes what it is asked to, lists it, and loses some of its replies.
type losingServer struct {
	mu       sync.Mutex
	gone     map[string]bool
	requests map[string]uint64 // by their first id
}

func (s *losingServer) RoundTrip(r *http.Request) (*http.Response, error) {
	var deletion struct{ IDs []string }
	if err := json.NewDecoder(r.Body).Decode(&deletion); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	deleted := slices.DeleteFunc(slices.Clone(deletion.IDs), func(id string) bool { return s.gone[id] })
	for _, id := range deleted {
		s.gone[id] = true
	}
	first := deletion.IDs[0]
	s.requests[first]++
	if s.loses(first, s.requests[first]) {
		return nil, io.EOF
	}
	text, err := json.Marshal(map[string]any{"deleted": deleted, "count": len(deleted)})
	return httpReply(http.StatusOK, strings.NewReader(string(text))), err
}

// loses decides for the n-th request of a batch, whatever the order of the batches.
func (s *losingServer) loses(first string, n uint64) bool {
	var number uint64
	_, _ = fmt.Sscanf(first, "conv-%d", &number)
	return rand.New(rand.NewPCG(number, n)).IntN(3) == 0
}

func newLosingServer() *losingServer {
	return &losingServer{gone: map[string]bool{}, requests: map[string]uint64{}}
}

func TestLostRepliesMakeNoDeletedConversationLookAsIfItWasNeverThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := numberedIDs(24_000)
		bySDK, byHand := newLosingServer(), newLosingServer()

		client, err := memoryplugin.NewClient(testKey, through(bySDK))
		require.NoError(t, err)
		result, _ := client.DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{})

		hand := handClient(byHand)
		var notThere []string
		for batch := range slices.Chunk(ids, 100) {
			deleted, err := deleteByRetryableHTTP(t.Context(), hand, batch)
			if err == nil {
				notThere = append(notThere, slices.DeleteFunc(slices.Clone(batch), func(id string) bool { return slices.Contains(deleted, id) })...)
			}
		}

		falsely := func(reported []string, s *losingServer) int {
			return len(slices.DeleteFunc(slices.Clone(reported), func(id string) bool { return !s.gone[id] }))
		}
		sdk, bare := falsely(result.NotListed, bySDK)+falsely(result.NotDeleted, bySDK), falsely(notThere, byHand)
		t.Logf("of %d deleted conversations, go-retryablehttp's defaults report %d as not there; the SDK reports %d so, and %d as unconfirmed", len(ids), bare, sdk, len(result.Unconfirmed))
		assert.Zero(t, sdk)
		assert.Positive(t, bare)
	})
}
