//go:build unix

package proxies

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/proof/backend"
)

// next returns the faults one after the other, and then none.
func next(faults ...backend.Fault) func() backend.Fault {
	var mu sync.Mutex
	return func() backend.Fault {
		mu.Lock()
		defer mu.Unlock()
		if len(faults) == 0 {
			return nil
		}
		fault := faults[0]
		faults = faults[1:]
		return fault
	}
}

// Conversations that a lost reply may have deleted are in doubt: the answer to
// the second attempt no longer lists them.
func TestOneFaultBehindAProxy(t *testing.T) {
	t.Parallel()
	deleted := func(r *memoryplugin.DeleteConversationsResult) []string { return r.Deleted }
	unconfirmed := func(r *memoryplugin.DeleteConversationsResult) []string { return r.Unconfirmed }
	// The SDK lists what such an answer names, with an error; the tool confirms nothing by it.
	listed := func(r *memoryplugin.DeleteConversationsResult) []string { return append(r.Deleted, r.Unconfirmed...) }
	for name, test := range map[string]struct {
		fault backend.Fault
		want  func(*memoryplugin.DeleteConversationsResult) []string
	}{
		"502 before it was applied":             {backend.Drop, deleted},
		"502 after it was applied":              {backend.Applied(backend.Drop), unconfirmed},
		"502 by a reset after it was applied":   {backend.Applied(backend.Reset), unconfirmed},
		"504 before it was applied":             {backend.Stall, deleted},
		"504 after it was applied":              {backend.Applied(backend.Stall), unconfirmed},
		"503 of the backend":                    {backend.Status(503), deleted},
		"429 of the backend":                    {backend.Status(429), deleted},
		"429 with a Retry-After of the backend": {backend.Status(429, "Retry-After", "1"), deleted},
		"a reply cut short":                     {backend.Cut, unconfirmed},
		"a confirmation that says too much":     {backend.Miscount, listed},
		"no confirmation":                       {backend.Mute, unconfirmed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDeletion(t, func(t *testing.T, kind kind, deleteIDs deleter) {
				ids := newIDs("conv", 3)
				srv := startBackend(t, next(test.fault))
				srv.Add(ids...)

				result := deleteIDs(t, srv, kind.start(t, srv.URL, settings{nginx: "proxy_next_upstream off;"}).url, ids, 100)

				srv.Judge(ids, result)
				assert.Equal(t, ids, test.want(result), "%+v", result)
			})
		})
	}
}

func TestTheBackendIsGone(t *testing.T) {
	t.Parallel()
	eachDeletion(t, func(t *testing.T, kind kind, deleteIDs deleter) {
		srv := startBackend(t, nil)
		proxy := kind.start(t, srv.URL, settings{})
		srv.Close()

		result := deleteIDs(t, srv, proxy.url, newIDs("conv", 3), 100)

		assert.Equal(t, newIDs("conv", 3), result.Unconfirmed)
	})
}

func TestAProxyRefusesALargeBody(t *testing.T) {
	small := settings{
		nginx:   "client_max_body_size 1k; proxy_next_upstream off;",
		haproxy: "http-request deny deny_status 413 if { req.hdr_val(content-length) gt 1024 }",
	}
	eachDeletion(t, func(t *testing.T, kind kind, deleteIDs deleter) {
		ids := newIDs("conv", 5000)
		srv := startBackend(t, nil)
		srv.Add(ids...)

		result := deleteIDs(t, srv, kind.start(t, srv.URL, small).url, ids, 2500)

		srv.Judge(ids, result)
		assert.Equal(t, ids, result.Deleted)
	})
}

func TestAProxyLimitsTheRate(t *testing.T) {
	t.Parallel()
	limited := settings{
		nginx: "limit_req zone=limit; limit_req_status 429; add_header Retry-After 1 always;",
		haproxy: `http-request track-sc0 dst_port
	http-request return status 429 hdr Retry-After 1 if { sc_http_req_rate(0) gt 2 }`,
	}
	eachDeletion(t, func(t *testing.T, kind kind, deleteIDs deleter) {
		ids := newIDs("conv", 3)
		srv := startBackend(t, nil)
		srv.Add(ids...)

		url := kind.start(t, srv.URL, limited).url
		start := time.Now()

		result := deleteIDs(t, srv, url, ids, 1)

		srv.Judge(ids, result)
		assert.Equal(t, ids, result.Deleted)
		assert.Greater(t, time.Since(start), time.Second, "it waits as long as the proxy says")
	})
}

// This is what no client can see, and what the README warns of: the answer is
// that to a second request, and the first one has deleted.
func TestAProxyThatSendsADeletionAgainHidesIt(t *testing.T) {
	again := settings{haproxyBack: "retries 1\n\tretry-on all-retryable-errors"}
	eachProxy(t, func(t *testing.T, kind kind) {
		ids := newIDs("conv", 3)
		srv := backend.New(next(nil, backend.Applied(backend.Drop)))
		t.Cleanup(srv.Close)
		srv.Add(ids...)
		client := newClient(t, kind.start(t, srv.URL, again).url)
		_, err := client.DeleteConversations(t.Context(), []string{"first"}) // nginx sends again only what fails on a kept connection.
		require.NoError(t, err)

		result, err := client.DeleteConversations(t.Context(), ids)

		require.NoError(t, err)
		assert.Equal(t, ids, result.NotListed)
		assert.Equal(t, 1, result.Attempts)
		srv.Judge(ids, result)
		assert.Len(t, srv.Falsehoods(), len(ids))
	})
}

// eachDeletion runs a test with each proxy and each deleter.
func eachDeletion(t *testing.T, test func(*testing.T, kind, deleter)) {
	for who, deleteIDs := range deleters {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			eachProxy(t, func(t *testing.T, kind kind) { test(t, kind, deleteIDs) })
		})
	}
}

// startBackend starts a backend that must find no falsehood.
func startBackend(t *testing.T, fault func() backend.Fault) *backend.Backend {
	t.Helper()
	srv := backend.New(fault)
	t.Cleanup(func() {
		srv.Close()
		assert.Empty(t, srv.Falsehoods())
	})
	return srv
}
