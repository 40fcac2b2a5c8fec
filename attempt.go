package memoryplugin

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// request is what every attempt of a call sends.
type request struct {
	method string
	url    *url.URL
	body   []byte
	read   bool // changes nothing, so it may be sent any number of times
}

// outcome is what one attempt came to.
type outcome struct {
	verdict   verdict
	retry     bool   // another attempt may do better
	body      []byte // of the reply, if it is an answer
	err       error  // what happened, if it is not
	cut       bool   // err is the end of the caller's context
	repeated  bool   // the transport sent the request more than once
	status    int    // 0 if there was no reply
	requestID string
}

type verdict int

const (
	answered verdict = iota // with a complete 200
	refused                 // nothing was applied
	unknown                 // it may have been applied
)

// judge is the verdict on a reply by its status alone, unless that is 200. That
// a 4xx means that nothing was applied is an assumption.
func judge(status int, retryAfter time.Duration) (v verdict, retry bool) {
	switch {
	case status == http.StatusTemporaryRedirect, status == http.StatusPermanentRedirect:
		return refused, false
	case status < 400, status > 599:
		return unknown, false
	case status == http.StatusRequestTimeout, status == 460, status == 499:
		return unknown, true // Proxies and applications send them after the fact.
	case status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return refused, true
	case status == http.StatusForbidden:
		return refused, retryAfter > 0 // With one it is a rate limit.
	case status < 500, status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return refused, false
	}
	return unknown, true
}

// attempt sends r once, and reads the reply.
func (c *Client) attempt(ctx context.Context, r request) outcome {
	attemptCtx, cancel := c.withTimeout(ctx)
	defer cancel()
	w := &wire{}
	if attemptCtx.Err() != nil { // A transport would not even ask for a connection.
		return c.lost(ctx, attemptCtx, context.Cause(attemptCtx), false)
	}
	resp, err := c.transport.RoundTrip(c.newRequest(attemptCtx, r, w))
	if resp != nil && resp.Body != nil {
		defer resp.Body.Close()
	}
	if resp == nil && err == nil {
		err = errors.New("the transport returned neither a reply nor an error")
	}
	connected, _ := w.seen()
	var o outcome
	switch {
	case err != nil:
		o = c.lost(ctx, attemptCtx, err, connected)
	case !r.read && resp.Request != nil && resp.Request.Method == http.MethodGet:
		o = outcome{verdict: unknown, err: unexpected("the transport followed a redirect: the reply is to a GET")}
		o.status, o.requestID = resp.StatusCode, requestID(resp.Header, c.secret)
	case resp.StatusCode == http.StatusOK:
		o = c.readAnswer(ctx, attemptCtx, resp, r)
	default:
		o = c.readError(resp, r)
	}
	_, o.repeated = w.seen()
	return o
}

// withTimeout bounds an attempt.
func (c *Client) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if c.attemptTimeout == 0 || ok && time.Until(deadline) < c.attemptTimeout {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, c.attemptTimeout, attemptTimeout(c.attemptTimeout))
}

func (c *Client) newRequest(ctx context.Context, r request, w *wire) *http.Request {
	u := *r.url
	req := &http.Request{
		Method: r.method, URL: &u, Host: u.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header(),
	}
	if !r.read {
		req.Header["Content-Type"] = []string{"application/json"}
		req.Header["Accept-Encoding"] = []string{"identity"} // The answer is read to the letter.
		w.body.Reset(r.body)
		w.length = len(r.body)
		// Without GetBody nothing below can send the request again. NopCloser,
		// since net/http sends a body that it knows together with the header.
		req.Body, req.ContentLength = io.NopCloser(&w.body), int64(w.length)
	}
	return req.WithContext(w.traced(ctx))
}

// limits returns how long a 200 is expected to be, and how long it may be.
func (r request) limits() (expected, most int) {
	if r.read {
		return 1 << 20, 64 << 20
	}
	return len(r.body) + 512, max(16<<20, 4*len(r.body))
}

// readAnswer reads a 200.
func (c *Client) readAnswer(ctx, attemptCtx context.Context, resp *http.Response, r request) outcome {
	expected, limit := r.limits()
	body, err := readBody(resp, expected, limit+1)
	var o outcome
	switch encoding := stillEncoded(resp.Header); {
	case encoding != "":
		o = outcome{verdict: unknown, err: unexpected("200 OK is still encoded as " + quote(c.secret.strike(encoding)))}
	case len(body) > limit:
		o = outcome{verdict: unknown, err: unexpected(fmt.Sprintf("200 OK with a body of more than %d bytes", limit))}
		if !r.read { // Conversations are private.
			o.err = fmt.Errorf("%w: %s", o.err, c.secret.quote(body))
		}
	case err != nil:
		o = c.lost(ctx, attemptCtx, err, true)
	default:
		o = outcome{verdict: answered, body: body}
	}
	o.status, o.requestID = resp.StatusCode, requestID(resp.Header, c.secret)
	return o
}

// readError reads any other reply. If its body can't be read to its end, that
// costs the fields, not the status.
func (c *Client) readError(resp *http.Response, r request) outcome {
	var body []byte
	if resp.StatusCode >= 200 { // What follows a 101 is another protocol.
		body, _ = readBody(resp, 2*maxErrorBody, 2*maxErrorBody)
	}
	e := newErrorResponse(resp, body, c.secret)
	o := outcome{err: e, status: e.StatusCode, requestID: e.RequestID}
	o.verdict, o.retry = judge(e.StatusCode, e.RetryAfter)
	switch notFound := e.StatusCode == http.StatusNotFound; {
	case notFound && r.read && strings.TrimSpace(e.Message) == "":
		o.err = &strangeNotFound{e}
	case notFound && !strings.HasSuffix(r.url.Path, transcriptPath), e.StatusCode >= 300 && e.StatusCode < 400:
		o.err = fmt.Errorf("%w: check the base URL", e)
	}
	if e.StatusCode < 300 || e.StatusCode > 599 {
		e.Message, e.Text = "", "" // The whole reply is quoted instead.
		if r.read && isObject(e.Body) {
			e.Body = nil // Conversations are private.
		}
		o.err = unexpected(e.Error())
	}
	return o
}

func unexpected(what string) error { return fmt.Errorf("%w: %s", ErrUnexpectedResponse, what) }

// readBody reads resp's body to its end, or limit bytes of it. At first there is
// room for the length that the reply names, if that is not more than expected.
func readBody(resp *http.Response, expected, limit int) ([]byte, error) {
	if resp.Body == nil {
		return []byte{}, nil
	}
	size := 512
	if resp.ContentLength > 0 {
		size = int(min(resp.ContentLength, int64(expected))) + 1 // To meet the end without growing.
	}
	body := make([]byte, 0, size)
	for len(body) < limit {
		if len(body) == cap(body) {
			body = slices.Grow(body, len(body))
		}
		n, err := resp.Body.Read(body[len(body):min(cap(body), limit)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
	return body, nil
}

// lost is the outcome of an attempt without a complete reply. connected says
// whether it had obtained a connection, so that the request may have arrived.
func (c *Client) lost(ctx, attemptCtx context.Context, err error, connected bool) outcome {
	o := outcome{verdict: refused}
	if connected {
		o.verdict = unknown
	}
	timeout, timedOut := context.Cause(attemptCtx).(attemptTimeout)
	switch {
	case ctx.Err() != nil:
		o.err, o.cut = contextError(ctx, c.secret), true
		if !strings.Contains(err.Error(), context.Cause(ctx).Error()) { // A transport may have words of its own for it.
			o.err = fmt.Errorf("%w: %w", o.err, newForeignError("", err, c.secret))
		}
	case timedOut:
		o.err, o.retry = timeout, true
	default:
		o.err, o.retry = newForeignError("", err, c.secret), !permanent(err, connected)
	}
	return o
}

// permanent reports whether err, of a connection that could not be made, will
// be the same at the next attempt.
func permanent(err error, connected bool) bool {
	var certificate *tls.CertificateVerificationError
	var lookup *net.DNSError
	var tunnel *tunnelRefused
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return true
	case errors.As(err, &lookup):
		return lookup.IsNotFound
	case errors.As(err, &tunnel):
		return tunnel.status < 500
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return !connected // Later it is a damaged reply, not a plain port.
	}
	return false
}

// attemptTimeout is the error of an attempt that took longer than its bound. It
// is a net.Error, but not context.DeadlineExceeded: the caller's context goes on.
type attemptTimeout time.Duration

func (t attemptTimeout) Error() string {
	return fmt.Sprintf("no complete reply within the attempt timeout of %v", time.Duration(t))
}

func (t attemptTimeout) Timeout() bool        { return true }
func (t attemptTimeout) Temporary() bool      { return true }
func (t attemptTimeout) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// wire is what becomes of one request on its way. Other goroutines call the hooks.
type wire struct {
	body   bytes.Reader
	length int
	trace  httptrace.ClientTrace

	mu       sync.Mutex
	asked    bool     // for a connection
	got      bool     // one
	address  string   // of the connection that was asked for last
	written  []string // the address of each request written
	repeated bool     // more than one to the same address
}

func (w *wire) traced(ctx context.Context) context.Context {
	w.trace = httptrace.ClientTrace{GetConn: w.getConn, GotConn: w.gotConn, WroteHeaders: w.wroteHeaders}
	return httptrace.WithClientTrace(ctx, &w.trace)
}

func (w *wire) getConn(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.address = true, address
}

func (w *wire) gotConn(info httptrace.GotConnInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if info.Conn != nil && info.Conn.RemoteAddr() != nil {
		w.got = true
	} else {
		w.address = "" // httputil.DumpRequestOut writes to such a connection.
	}
}

func (w *wire) wroteHeaders() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.address != "" {
		w.repeated = w.repeated || slices.Contains(w.written, w.address)
		w.written = append(w.written, w.address)
	}
}

// seen reports whether the request may have reached the server, and whether the
// transport sent it more than once. If no hook was called, or the body was read,
// the transport may have sent it by other means.
func (w *wire) seen() (connected, repeated bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got || !w.asked || w.body.Len() < w.length, w.repeated
}
