package memoryplugin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// BenchmarkAllConversations compares a listing of 10,000 conversations over
// loopback with the same loop by hand, which has the same decoder but no retry
// and no check. The two take turns. sdk/hand is the ratio of their times. It has
// one more request in it, that for the page after the last full one.
func BenchmarkAllConversations(b *testing.B) {
	const n, pageSize = 10_000, 100
	var pages [][]byte
	for first := 0; first <= n; first += pageSize {
		pages = append(pages, benchmarkPage(b, first, min(pageSize, n-first), n))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.Atoi(r.URL.Query().Get("page"))
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(pages[number-1])))
		_, _ = w.Write(pages[number-1])
	}))
	b.Cleanup(srv.Close)
	hc := &http.Client{Transport: memoryplugin.NewTransport(), Timeout: time.Minute}
	client := newClient(b, srv.URL, memoryplugin.WithHTTPClient(hc))
	var sdk, hand time.Duration
	for b.Loop() {
		start := time.Now()
		all, err := client.AllConversations(b.Context(), memoryplugin.ConversationFilter{})
		between := time.Now()
		byHand, errByHand := listByHand(b, hc, srv.URL)
		sdk, hand = sdk+between.Sub(start), hand+time.Since(between)
		if err != nil || errByHand != nil || len(all) != n || len(byHand) != n {
			b.Fatal(len(all), err, len(byHand), errByHand)
		}
	}
	b.ReportMetric(sdk.Seconds()/hand.Seconds(), "sdk/hand")
	b.ReportMetric(float64(sdk.Nanoseconds())/float64(b.N), "sdk-ns/call")
}

type handPage struct {
	Items      []memoryplugin.Conversation `json:"items"`
	Page       int                         `json:"page"`
	PageSize   int                         `json:"pageSize"`
	Total      int                         `json:"total"`
	TotalPages int                         `json:"totalPages"`
}

// benchmarkPage is a page of n conversations from the first one on.
func benchmarkPage(b *testing.B, first, n, total int) []byte {
	page := handPage{Items: []memoryplugin.Conversation{}, Page: first/100 + 1, PageSize: 100, Total: total, TotalPages: total / 100}
	for i := first; i < first+n; i++ {
		created := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
		page.Items = append(page.Items, memoryplugin.Conversation{
			ID: fmt.Sprintf("0b9a7c52-8d1e-4f3a-9c60-%012d", i), Title: fmt.Sprintf("A walk through Rome, part %d", i), Platform: "chatgpt",
			MessageCount: pointerTo(i % 50), TokenCount: &i, CreatedAt: created, UpdatedAt: created.Add(time.Hour), Pinned: pointerTo(i%10 == 0),
		})
	}
	text, err := json.Marshal(page)
	require.NoError(b, err)
	return text
}

// listByHand is what one would write without an SDK.
func listByHand(b *testing.B, hc *http.Client, base string) ([]memoryplugin.Conversation, error) {
	var all []memoryplugin.Conversation
	for number := 1; ; number++ {
		page, err := pageByHand(b, hc, base, number)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if len(all) >= page.Total || len(page.Items) == 0 {
			return all, nil
		}
	}
}

func pageByHand(b *testing.B, hc *http.Client, base string, number int) (*handPage, error) {
	query := url.Values{"page": {strconv.Itoa(number)}, "pageSize": {"100"}}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, base+"/api/chat-history/chats?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	page := &handPage{}
	return page, sendByHand(hc, req, page)
}
