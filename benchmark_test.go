package memoryplugin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// BenchmarkDeleteConversations compares a call of the SDK with the same call by
// hand over net/http, with a timeout but without a retry and without any check.
// The two take turns, so that a slow moment of the machine hits both. sdk/hand
// is the ratio of their times; the allocations are those of the SDK.
func BenchmarkDeleteConversations(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf("0b9a7c52-8d1e-4f3a-9c60-%012d", i)
		}
		answer, err := json.Marshal(handResult{Deleted: ids, Count: n})
		require.NoError(b, err)
		for _, over := range []struct {
			name string
			url  string
			hc   *http.Client
		}{
			{"memory", "http://localhost", inMemory(answer)},
			{"loopback", answerOnLoopback(b, answer), &http.Client{Transport: memoryplugin.NewTransport(), Timeout: time.Minute}},
		} {
			b.Run(fmt.Sprintf("%s/ids=%d", over.name, n), func(b *testing.B) {
				client := newClient(b, over.url, memoryplugin.WithHTTPClient(over.hc))
				var sdk, hand time.Duration
				for b.Loop() {
					start := time.Now()
					result, err := client.DeleteConversations(b.Context(), ids)
					between := time.Now()
					byHand, errByHand := deleteByHand(b, over.hc, over.url, ids)
					sdk, hand = sdk+between.Sub(start), hand+time.Since(between)
					if err != nil || errByHand != nil || len(result.Deleted) != n || len(byHand.Deleted) != n {
						b.Fatal(result, err, byHand, errByHand)
					}
				}
				b.ReportMetric(sdk.Seconds()/hand.Seconds(), "sdk/hand")
				b.ReportMetric(float64(sdk.Nanoseconds())/float64(b.N), "sdk-ns/call")
				b.ReportMetric(testing.AllocsPerRun(10, func() {
					_, _ = client.DeleteConversations(b.Context(), ids)
				}), "sdk-allocs/call")
			})
		}
	}
}

// BenchmarkErrorResponse is a call that gets a 503 of 64 KiB and is not retried.
func BenchmarkErrorResponse(b *testing.B) {
	page := bytes.Repeat([]byte("<p>Service Unavailable, "), 64<<10/24)
	client := newClient(b, "http://localhost", memoryplugin.WithMaxRetries(0),
		memoryplugin.WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, ContentLength: int64(len(page)), Body: io.NopCloser(bytes.NewReader(page)), Request: r}, nil
		})}))
	for b.Loop() {
		if _, err := client.DeleteConversations(b.Context(), onlyA); err == nil {
			b.Fatal("no error")
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
	result := &handResult{}
	return result, json.NewDecoder(resp.Body).Decode(result)
}

// inMemory answers every request without a network.
func inMemory(answer []byte) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: transport(func(r *http.Request) (*http.Response, error) {
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

func answerOnLoopback(b *testing.B, answer []byte) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		_, _ = w.Write(answer)
	}))
	b.Cleanup(srv.Close)
	return srv.URL
}
