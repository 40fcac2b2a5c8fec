package memoryplugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// DefaultBaseURL is where the API is, unless [WithBaseURL] says otherwise.
const DefaultBaseURL = "https://www.memoryplugin.com"

// Version is the version of the SDK, as it is sent in the User-Agent header.
const Version = "0.1.0"

// Client calls the MemoryPlugin API with one API key. Make it with [NewClient],
// once, and share it: it is safe for concurrent use, and its connections, its
// retry budget and a server's Retry-After serve all its calls. A zero Client
// returns [ErrInvalidArgument] from every method.
type Client struct {
	baseURL        string
	secret         secret
	header         func() http.Header // of every request; a func for the same reason as secret
	transport      http.RoundTripper
	attemptTimeout time.Duration
	limiter        Limiter
	logger         *slog.Logger
	retries        *retryPolicy
}

// NewClient returns a Client that sends apiKey as its bearer token. Nothing is
// sent yet. An API key, or an option, that can't be used is an error that is
// [ErrInvalidArgument].
func NewClient(apiKey string, opts ...Option) (*Client, error) {
	config := defaultConfig()
	for i, opt := range opts {
		if opt == nil {
			return nil, invalidArgument("new client", fmt.Errorf("opts[%d] is nil", i))
		}
		if err := opt(config); err != nil {
			return nil, invalidArgument("new client", err)
		}
	}
	if err := checkAPIKey(apiKey); err != nil {
		return nil, invalidArgument("new client", err)
	}
	baseURL, err := parseBaseURL(config.baseURL, config.insecureHTTP)
	if err != nil {
		return nil, invalidArgument("new client", err)
	}
	secret := newSecret(apiKey)
	c := &Client{
		baseURL:        baseURL,
		secret:         secret,
		attemptTimeout: config.attemptTimeout,
		limiter:        config.limiter,
		logger:         config.logger,
		retries: &retryPolicy{
			maxRetries:    config.maxRetries,
			backoff:       config.backoff,
			maxRetryAfter: config.maxRetryAfter,
			budget:        &budget{tokens: budgetSize},
			hold:          &hold{},
			secret:        secret,
		},
	}
	c.useHTTPClient(config.httpClient)
	header := http.Header{
		"Authorization": {"Bearer " + apiKey},
		"Accept":        {"application/json"},
		"Content-Type":  {"application/json"},
		"User-Agent":    {strings.TrimSpace(config.product + " memoryplugin-go/" + Version)},
	}
	c.header = func() http.Header { return header }
	return c, nil
}

// NewClientFromEnv is [NewClient] with the API key from MEMORYPLUGIN_API_KEY,
// and the base URL from MEMORYPLUGIN_BASE_URL where that is set. An option wins
// over the environment.
func NewClientFromEnv(opts ...Option) (*Client, error) {
	apiKey := os.Getenv("MEMORYPLUGIN_API_KEY")
	if apiKey == "" {
		return nil, invalidArgument("new client", errors.New("MEMORYPLUGIN_API_KEY is not set"))
	}
	if baseURL := os.Getenv("MEMORYPLUGIN_BASE_URL"); baseURL != "" {
		opts = append([]Option{WithBaseURL(baseURL)}, opts...)
	}
	return NewClient(apiKey, opts...)
}

func invalidArgument(operation string, err error) error {
	return fmt.Errorf("memoryplugin: %s: %w: %w", operation, ErrInvalidArgument, err)
}

// useHTTPClient takes what the SDK uses of a caller's hc. It calls the
// transport itself, since an http.Client fails on a redirect whose Location it
// can't parse, even when told not to follow it.
func (c *Client) useHTTPClient(hc *http.Client) {
	switch {
	case hc == nil:
		c.transport = newTransport()
		return
	case hc.Transport == nil:
		c.transport = http.DefaultTransport
	default:
		c.transport = hc.Transport
	}
	if hc.Timeout > 0 && (c.attemptTimeout == 0 || hc.Timeout < c.attemptTimeout) {
		c.attemptTimeout = hc.Timeout
	}
}

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: 1 << 20,
		// Below the 5 s after which common servers close an idle connection: a
		// request that meets the closing is lost, and its outcome unknown.
		IdleConnTimeout: 4 * time.Second,
		// One for each worker of a batch, however many; idling is short.
		MaxIdleConnsPerHost: math.MaxInt32,
	}
}

// call is one request to the API, with all its attempts. It is the transport of
// a retryablehttp.Client of its own: the loop sends, asks whether to go on and
// how long to wait, and what the attempts came to stays here.
type call struct {
	client    *Client
	operation string
	request   *http.Request // without headers and body, which every attempt gets afresh
	body      []byte
	halted    context.Context // nil, or done once no further attempt may be made
	halved    *ErrorResponse  // nil, or the 413 that refused the batch of which this is a half

	attempts  int
	requestID string    // of the last reply
	answered  bool      // with a complete 200
	answer    []byte    // its body
	failed    error     // of the last attempt that failed, unless the context ended it
	unknown   error     // of the last attempt after which the request may have been applied
	status    int       // of the last attempt, 0 where it got no reply
	plan      retryPlan // what follows the last attempt
}

// do sends the request, with as many attempts as the retry policy allows.
func (a *call) do(ctx context.Context, method, path string) {
	request, err := http.NewRequestWithContext(ctx, method, a.client.baseURL+path, nil)
	if err != nil {
		a.plan.reason = err
		return
	}
	a.request = request
	loop := retryablehttp.Client{
		HTTPClient: &http.Client{Transport: a},
		RetryMax:   math.MaxInt, // The policy counts.
		CheckRetry: func(context.Context, *http.Response, error) (bool, error) { return a.plan.again, nil },
		Backoff:    func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return a.plan.wait },
	}
	if _, err := loop.Do(&retryablehttp.Request{Request: request}); err != nil {
		a.prevented(contextError(ctx, a.client.secret)) // Nothing but the end of the context fails the loop, in a wait.
	}
	if !a.answered {
		a.log(slog.LevelWarn, "memoryplugin: giving up", errorAttr("error", a.failed), errorAttr("reason", a.plan.reason))
	}
}

// RoundTrip makes one whole attempt and plans what follows. The loop always
// gets an empty reply.
func (a *call) RoundTrip(*http.Request) (*http.Response, error) {
	if err := a.ready(); err != nil {
		a.prevented(err)
	} else {
		a.attempts++
		a.settle(a.attempt())
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// prevented ends the call where an attempt could not be made.
func (a *call) prevented(err error) {
	a.client.retries.budget.give(a.plan.cost)
	isHalf := a.halved != nil && a.attempts == 0
	if isHalf || a.halted != nil && a.halted.Err() != nil {
		err = a.notSent(err)
	}
	a.plan = retryPlan{reason: err}
}

// notSent is why an attempt was not made in a run of batches.
func (a *call) notSent(why error) error {
	if a.halved != nil && a.attempts == 0 {
		return fmt.Errorf("this half of a batch was not sent: %w; the batch was too large: %w", why, a.halved)
	}
	return fmt.Errorf("not sent: %w", why)
}

// ready waits until an attempt may be made.
func (a *call) ready() error {
	ctx := a.request.Context()
	if err := a.waitForHold(ctx); err != nil {
		return err
	}
	if limiter := a.client.limiter; limiter != nil {
		if err := limiter.Wait(ctx); endedBy(ctx, err) {
			return contextError(ctx, a.client.secret)
		} else if err != nil {
			return fmt.Errorf("limiter: %w", newExternalError(err, a.client.secret))
		}
		// Another call may have been told to hold back meanwhile.
		if err := a.waitForHold(ctx); err != nil {
			return err
		}
	}
	if a.halted != nil && a.halted.Err() != nil {
		return context.Cause(a.halted)
	}
	return contextError(ctx, a.client.secret)
}

// waitForHold waits while a Retry-After holds the Client back.
func (a *call) waitForHold(ctx context.Context) error {
	for {
		remaining, reply := a.client.retries.hold.remaining()
		if remaining <= 0 {
			return nil
		}
		if err := a.sleep(ctx, a.client.retries.backoff.onTop(remaining)); err != nil {
			if a.attempts == 0 {
				a.failed = fmt.Errorf("held back by an earlier reply: %w", reply)
			}
			return err
		}
	}
}

func (a *call) sleep(ctx context.Context, wait time.Duration) error {
	if err := a.client.retries.futile(ctx, wait); err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return contextError(ctx, a.client.secret)
	case <-timer.C:
		return nil
	}
}

// attempt sends the request once and reads the reply. It returns nil when that
// is a complete 200, whose body is then the answer.
func (a *call) attempt() *failure {
	ctx, cancel := a.client.attemptContext(a.request.Context())
	defer cancel()
	var conn connection
	req := a.request.WithContext(conn.traced(ctx))
	req.Header = a.client.header().Clone()
	// Without GetBody nothing below can send the request again.
	body := bytes.NewReader(a.body)
	req.Body = io.NopCloser(body)
	req.ContentLength = int64(len(a.body))
	a.status = 0
	if ctx.Err() != nil { // A transport would not even ask for a connection.
		return a.lost(ctx, context.Cause(ctx), false)
	}
	resp, err := a.client.transport.RoundTrip(req)
	if resp != nil && resp.Body != nil {
		defer resp.Body.Close()
	}
	switch {
	case err != nil:
		// A transport that has read the body may have sent it without the hooks, before one that has them failed.
		return a.lost(ctx, err, conn.obtained() || body.Len() < len(a.body))
	case resp == nil:
		return a.lost(ctx, errors.New("the transport returned neither a reply nor an error"), conn.obtained())
	}
	return a.read(ctx, resp)
}

// read classifies a reply, and takes the answer from a 200.
func (a *call) read(ctx context.Context, resp *http.Response) *failure {
	a.status = resp.StatusCode
	a.requestID = requestID(resp.Header, a.client.secret)
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode <= 599:
		// A body that can't be read to its end costs its fields, not the status.
		body, _ := readBody(resp, 0, 2*maxErrorBody)
		return statusFailure(newErrorResponse(resp, body, a.client.secret))
	case resp.StatusCode != http.StatusOK:
		return unexpectedFailure(statusText(resp.StatusCode))
	}
	limit := max(maxAnswer, 4*len(a.body))
	answer, err := readBody(resp, len(a.body), limit+1)
	switch {
	case len(answer) > limit:
		return unexpectedFailure(fmt.Sprintf("200 OK with a body of more than %d bytes", limit))
	case err != nil:
		return a.lost(ctx, err, true)
	}
	a.answer = answer
	return nil
}

const maxAnswer = 16 << 20

// readBody reads resp's body to its end, or limit bytes of it. A body of about
// the expected length is read without a second allocation.
func readBody(resp *http.Response, expected, limit int) ([]byte, error) {
	if resp.Body == nil {
		return nil, nil
	}
	var buf bytes.Buffer
	// One MinRead for what surrounds the ids, one to find the end in.
	buf.Grow(expected + 2*bytes.MinRead)
	_, err := buf.ReadFrom(io.LimitReader(resp.Body, int64(limit)))
	return buf.Bytes(), err
}

// lost is an attempt without a complete reply.
func (a *call) lost(attemptCtx context.Context, err error, connected bool) *failure {
	if ctx := a.request.Context(); endedBy(ctx, err) {
		return &failure{err: contextError(ctx, a.client.secret), unknown: connected, byContext: true}
	}
	if timeout, ok := context.Cause(attemptCtx).(attemptTimeout); ok {
		return &failure{err: timeout, unknown: connected, retry: true}
	}
	return lostFailure(err, connected, a.client.secret)
}

// settle books what an attempt came to, and plans what follows.
func (a *call) settle(f *failure) {
	policy, cost := a.client.retries, a.plan.cost
	a.plan = retryPlan{}
	if f == nil {
		a.answered = true
		policy.budget.give(max(cost, firstTryGift))
		a.log(slog.LevelDebug, "memoryplugin: attempt")
		return
	}
	a.log(slog.LevelDebug, "memoryplugin: attempt", errorAttr("error", f.err))
	if f.unknown {
		a.unknown = f.err
	}
	if f.byContext {
		a.plan.reason = f.err
		return
	}
	a.failed = f.err
	if a.status != 0 && !f.retry {
		policy.budget.give(cost)
	}
	if a.plan = policy.plan(a.request.Context(), a.attempts, f); a.plan.again {
		a.log(slog.LevelWarn, "memoryplugin: retrying", errorAttr("error", f.err), slog.Duration("wait", a.plan.wait))
	}
}

// err is the error of a call that was not answered.
func (a *call) err(also ...error) error {
	var texts []string
	for _, err := range []error{a.failed, a.plan.reason} {
		if err != nil {
			texts = append(texts, err.Error())
			also = append(also, err)
		}
	}
	if a.unknown != nil && a.unknown != a.failed && a.unknown != a.plan.reason {
		err := earlierAttempt(a.unknown)
		texts, also = append(texts, err.Error()), append(also, err)
	}
	return a.newError(strings.Join(texts, "; "), also...)
}

func (a *call) newError(text string, wrapped ...error) error {
	return &callError{operation: a.operation, text: text, attempts: a.attempts, unknown: a.unknown, wrapped: wrapped}
}

// earlierAttempt is why the last attempt does not settle a call's outcome.
func earlierAttempt(err error) error {
	return fmt.Errorf("an earlier attempt got no answer: %w", err)
}

// log tells of the last attempt.
func (a *call) log(level slog.Level, message string, attrs ...slog.Attr) {
	logger, ctx := a.client.logger, a.request.Context()
	if logger == nil || !logger.Enabled(ctx, level) {
		return
	}
	var status slog.Attr // Handlers ignore an empty one.
	if a.status != 0 {
		status = slog.Int("status", a.status)
	}
	logger.LogAttrs(ctx, level, message, append([]slog.Attr{
		slog.String("method", a.request.Method),
		slog.String("path", a.request.URL.Path),
		slog.Int("attempt", a.attempts),
		status,
	}, attrs...)...)
}

// errorAttr is empty where there is no error, and for a reply: its status says
// enough, and its words may name ids.
func errorAttr(key string, err error) slog.Attr {
	if _, isReply := errors.AsType[*ErrorResponse](err); err == nil || isReply {
		return slog.Attr{}
	}
	return slog.Any(key, err)
}

// attemptContext bounds one attempt.
func (c *Client) attemptContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.attemptTimeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, c.attemptTimeout, attemptTimeout(c.attemptTimeout))
}

// connection tells whether an attempt has obtained a connection.
type connection struct{ asked, got atomic.Bool }

func (c *connection) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { c.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.got.Store(true) },
	})
}

// obtained is true where neither hook was called: a transport that doesn't call
// them shows nothing, so the request may have been sent.
func (c *connection) obtained() bool { return c.got.Load() || !c.asked.Load() }
