package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

const verifyOperation = "verify deleted"

// VerifyResult says which conversations are still there. Each id is once in exactly
// one list. The lists keep the order of your ids, and none is nil.
type VerifyResult struct {
	// Gone: not in the account of this API key. They were deleted, or were never
	// there.
	Gone []string `json:"gone"`
	// Present: still there.
	Present []string `json:"present"`
	// Unknown: the client could not find out. The error says why.
	Unknown []string `json:"unknown"`
}

// VerifyDeleted finds out which conversations are gone. Call it after a deletion:
// it tells you what became of the ids that are Unconfirmed or NotListed.
//
// An id is Present if the list has it, or if the server has its transcript. It is
// Gone only if a complete list lacks it and its transcript is [ErrNotFound].
// Neither is enough alone: a list may hide a conversation, and a gateway may answer
// 404 for everything. Any other id is Unknown. The call reads one complete list,
// and a transcript for each id that the list lacks, a few at a time. If five
// transcripts in a row fail, or after a 401 or a Retry-After above
// [WithMaxRetryAfter], it stops, and the rest is Unknown.
//
// Gone means that the account of this API key has no conversation with exactly this
// id. So an id of another account is Gone, and so is one that is misspelt, has a
// space or "\r" at its end, or is the platform's instead of [Conversation].ID.
//
// The result is never nil. A nil error means that Unknown is empty, not that
// Present is. Otherwise it is the first failure, or that reply: see [Client.AllConversations] and
// [Client.GetTranscript]. If an id is blank or not valid UTF-8, or ctx is nil, the
// error is [ErrInvalidArgument], every id is Unknown, and nothing is sent.
//
//	GET /api/chat-history/chats
//	GET /api/chat-history/conversation
func (c *Client) VerifyDeleted(ctx context.Context, ids []string) (*VerifyResult, error) {
	ids, err := c.checkIDs(ctx, verifyOperation, ids)
	if err != nil || len(ids) == 0 {
		return &VerifyResult{Gone: []string{}, Present: []string{}, Unknown: ids}, err
	}
	found := make([]presence, len(ids))
	err = c.verify(ctx, ids, found)
	result := newVerifyResult(ids, found)
	if err != nil {
		asked := fmt.Sprintf("%s: %d of %d unknown", verifyOperation, len(result.Unknown), len(ids))
		first := err.(*callError)
		err = &callError{asked: asked, happened: first.asked + ": " + first.happened, suffix: first.suffix, wrapped: []error{first}}
	}
	return result, err
}

// presence is what is known of an id.
type presence byte

const (
	unsettled presence = iota
	gone
	present
	presences
)

func newVerifyResult(ids []string, found []presence) *VerifyResult {
	lists := [presences][]string{{}, {}, {}}
	for i, id := range ids {
		lists[found[i]] = append(lists[found[i]], id)
	}
	return &VerifyResult{Gone: lists[gone], Present: lists[present], Unknown: lists[unsettled]}
}

// verify sets what is found of each id. It returns the first failure.
func (c *Client) verify(ctx context.Context, ids []string, found []presence) error {
	all, err := c.AllConversations(ctx, ConversationFilter{})
	if err != nil {
		return err
	}
	listed := make(map[string]struct{}, len(all))
	for _, conversation := range all {
		listed[conversation.ID] = struct{}{}
	}
	var missing []int // positions
	for i, id := range ids {
		if _, ok := listed[id]; ok {
			found[i] = present
		} else {
			missing = append(missing, i)
		}
	}
	failures := make([]error, len(missing))
	var inRow atomic.Int32
	var last atomic.Pointer[callError] // after which every other read would fail
	inParallel(len(missing), func(n int) {
		if inRow.Load() >= maxFailuresInRow || last.Load() != nil {
			return // What is left is unsettled.
		}
		i := missing[n]
		if found[i], failures[n] = c.look(ctx, ids[i]); failures[n] != nil {
			inRow.Add(1)
			if _, tooLong := errors.AsType[*retryAfterTooLong](failures[n]); tooLong || errors.Is(failures[n], ErrUnauthorized) {
				last.CompareAndSwap(nil, failures[n].(*callError))
			}
		} else if inRow.Load() < maxFailuresInRow { // Once it has ended, it stays so.
			inRow.Store(0)
		}
	})
	if end := last.Load(); end != nil {
		return end
	}
	for _, err := range failures {
		if err != nil && inRow.Load() >= maxFailuresInRow {
			first := *err.(*callError)
			first.suffix += fmt.Sprintf("; stopped after %d in a row failed", maxFailuresInRow)
			return &first
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look finds out about an id that is not listed.
func (c *Client) look(ctx context.Context, id string) (presence, error) {
	_, err := c.GetTranscript(ctx, id)
	switch {
	case err == nil:
		return present, nil
	case errors.Is(err, ErrNotFound):
		return gone, nil
	}
	return unsettled, err
}

// inParallel calls f with 0 to n-1, a few at a time. A panic or a Goexit in one of
// them reaches the caller once all have returned.
func inParallel(n int, f func(int)) {
	const workers = 4
	var next atomic.Int64
	var running sync.WaitGroup
	crashes := make(chan any, workers)
	for range min(n, workers) {
		running.Go(func() {
			returned := false
			defer func() {
				if !returned {
					crashes <- recover()
				}
			}()
			for i := int(next.Add(1)); i <= n && len(crashes) == 0; i = int(next.Add(1)) {
				f(i - 1)
			}
			returned = true
		})
	}
	running.Wait()
	select {
	case p := <-crashes:
		if p != nil {
			panic(p)
		}
		runtime.Goexit() // As a failed require does.
	default:
	}
}
