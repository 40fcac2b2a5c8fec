package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/proof/backend"
)

// soaking is a Client, a backend with faults, and what was said so far.
type soaking struct {
	t         *testing.T
	backend   *backend.Backend
	transport *http.Transport
	client    *memoryplugin.Client

	calls, ids, deleted, notListed, notDeleted, unconfirmed atomic.Int64
}

func newSoaking(t *testing.T) *soaking {
	s := &soaking{t: t, backend: backend.New(randomFault), transport: memoryplugin.NewTransport()}
	client, err := memoryplugin.NewClient("key-of-nobody",
		memoryplugin.WithBaseURL(s.backend.URL), memoryplugin.WithHTTPClient(&http.Client{Transport: s.transport}),
		memoryplugin.WithBackoff(time.Millisecond, 20*time.Millisecond), memoryplugin.WithAttemptTimeout(time.Second))
	require.NoError(t, err)
	s.client = client
	return s
}

func (s *soaking) end() {
	s.transport.CloseIdleConnections()
	s.backend.Close()
}

func (s *soaking) String() string {
	return fmt.Sprintf("%d calls with %d ids: %d deleted, %d not listed, %d not deleted, %d unconfirmed", s.calls.Load(), s.ids.Load(),
		s.deleted.Load(), s.notListed.Load(), s.notDeleted.Load(), s.unconfirmed.Load())
}

// work deletes until ctx ends, and then lets the last call finish.
func (s *soaking) work(ctx context.Context) {
	for ctx.Err() == nil {
		ids := s.newIDs()
		result, err := s.delete(ids)
		s.backend.Judge(ids, result)
		assert.Equal(s.t, len(result.Unconfirmed) > 0, errors.Is(err, memoryplugin.ErrUnconfirmed), "%v", err)
		assert.False(s.t, err == nil && len(result.NotDeleted) > 0)
		s.verify(result.Unconfirmed)
		s.backend.Forget(ids...)
		s.count(ids, result)
	}
}

// newIDs returns ids that no other call has. One in twenty is no conversation.
func (s *soaking) newIDs() []string {
	call := s.calls.Add(1)
	ids := make([]string, 1+rand.IntN(200))
	for i := range ids {
		ids[i] = fmt.Sprintf("conv-%d-%d", call, i)
		if rand.IntN(20) > 0 {
			s.backend.Add(ids[i])
		}
	}
	return ids
}

// delete makes a call of some kind. One in ten is cut short by its context, and
// one in ten runs is stopped.
func (s *soaking) delete(ids []string) (*memoryplugin.DeleteConversationsResult, error) {
	ctx := s.t.Context()
	if rand.IntN(10) == 0 {
		short, cancel := context.WithTimeout(ctx, rand.N(50*time.Millisecond))
		defer cancel()
		ctx = short
	}
	if rand.IntN(2) == 0 {
		return s.client.DeleteConversations(ctx, ids)
	}
	stop := make(chan struct{})
	if rand.IntN(10) == 0 {
		timer := time.AfterFunc(rand.N(50*time.Millisecond), func() { close(stop) })
		defer timer.Stop()
	}
	return s.client.DeleteConversationsInBatches(ctx, ids,
		memoryplugin.BatchOptions{Size: 1 + rand.IntN(50), Concurrency: 1 + rand.IntN(4), Stop: stop})
}

// verify asks for one id in doubt. A failure tells nothing about it.
func (s *soaking) verify(unconfirmed []string) {
	if len(unconfirmed) == 0 {
		return
	}
	id := unconfirmed[rand.IntN(len(unconfirmed))]
	if _, err := s.client.GetTranscript(s.t.Context(), id); errors.Is(err, memoryplugin.ErrNotFound) {
		s.backend.JudgeGone(id)
	}
}

func (s *soaking) count(ids []string, result *memoryplugin.DeleteConversationsResult) {
	s.ids.Add(int64(len(ids)))
	s.deleted.Add(int64(len(result.Deleted)))
	s.notListed.Add(int64(len(result.NotListed)))
	s.notDeleted.Add(int64(len(result.NotDeleted)))
	s.unconfirmed.Add(int64(len(result.Unconfirmed)))
}
