//go:build unix

package proxies

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/proof/backend"
)

// deleter deletes ids of srv through the proxy at url, size per request, and
// returns what it says about them.
type deleter func(t *testing.T, srv *backend.Backend, url string, ids []string, size int) *memoryplugin.DeleteConversationsResult

// deleters are run through each proxy in turn.
var deleters = map[string]deleter{
	"sdk":  deleteBySDK,
	"tool": deleteByTool,
}

func deleteBySDK(t *testing.T, _ *backend.Backend, url string, ids []string, size int) *memoryplugin.DeleteConversationsResult {
	result, err := newClient(t, url).DeleteConversationsInBatches(t.Context(), ids,
		memoryplugin.BatchOptions{Size: size, Concurrency: 8})
	assert.Equal(t, len(result.Unconfirmed) > 0, errors.Is(err, memoryplugin.ErrUnconfirmed), "%v", err)
	if len(result.NotDeleted) > 0 {
		assert.Error(t, err)
	}
	return result
}

func newClient(t *testing.T, url string) *memoryplugin.Client {
	t.Helper()
	client, err := memoryplugin.NewClient("key-of-nobody", memoryplugin.WithBaseURL(url),
		memoryplugin.WithBackoff(20*time.Millisecond, 200*time.Millisecond), memoryplugin.WithLimiter(pause{}))
	require.NoError(t, err)
	return client
}

// pause lets connections idle for a moment before each attempt, so that some
// requests meet the end of their connection.
type pause struct{}

func (pause) Wait(context.Context) error {
	<-time.After(rand.N(6 * time.Millisecond))
	return nil
}

func newIDs(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%06d", prefix, i)
	}
	return ids
}
