package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// BatchOptions are the settings of [Client.DeleteConversationsInBatches]. The
// zero value is a good choice.
type BatchOptions struct {
	// Size is the number of ids per request. 0 means 100.
	Size int
	// Concurrency is the number of requests in flight. 0 means 4.
	Concurrency int
	// Stop is the gentle way to end a run: once it is closed, nothing more is
	// sent, not even a retry, and the run waits for what is on the wire. Nothing
	// becomes Unconfirmed because of it. A nil Stop never stops.
	Stop <-chan struct{}
	// OnBatch is called for each batch as it completes, with what
	// [Client.DeleteConversations] would return for it: for progress, or a
	// journal. A journal that is to outlive a crash notes the ids before the run.
	// What a run did not send comes last, as one batch, with the reason. It is
	// not called for an [ErrInvalidArgument].
	// The calls are made on the caller's goroutine, one at a time, while other
	// requests go on. The result is the function's to keep.
	OnBatch func(*DeleteConversationsResult, error)
}

// DeleteConversationsInBatches deletes any number of conversations, with one
// request for every opts.Size ids and opts.Concurrency requests at a time. It
// makes the promises of [Client.DeleteConversations], over all ids: the result
// is never nil, its lists divide the ids in their order, and a nil error means
// that NotDeleted and Unconfirmed are empty. Every id is checked before anything
// is sent. Count and Attempts are sums.
//
// A batch that fails does not stop the run. But after one that fails and deletes
// nothing, one batch at a time is sent until one succeeds, each after a wait if
// the failure may pass; five that fail in a row then end the run. So do a 401, a
// Retry-After above [WithMaxRetryAfter], a closed opts.Stop and a done ctx, all at
// once. The ids that were not sent are NotDeleted then. The error is that of the
// first batch that failed, and of what ended the run: that reply, [ErrStopped],
// or ctx's error. If all ids fit one batch, it is that call's error.
//
// A batch that the server refuses as too large (413) is halved and sent again,
// down to one id, and the rest of the run uses the smaller size.
//
// Closing opts.Stop lets what is on the wire finish; ending ctx cuts it off, and
// leaves its ids Unconfirmed. Use a ctx that the first Ctrl-C does not end.
//
// When it returns, no goroutine and no request is left. A panic in opts.OnBatch,
// in a caller's transport, limiter or log handler ends the run and reaches the
// caller.
//
//	DELETE /api/chat-history/chats
func (c *Client) DeleteConversationsInBatches(ctx context.Context, ids []string, opts BatchOptions) (*DeleteConversationsResult, error) {
	ids, err := c.checkIDs(ctx, deleteOperation, ids)
	if err == nil {
		err = opts.check()
	}
	if err != nil || len(ids) == 0 {
		return newResult(ids, make([]fate, len(ids))), err
	}
	r := newBatchRun(ctx, c, ids, opts)
	defer r.close()
	r.deleteAll()
	return r.result()
}

func (o BatchOptions) check() error {
	switch {
	case o.Size < 0:
		return invalidArgument(deleteOperation, fmt.Errorf("the batch size is negative: %d", o.Size))
	case o.Concurrency < 0:
		return invalidArgument(deleteOperation, fmt.Errorf("the concurrency is negative: %d", o.Concurrency))
	}
	return nil
}

// accountForUnsent reports what the end of the run has kept from being sent.
func (r *batchRun) accountForUnsent() {
	slices.SortFunc(r.unsent, func(a, b span) int { return a.position - b.position })
	call := &call{client: r.client, operation: deleteOperation}
	var ids []string
	var fates []fate
	for _, s := range r.unsent {
		ids = append(ids, r.ids[s.position:s.position+s.n]...)
		fates = append(fates, r.fates[s.position:s.position+s.n]...)
		if s.earlier != nil {
			call.unknown = s.earlier
		}
	}
	if r.neverSent = len(ids); r.neverSent > 0 {
		call.reason = r.ended()
		result := newResult(ids, fates)
		r.report(result, call.unanswered(inDoubt(len(result.Unconfirmed), 0, len(ids))))
	}
}

func (r *batchRun) report(result *DeleteConversationsResult, err error) {
	if r.onBatch != nil {
		r.onBatch(result, err)
	}
}

func (r *batchRun) result() (*DeleteConversationsResult, error) {
	result := newResult(r.ids, r.fates)
	result.Count, result.Attempts = r.count, r.attempts
	if r.completed == 1 && r.neverSent == 0 {
		result.RequestID = r.requestID
		return result, r.failure
	}
	return result, r.err(result)
}

// err returns the error of a run of more than one batch.
func (r *batchRun) err(result *DeleteConversationsResult) error {
	u, n := len(result.Unconfirmed), len(result.NotDeleted)
	e := &callError{asked: deleteOperation + inDoubt(u, n, len(r.ids)), unconfirmed: u > 0}
	var happened []string
	if r.failure != nil {
		failure := r.failure.(*callError)
		with := " failed with "
		if r.failed > 1 {
			with = " failed, the first with "
		}
		happened = append(happened, plural(r.failed, "batch", "batches")+with+failure.happened+failure.suffix)
		e.wrapped = append(e.wrapped, failure)
	}
	if r.neverSent > 0 || r.cutShort {
		happened = append(happened, r.describeEnd())
		e.wrapped = append(e.wrapped, r.ended())
	}
	if len(happened) == 0 {
		return nil
	}
	e.happened = strings.Join(happened, "; ")
	return e
}

// describeEnd says why the run ended, unless the first failure says it.
func (r *batchRun) describeEnd() string {
	after := " after " + plural(r.completed, "batch", "batches")
	switch reason := r.ended(); {
	case reason == ErrStopped:
		return "stopped" + after
	case r.failure != nil && errors.Is(r.failure, reason):
		return "ended" + after
	default:
		return "ended" + after + ": " + reason.Error()
	}
}
