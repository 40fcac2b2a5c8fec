// Package memoryplugin is a client for the MemoryPlugin API, which keeps a
// user's past AI conversations and can delete them for good.
//
//	client, err := memoryplugin.NewClient(os.Getenv("MEMORYPLUGIN_API_KEY"))
//	if err != nil {
//		return err
//	}
//	result, err := client.DeleteConversations(ctx, []string{"conv-id-1", "conv-id-2"})
//
// Nothing brings a deleted conversation back. The package therefore never
// reports a deletion that the server did not confirm, and never loses track of
// an id: after every call, each id is in exactly one list of the
// [DeleteConversationsResult].
//
//   - Deleted: the server confirmed it.
//   - NotDeleted: certainly not deleted by this call. After a nil error there is
//     no such conversation; after another one, send the id again.
//   - Unconfirmed: it may be gone, but no answer says so. Send it again: if
//     it is NotDeleted then, it is gone, or never existed.
//
// A nil error promises that every id is answered for, so that Unconfirmed is
// empty. The error of a call with unconfirmed ids is [ErrOutcomeUnknown].
//
// # Retries
//
// One attempt is one request on the wire. What follows depends on its outcome:
//
//   - Answered, by a complete and documented 200: the call ends.
//   - Refused, so that nothing was applied: no connection was obtained, or the
//     reply is a 4xx, 501, 505, 307 or 308. Retried are 408, 425, 429, and a
//     connection that failed for a reason that may pass.
//   - Unknown, so that it may have been applied: the connection broke, the
//     attempt timed out, or the reply is another 5xx, another 3xx, or not
//     documented. Retried are a 5xx, a time-out and a lost reply.
//
// That a 4xx means that nothing was applied is an assumption about the API,
// which does not document it. A retry after an unknown attempt deletes nothing
// twice, but its answer can't tell an id that the first one deleted from one
// that was never there: such ids are Unconfirmed.
//
// Between attempts the call waits: exponential backoff with full jitter
// ([WithBackoff]), or what the reply's Retry-After asks for, which then holds
// back every call of the Client. A Retry-After above [WithMaxRetryAfter] ends
// the call, and so does a context whose deadline would fall into the wait. All
// calls of a Client share a retry budget of 500 tokens, of which a retry takes
// 14, or 5 after a 429, and gets them back when it is answered. When it is used
// up, failures are returned without a retry.
//
// Redirects are never followed: neither the key nor the ids leave their host.
//
// # Batches
//
// [Client.DeleteConversationsInBatches] deletes any number of conversations as
// one loop. To stop it cleanly, end the sequence of ids.
//
// # Errors
//
// An error says what was asked, what happened and after how many attempts:
//
//	memoryplugin: delete conversations: 401 Unauthorized: "Invalid API key" (1 attempt)
//
// errors.AsType finds the [*ErrorResponse] of a refused call in it. errors.Is finds
// [ErrUnauthorized] and its like, [ErrInvalidArgument], [ErrUnexpectedResponse],
// [ErrOutcomeUnknown], an error of the network, such as syscall.ECONNREFUSED,
// and context.Canceled or context.DeadlineExceeded with the context's cause
// where the context ended the call. Text from a server or the network is quoted
// and cut. The API key is in no output of the package.
//
// net/http itself writes to the standard logger of package log what a server
// sends unasked after a reply, which may echo anything, the key included. A
// program that must not show it calls [log.SetOutput].
//
// # Testing
//
// Package memoryplugintest has a server in memory that your tests can delete
// from, and that fails in the ways a network does.
package memoryplugin
