package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func ExampleNewClient() {
	client, err := memoryplugin.NewClient("your-api-key",
		memoryplugin.WithUserAgent("my-service/1.4"),
		memoryplugin.WithMaxRetries(6),
		memoryplugin.WithAttemptTimeout(20*time.Second),
		memoryplugin.WithLogger(slog.Default()),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = client // Share it: it is safe for concurrent use.
	// Output:
}

func ExampleNewClient_badKey() {
	_, err := memoryplugin.NewClient("key-read-from-a-file\n")
	fmt.Println(err)
	fmt.Println(errors.Is(err, memoryplugin.ErrInvalidArgument))
	// Output:
	// memoryplugin: new client: invalid argument: the API key ends with a newline: trim it if it was read from a file
	// true
}

func ExampleNewClientFromEnv() {
	os.Setenv("MEMORYPLUGIN_API_KEY", "your-api-key")
	defer os.Unsetenv("MEMORYPLUGIN_API_KEY")

	client, err := memoryplugin.NewClientFromEnv()

	fmt.Println(client != nil, err)
	// Output: true <nil>
}

// A service that erases for many users has a key for each, and one Client.
func ExampleClient_WithAPIKey() {
	shared, err := memoryplugin.NewClient("key-of-the-service")
	if err != nil {
		fmt.Println(err)
		return
	}

	ofUser, err := shared.WithAPIKey("key-of-a-user") // Costs little: make one for each call.

	fmt.Println(ofUser != nil, err)
	// Output: true <nil>
}

func ExampleClient_DeleteConversations() {
	srv := memoryplugintest.NewServer(nil) // Stands for the real API.
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2")
	client := srv.Client()

	result, err := client.DeleteConversations(context.Background(), []string{"conv-1", "conv-9"})
	if err != nil {
		fmt.Println(err) // The lists account for every id all the same.
	}
	fmt.Println("deleted:", result.Deleted, "count:", result.Count)
	fmt.Println("the server did not list:", result.NotListed)
	// Output:
	// deleted: [conv-1] count: 1
	// the server did not list: [conv-9]
}

// The reply to the first attempt is lost, so the server's answer to the second
// one can't tell what is gone from what was never there.
func ExampleClient_DeleteConversations_unconfirmed() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	srv.AddConversations("conv-1", "conv-2")
	srv.FailNext(memoryplugintest.Fault{Applied: true, Drop: true})
	client := srv.Client()

	result, err := client.DeleteConversations(context.Background(), []string{"conv-1", "conv-2"})
	fmt.Println(err)
	fmt.Println("unconfirmed:", result.Unconfirmed)

	// Deleting twice does no harm. What the server does not list now is most
	// likely gone.
	result, err = client.DeleteConversations(context.Background(), result.Unconfirmed)
	fmt.Println(err)
	fmt.Println("not listed:", result.NotListed)
	// Output:
	// memoryplugin: delete conversations: 2 of 2 unconfirmed: an earlier attempt may have been applied: "EOF" (2 attempts)
	// unconfirmed: [conv-1 conv-2]
	// <nil>
	// not listed: [conv-1 conv-2]
}

func ExampleErrorResponse() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	client, _ := memoryplugin.NewClient("revoked-key", memoryplugin.WithBaseURL(srv.URL))

	_, err := client.DeleteConversations(context.Background(), []string{"conv-1"})

	if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
		fmt.Println(reply.StatusCode, reply.Message, reply.Retryable())
	}
	fmt.Println(err)
	// Output:
	// 401 Invalid API key false
	// memoryplugin: delete conversations: 401 Unauthorized: "Invalid API key" (1 attempt)
}

// One switch for every kind of error that a call can return.
func Example_errors() {
	srv := memoryplugintest.NewServer(nil)
	defer srv.Close()
	client := srv.Client(memoryplugin.WithMaxRetries(0))
	try := func(ctx context.Context, ids ...string) {
		_, err := client.DeleteConversations(ctx, ids)
		switch {
		case err == nil:
			fmt.Println("every id is deleted, or was not listed")
		case errors.Is(err, memoryplugin.ErrUnconfirmed):
			fmt.Println("some may be gone: send Unconfirmed again")
		case errors.Is(err, memoryplugin.ErrInvalidArgument):
			fmt.Println("nothing was sent: correct the call")
		case errors.Is(err, memoryplugin.ErrUnexpectedResponse):
			fmt.Println("the reply contradicts itself, but every id is deleted")
		case errors.Is(err, memoryplugin.ErrUnauthorized), errors.Is(err, memoryplugin.ErrForbidden):
			fmt.Println("check the API key")
		case errors.Is(err, memoryplugin.ErrNotFound):
			fmt.Println("check the base URL")
		case errors.Is(err, memoryplugin.ErrPayloadTooLarge):
			fmt.Println("send fewer ids")
		case errors.Is(err, memoryplugin.ErrRateLimited):
			fmt.Println("try later")
		case errors.Is(err, context.Canceled):
			fmt.Println("cancelled before anything was sent")
		default:
			fmt.Println("nothing was deleted:", err)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()

	try(context.Background(), "conv-1")
	try(context.Background(), "")
	for _, status := range []int{503, 401, 404, 413, 429, 400} {
		srv.FailNext(memoryplugintest.Fault{Status: status})
		try(context.Background(), "conv-1")
	}
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusOK, Body: `{"deleted":["conv-1"],"count":7}`})
	try(context.Background(), "conv-1")
	try(cancelled, "conv-1")
	// Output:
	// every id is deleted, or was not listed
	// nothing was sent: correct the call
	// some may be gone: send Unconfirmed again
	// check the API key
	// check the base URL
	// send fewer ids
	// try later
	// nothing was deleted: memoryplugin: delete conversations: 400 Bad Request: "Bad Request" (1 attempt)
	// the reply contradicts itself, but every id is deleted
	// cancelled before anything was sent
}

// tracing stands for a transport that wraps another, such as that of otelhttp.
type tracing struct{ base http.RoundTripper }

func (t tracing) RoundTrip(r *http.Request) (*http.Response, error) { return t.base.RoundTrip(r) }

func ExampleNewTransport() {
	client, err := memoryplugin.NewClient("your-api-key",
		memoryplugin.WithHTTPClient(&http.Client{Transport: tracing{memoryplugin.NewTransport()}}))

	fmt.Println(client != nil, err)
	// Output: true <nil>
}

// HTTP/2, if you need it, is one call away.
func ExampleNewTransport_http2() {
	transport := memoryplugin.NewTransport()
	transport.Protocols.SetHTTP2(true)

	client, err := memoryplugin.NewClient("your-api-key",
		memoryplugin.WithHTTPClient(&http.Client{Transport: transport}))

	fmt.Println(client != nil, err)
	// Output: true <nil>
}
