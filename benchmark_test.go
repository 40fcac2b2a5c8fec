package memoryplugin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// BenchmarkDeleteConversations compares a call of the SDK with the same call
// written by hand over net/http, without a retry and without any check. Compare
// the two lines of a case within one run.
func BenchmarkDeleteConversations(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf("0b9a7c52-8d1e-4f3a-9c60-%012d", i)
		}
		answer, err := json.Marshal(map[string]any{"deleted": ids, "count": n})
		require.NoError(b, err)
		for _, over := range []struct {
			name string
			url  string
			hc   *http.Client
		}{
			{"memory", "http://localhost", inMemory(answer)},
			{"loopback", loopback(b, answer), &http.Client{Transport: &http.Transport{}}},
		} {
			b.Run(fmt.Sprintf("%s/ids=%d/sdk", over.name, n), func(b *testing.B) {
				client := newClient(b, over.url, memoryplugin.WithHTTPClient(over.hc))
				b.ReportAllocs()
				for b.Loop() {
					result, err := client.DeleteConversations(b.Context(), ids)
					if err != nil || len(result.Deleted) != n {
						b.Fatal(result, err)
					}
				}
			})
			b.Run(fmt.Sprintf("%s/ids=%d/byhand", over.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					result, err := deleteByHand(b, over.hc, over.url, ids)
					if err != nil || len(result.Deleted) != n {
						b.Fatal(result, err)
					}
				}
			})
		}
	}
}

type handResult struct {
	Deleted []string `json:"deleted"`
	Count   int      `json:"count"`
}

// deleteByHand is what one would write without an SDK.
func deleteByHand(b *testing.B, hc *http.Client, url string, ids []string) (*handResult, error) {
	body, err := json.Marshal(map[string]any{"ids": ids})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodDelete, url+"/api/chat-history/chats", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := hc.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("unexpected status %s", resp.Status)
	}
	var result handResult
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		return nil, err
	}
	return &result, nil
}

// inMemory answers every request without a network.
func inMemory(answer []byte) *http.Client {
	return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		return &http.Response{
			StatusCode:    http.StatusOK,
			Header:        http.Header{"Content-Type": {"application/json"}},
			ContentLength: int64(len(answer)),
			Body:          io.NopCloser(bytes.NewReader(answer)),
			Request:       r,
		}, nil
	})}
}

func loopback(b *testing.B, answer []byte) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		_, _ = w.Write(answer)
	}))
	b.Cleanup(srv.Close)
	return srv.URL
}
