package memoryplugintest_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestADeletionLeavesTheOtherConversationsInOrder(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("c", "a", "b", "a")

	result, err := srv.Client().DeleteConversations(t.Context(), []string{"a", "missing"})

	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, result.Deleted)
	assert.Equal(t, []string{"missing"}, result.NotListed)
	assert.Equal(t, []string{"c", "b"}, srv.Conversations())
}

func TestRequestsAreRecorded(t *testing.T) {
	srv := memoryplugintest.NewServer(t)

	_, err := srv.Client(memoryplugin.WithUserAgent("app/1")).DeleteConversations(t.Context(), []string{"a", "b"})

	require.NoError(t, err)
	require.Len(t, srv.Requests(), 1)
	request := srv.Requests()[0]
	assert.Equal(t, http.MethodDelete, request.Method)
	assert.Equal(t, "/api/chat-history/chats", request.Path)
	assert.Contains(t, request.Header.Get("User-Agent"), "app/1")
	assert.JSONEq(t, `{"ids":["a","b"]}`, string(request.Body))
	assert.Equal(t, []string{"a", "b"}, request.IDs)
}

func TestOnlyTheDocumentedRequestIsAccepted(t *testing.T) {
	const (
		path = "/api/chat-history/chats"
		body = `{"ids":["a"]}`
	)
	tests := map[string]struct {
		method, path, key, contentType, body string
		status                               int
	}{
		"as documented":        {"DELETE", path, memoryplugintest.APIKey, "application/json", body, 200},
		"with a charset":       {"DELETE", path, memoryplugintest.APIKey, "application/json; charset=utf-8", body, 200},
		"another method":       {"POST", path, memoryplugintest.APIKey, "application/json", body, 405},
		"another path":         {"DELETE", path + "/", memoryplugintest.APIKey, "application/json", body, 404},
		"another key":          {"DELETE", path, "wrong", "application/json", body, 401},
		"another content type": {"DELETE", path, memoryplugintest.APIKey, "text/plain", body, 415},
		"no content type":      {"DELETE", path, memoryplugintest.APIKey, "", body, 415},
		"no body":              {"DELETE", path, memoryplugintest.APIKey, "application/json", ``, 400},
		"a list":               {"DELETE", path, memoryplugintest.APIKey, "application/json", `["a"]`, 400},
		"no ids":               {"DELETE", path, memoryplugintest.APIKey, "application/json", `{"ids":[]}`, 400},
		"ids missing":          {"DELETE", path, memoryplugintest.APIKey, "application/json", `{"IDs":["a"]}`, 400},
		"ids null":             {"DELETE", path, memoryplugintest.APIKey, "application/json", `{"ids":null}`, 400},
		"a number":             {"DELETE", path, memoryplugintest.APIKey, "application/json", `{"ids":[1]}`, 400},
		"a null":               {"DELETE", path, memoryplugintest.APIKey, "application/json", `{"ids":["a",null]}`, 400},
		"a blank id":           {"DELETE", path, memoryplugintest.APIKey, "application/json", `{"ids":["a"," "]}`, 400},
		"another property":     {"DELETE", path, memoryplugintest.APIKey, "application/json", `{"ids":["a"],"all":true}`, 400},
		"something after it":   {"DELETE", path, memoryplugintest.APIKey, "application/json", `{"ids":["a"]} x`, 400},
		"invalid UTF-8":        {"DELETE", path, memoryplugintest.APIKey, "application/json", "{\"ids\":[\"a\xff\"]}", 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv := memoryplugintest.NewServer(t)
			srv.AddConversations("a")
			req, err := http.NewRequestWithContext(t.Context(), tt.method, srv.URL+tt.path, strings.NewReader(tt.body))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+tt.key)
			req.Header.Set("Content-Type", tt.contentType)

			resp, err := http.DefaultClient.Do(req)

			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, tt.status, resp.StatusCode, "%s", text)
			assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			if tt.status == 200 {
				assert.Empty(t, srv.Conversations())
				return
			}
			assert.Contains(t, string(text), `{"error":"`)
			assert.Equal(t, []string{"a"}, srv.Conversations())
		})
	}
}

// A fault meets one request. What the caller sees of it, and what it leaves of
// the conversation a, are in the table; without retries it is all that happens.
func TestAFaultMeetsTheNextRequest(t *testing.T) {
	tests := map[string]struct {
		fault memoryplugintest.Fault
		error string // "" where the call succeeds
		left  []string
	}{
		"none":              {memoryplugintest.Fault{}, ``, []string{}},
		"a status":          {memoryplugintest.Fault{Status: 403}, `403 Forbidden: "Forbidden"`, []string{"a"}},
		"a body":            {memoryplugintest.Fault{Status: 502, Body: "bad gateway"}, `502 Bad Gateway: "bad gateway"`, []string{"a"}},
		"a status, applied": {memoryplugintest.Fault{Status: 504, Applied: true}, `504 Gateway Timeout`, []string{}},
		"dropped before":    {memoryplugintest.Fault{Drop: true}, `"EOF"`, []string{"a"}},
		"dropped after":     {memoryplugintest.Fault{Drop: true, Applied: true}, `"EOF"`, []string{}},
		"reply cut short":   {memoryplugintest.Fault{CutReply: true}, `"unexpected EOF"`, []string{}},
		"another reply":     {memoryplugintest.Fault{Status: 200, Body: `{"deleted":["a"]}`}, ``, []string{"a"}},
		"no content":        {memoryplugintest.Fault{Status: 204}, `204 No Content`, []string{"a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv := memoryplugintest.NewServer(t)
			srv.AddConversations("a", "b")
			srv.FailNext(tt.fault)
			client := srv.Client(memoryplugin.WithMaxRetries(0))

			_, err := client.DeleteConversations(t.Context(), []string{"a"})

			if tt.error == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.error)
			}
			assert.Equal(t, append(tt.left, "b"), srv.Conversations())

			result, err := client.DeleteConversations(t.Context(), []string{"b"})
			require.NoError(t, err, "the fault met a second request")
			assert.Equal(t, []string{"b"}, result.Deleted)
		})
	}
}

func TestAFaultHasHeaders(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.FailNext(memoryplugintest.Fault{Status: 400, Header: http.Header{"x-request-id": {"req-9"}}})

	result, err := srv.Client().DeleteConversations(t.Context(), []string{"a"})

	require.Error(t, err)
	assert.Equal(t, "req-9", result.RequestID)
}

func TestFaultsMeetRequestsInTheirOrder(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	srv.FailNext(memoryplugintest.Fault{Status: 503}, memoryplugintest.Fault{Drop: true})
	srv.FailNext(memoryplugintest.Fault{Status: 429})

	result, err := srv.Client().DeleteConversations(t.Context(), []string{"a"})

	require.NoError(t, err)
	assert.Equal(t, 4, result.Attempts)
}

func TestADelayedReplyMeetsTheAttemptsTimeout(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	srv.FailNext(memoryplugintest.Fault{Delay: time.Hour, Applied: true}) // Close ends the hour.
	client := srv.Client(memoryplugin.WithMaxRetries(0), memoryplugin.WithAttemptTimeout(50*time.Millisecond))

	result, err := client.DeleteConversations(t.Context(), []string{"a"})

	require.ErrorIs(t, err, memoryplugin.ErrUnconfirmed)
	assert.Equal(t, []string{"a"}, result.Unconfirmed)
	assert.Empty(t, srv.Conversations())
}

func TestADelayedReplyArrivesAfterItsDelay(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	srv.FailNext(memoryplugintest.Fault{Delay: 30 * time.Millisecond})
	start := time.Now()

	result, err := srv.Client().DeleteConversations(t.Context(), []string{"a"})

	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, result.Deleted)
	assert.GreaterOrEqual(t, time.Since(start), 30*time.Millisecond)
}

func TestARequestWithTooManyIDsIsRefused(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b", "c")
	srv.LimitIDs(2)

	_, err := srv.Client().DeleteConversations(t.Context(), []string{"a", "b", "c"})
	require.ErrorIs(t, err, memoryplugin.ErrPayloadTooLarge)
	assert.Len(t, srv.Conversations(), 3)

	_, err = srv.Client().DeleteConversations(t.Context(), []string{"a", "b"})
	require.NoError(t, err)

	srv.LimitIDs(0)
	_, err = srv.Client().DeleteConversations(t.Context(), []string{"a", "b", "c"})
	require.NoError(t, err)
}

func TestAServerWithoutATestIsClosedByItsOwner(t *testing.T) {
	srv := memoryplugintest.NewServer(nil)
	srv.Close()
	srv.Close()

	_, err := srv.Client(memoryplugin.WithMaxRetries(0)).DeleteConversations(t.Context(), []string{"a"})

	require.ErrorContains(t, err, "refused")
}

func TestABadOptionPanics(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	assert.Panics(t, func() { srv.Client(memoryplugin.WithMaxRetries(-1)) })
}

// It would be passed over in silence, and the test would pass for the wrong reason.
func TestAFaultThatCanNotBeMadePanics(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	for name, fault := range map[string]memoryplugintest.Fault{
		"an informational status":  {Status: 100},
		"a status of no kind":      {Status: 7},
		"a negative status":        {Status: -1},
		"a status too large":       {Status: 1000},
		"a body without a status":  {Body: "x"},
		"headers without a status": {Header: http.Header{"Retry-After": {"1"}}},
	} {
		assert.Panics(t, func() { srv.FailNext(memoryplugintest.Fault{}, fault) }, name)
	}
	srv.AddConversations("a")
	result, err := srv.Client().DeleteConversations(t.Context(), []string{"a"})
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, result.Deleted, "a fault was kept")
}

func TestFailFuncFailsTheRequestsThatItChooses(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b")
	srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
		if slices.Contains(r.IDs, "b") {
			return memoryplugintest.Fault{Status: http.StatusForbidden}
		}
		return memoryplugintest.Fault{}
	})
	client := srv.Client()

	_, err := client.DeleteConversations(t.Context(), []string{"a"})
	assert.NoError(t, err)
	_, err = client.DeleteConversations(t.Context(), []string{"b"})
	assert.ErrorIs(t, err, memoryplugin.ErrForbidden)

	srv.FailFunc(nil)
	_, err = client.DeleteConversations(t.Context(), []string{"b"})
	assert.NoError(t, err)
}

func TestTheFaultsOfFailNextComeFirst(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault { return memoryplugintest.Fault{Status: 404} })
	srv.FailNext(memoryplugintest.Fault{Status: 403})
	client := srv.Client()

	_, err := client.DeleteConversations(t.Context(), []string{"a"})
	assert.ErrorIs(t, err, memoryplugin.ErrForbidden)
	_, err = client.DeleteConversations(t.Context(), []string{"a"})
	assert.ErrorIs(t, err, memoryplugin.ErrNotFound)
}

// Two requests meet in the function, so neither waits for the other to leave it.
func TestFailFuncIsCalledConcurrently(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	var both sync.WaitGroup
	both.Add(2)
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault {
		both.Done()
		both.Wait()
		return memoryplugintest.Fault{}
	})
	client := srv.Client()

	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			_, err := client.DeleteConversations(t.Context(), []string{"a"})
			assert.NoError(t, err)
		})
	}
	calls.Wait()
}

func TestAFaultOfFailFuncThatCanNotBeMadeIsA500(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.FailFunc(func(memoryplugintest.Request) memoryplugintest.Fault { return memoryplugintest.Fault{Body: "x"} })

	_, err := srv.Client(memoryplugin.WithMaxRetries(0)).DeleteConversations(t.Context(), []string{"a"})

	assert.ErrorContains(t, err, "needs a Status")
}
