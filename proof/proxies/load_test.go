//go:build unix

package proxies

import (
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/proof/backend"
)

var long = flag.Bool("long", false, "load each proxy for 15 s instead of 2 s at a time")

func TestReloadsUnderLoad(t *testing.T) {
	load(t, settings{nginx: "proxy_next_upstream off;"}, (*proxy).reloads)
}

func TestKilledWorkersUnderLoad(t *testing.T) {
	load(t, settings{nginx: "proxy_next_upstream off;"}, (*proxy).killsWorker)
}

func TestKeepAliveThatEndsEarlyUnderLoad(t *testing.T) {
	early := settings{
		nginx:   "keepalive_requests 5; keepalive_timeout 3ms; proxy_next_upstream off;",
		haproxy: "timeout http-keep-alive 3",
	}
	load(t, early, func(*proxy) error { return nil })
}

// load deletes through a proxy in trouble for a while, and has the backend judge
// what is said about each id, and then what is verified.
func load(t *testing.T, s settings, trouble func(*proxy) error) {
	eachDeletion(t, func(t *testing.T, kind kind, deleteIDs deleter) {
		var requests atomic.Int64
		srv := startBackend(t, func() backend.Fault { requests.Add(1); return backend.Slow(5 * time.Millisecond) })
		proxy := kind.start(t, srv.URL, s)
		stop := every(300*time.Millisecond, func() { assert.NoError(t, trouble(proxy)) })

		sum := deleteForAWhile(srv, func(ids []string) *memoryplugin.DeleteConversationsResult {
			return deleteIDs(t, srv, proxy.url, ids, 20)
		})

		stop()
		t.Logf("%d requests at the backend: %d deleted, %d not deleted, %d unconfirmed", requests.Load(),
			len(sum.Deleted), len(sum.NotDeleted), len(sum.Unconfirmed))
		assert.NotEmpty(t, sum.Deleted)
		require.True(t, proxy.accepts(), "%s", proxy.said())
		verified, err := newClient(t, proxy.url).VerifyDeleted(t.Context(), sum.Unconfirmed)
		require.NoError(t, err)
		srv.JudgeGone(verified.Gone...)
	})
}

func deleteForAWhile(srv *backend.Backend, deleteIDs func([]string) *memoryplugin.DeleteConversationsResult) (sum memoryplugin.DeleteConversationsResult) {
	d := 2 * time.Second
	if *long {
		d = 15 * time.Second
	}
	for run, start := 0, time.Now(); time.Since(start) < d; run++ {
		ids := newIDs(fmt.Sprint("conv-", run), 2000)
		srv.Add(ids...)
		result := deleteIDs(ids)
		srv.Judge(ids, result)
		sum.Deleted = append(sum.Deleted, result.Deleted...)
		sum.NotDeleted = append(sum.NotDeleted, result.NotDeleted...)
		sum.Unconfirmed = append(sum.Unconfirmed, result.Unconfirmed...)
	}
	return sum
}

// every calls f again and again, until the function that it returns is called.
func every(d time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		for tick := time.NewTicker(d); ; {
			select {
			case <-tick.C:
				f()
			case <-done:
				tick.Stop()
				return
			}
		}
	})
	return func() { close(done); loop.Wait() }
}
