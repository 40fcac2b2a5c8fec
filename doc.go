// Package memoryplugin is a client for the MemoryPlugin API, which keeps a user's
// past AI conversations and can delete them for good.
//
//	client, err := memoryplugin.NewClient(os.Getenv("MEMORYPLUGIN_API_KEY"))
//	if err != nil {
//		return err
//	}
//	result, err := client.DeleteConversations(ctx, []string{"conv-id-1", "conv-id-2"})
//
// Deletion is permanent, so this client is strict about what it claims. Every id
// you pass comes back in exactly one list of the [DeleteConversationsResult]:
//
//   - Deleted: the server said that it deleted it.
//   - NotListed: the server answered and left it out. Most likely there is no
//     such conversation.
//   - NotDeleted: certainly not deleted by this call. Send it again.
//   - Unconfirmed: it may be deleted or not. Verify it, or send it again. If it
//     is NotListed then, this call may have deleted it.
//
// A nil error means that NotDeleted and Unconfirmed are empty. The result is
// never nil. [Client.DeleteConversationsInBatches] makes the same promises for
// any number of ids.
//
// [Client.AllConversations] lists what there is to delete, and
// [Client.VerifyDeleted] settles what a deletion left Unconfirmed or NotListed.
// Reads go the same way as deletions: the same retries, limits, errors and log
// lines, but sending one twice changes nothing.
//
// # Retries
//
// If the connection drops, you can't tell whether the delete went through. The
// client retries, because deleting twice is harmless. If the retry doesn't list
// an id, you get it back as Unconfirmed: the first attempt may have deleted it.
//
// An attempt is one request on the wire. It has one of three outcomes:
//
//   - answered: a complete and documented 200. The call ends.
//   - refused: nothing was applied. No connection was obtained, or the reply is
//     a 4xx except 408, 460 and 499, or 501, 505, 307 or 308. The client retries
//     425, 429, a 403 with a Retry-After, and a connection that failed for a
//     reason that may be temporary.
//   - unknown: it may have been applied. The connection broke, the attempt timed
//     out, or the reply is any other. The client retries 408, 460, 499, other
//     5xx, a timeout and a lost reply.
//
// Between attempts a call waits: exponential backoff with full jitter
// ([WithBackoff]), or what a Retry-After asks for, which then holds back every
// call with the same key. A Retry-After above [WithMaxRetryAfter] ends the call,
// and so does a context whose deadline would fall into the wait. All calls of a
// Client share a retry budget of 500 tokens: a retry takes 14, or 5 after a 429,
// and gets them back if it is answered. The budget gains 1 for each call that
// succeeds at the first attempt, and 1 per second. If it is empty, failures are
// returned at once.
//
// Redirects are never followed: neither the key nor the ids leave their host.
//
// There are two things that a client can't see. It assumes that such a 4xx
// means that nothing was applied, but a server that checks ids one by one may
// answer 403 after it has deleted some. And a proxy may resend a DELETE: the
// second answer no longer lists what the first request deleted. In nginx, set
// "proxy_next_upstream off"; in HAProxy, don't use "retry-on
// all-retryable-errors".
//
// # Errors
//
// An error says what was asked, how many ids are unconfirmed, what happened, and
// after how many attempts:
//
//	memoryplugin: delete conversations: 3 of 3 unconfirmed: 503 Service Unavailable: "busy" (5 attempts, request id "req_1")
//
// errors.AsType finds the server's [*ErrorResponse] in it. errors.Is finds
// [ErrUnauthorized] and the other sentinels, network errors such as
// syscall.ECONNREFUSED, and, if the context ended the call, its error and
// cause. Words from a server are quoted and cut. The API key is in none of
// them, nor in a log line or a printed [Client].
//
// net/http itself writes to the standard logger of package log what a server
// sends unasked after a reply, which may echo anything, the key included. A
// program that must not show it calls [log.SetOutput].
//
// # Testing
//
// Package memoryplugintest has a server in memory that your tests can delete
// from, and that fails in the ways a network does. A test that fakes
// http.DefaultTransport does not catch this client, which has a transport of its
// own.
package memoryplugin
