package memoryplugin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// BenchmarkDeleteConversations is a call that deletes all that it is given.
func BenchmarkDeleteConversations(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("ids=%d", n), func(b *testing.B) {
			ids := make([]string, n)
			for i := range ids {
				ids[i] = fmt.Sprintf("0b9a7c52-8d1e-4f3a-9c60-%012d", i)
			}
			answer, err := json.Marshal(map[string]any{"deleted": ids, "count": n})
			require.NoError(b, err)
			client := newClient(b, "http://localhost", through(inMemory(http.StatusOK, answer)))
			b.ReportAllocs()
			for b.Loop() {
				if result, err := client.DeleteConversations(b.Context(), ids); err != nil || len(result.Deleted) != n {
					b.Fatal(result, err)
				}
			}
		})
	}
}

// BenchmarkErrorResponse is a call that gets a 503 of 64 KiB and is not retried.
func BenchmarkErrorResponse(b *testing.B) {
	page := bytes.Repeat([]byte("<p>Service Unavailable, "), 64<<10/24)
	client := newClient(b, "http://localhost", through(inMemory(http.StatusServiceUnavailable, page)), memoryplugin.WithMaxRetries(0))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.DeleteConversations(b.Context(), onlyA); err == nil {
			b.Fatal("no error")
		}
	}
}

// inMemory answers every request without a network.
func inMemory(status int, body []byte) transport {
	return func(r *http.Request) (*http.Response, error) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: status, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
	}
}
