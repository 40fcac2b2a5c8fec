package memoryplugin_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

// verdict is what an attempt tells about the deletion.
type verdict int

const (
	answered verdict = iota // a complete 200 of the documented shape
	refused                 // nothing was applied
	unknown                 // it may have been applied
)

// kind is one way in which an attempt can end, with what the SDK promises to
// make of it.
type kind struct {
	name       string
	verdict    verdict
	retried    bool
	endsRun    bool          // no other batch would do better
	reason     error         // for that
	holds      time.Duration // a Retry-After
	unexpected bool          // the error is ErrUnexpectedResponse
	connects   bool
	late       bool // it is applied when the client has given up
	twin       bool // another kind means just the same
	play       func(*exchange) (*http.Response, error)
}

// event is what happens to a call during an attempt. None is followed by another one.
type event string

const (
	nothing   event = ""
	cancelled event = ", cancelled meanwhile"
	canceling event = ", cancelled during the wait"
	stopped   event = ", stopped meanwhile"
	stopping  event = ", stopped during the wait"
)

var (
	noEvents  = []event{nothing}
	cancels   = []event{nothing, cancelled, canceling}
	stops     = []event{nothing, stopped, stopping}
	allEvents = []event{nothing, cancelled, stopped, canceling, stopping}
)

// possible are the events that can happen during x.
func (x *exchange) possible() []event {
	switch {
	case x.request.Context().Err() != nil:
		return noEvents
	case x.kind.holds > 0 && x.kind.retried:
		return x.events
	}
	return slices.DeleteFunc(slices.Clone(x.events), func(e event) bool { return e == canceling || e == stopping })
}

func (x *exchange) happen(e event) {
	x.event = e
	switch e {
	case cancelled, canceling:
		x.end(context.Canceled)
		x.after(e == canceling, x.cancel)
	case stopped, stopping:
		x.end(memoryplugin.ErrStopped)
		x.after(e == stopping, x.endGently)
	}
}

// after ends the call now, or in the middle of the wait that follows.
func (x *exchange) after(wait bool, end func()) {
	if !wait {
		end()
		return
	}
	time.AfterFunc(x.kind.holds/2, end)
}

// endGently closes Stop.
func (c *modelCall) endGently() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
}

// memoryConn has an address, as a real connection has.
type memoryConn struct{ net.Conn }

func (memoryConn) RemoteAddr() net.Addr { return &net.TCPAddr{Port: 443} }

var tooLarge = final(status(413, refused))

// everyKind has each row of the table of outcomes, and in each row those that an
// SDK might take for something else.
var everyKind = slices.Concat(modelAnswers(), modelRefusals(), modelDoubts())

// distinctKinds has one of each, for sequences that are too many otherwise.
var distinctKinds = slices.DeleteFunc(slices.Clone(everyKind), func(k *kind) bool { return k.twin })

// modelAnswers are the documented replies, and those that contradict themselves.
func modelAnswers() []*kind {
	return []*kind{
		says("a list and a count", wholeTruth, func(gone []string) string { return listAndCount(gone, len(gone)) }),
		says("a count", countAlone, func(gone []string) string { return fmt.Sprintf(`{"count":%d}`, len(gone)) }),
		contradicts("a list with a stranger", wholeTruth, func(gone []string) string {
			return listAndCount(append([]string{"stranger"}, gone...), len(gone)+1)
		}),
		contradicts("an empty list and a count of one", emptyList, func([]string) string { return listAndCount(nil, 1) }),
		twin(says("a list", wholeTruth, func(gone []string) string { return `{"deleted":` + jsonList(gone) + `}` })),
		twin(says("a list in another order", wholeTruth, func(gone []string) string {
			backward := slices.Clone(gone)
			slices.Reverse(backward)
			return fmt.Sprintf(`{"error":null, "count":%d, "deleted":%s, "ok":true}`, len(gone), jsonList(backward))
		})),
		twin(says("a list with repetitions", wholeTruth, func(gone []string) string { return listAndCount(slices.Concat(gone, gone), len(gone)) })),
		twin(says("null and a count", countAlone, func(gone []string) string { return fmt.Sprintf(`{"deleted":null,"count":%d}`, len(gone)) })),
		twin(contradicts("a list and a count of one more", wholeTruth, func(gone []string) string { return listAndCount(gone, len(gone)+1) })),
		twin(contradicts("a list and a count without end", wholeTruth, func(gone []string) string { return `{"deleted":` + jsonList(gone) + `,"count":99999999999999999999}` })),
		twin(contradicts("a list and an error", wholeTruth, func(gone []string) string { return `{"deleted":` + jsonList(gone) + `,"error":"busy"}` })),
		twin(contradicts("an empty list and an error", emptyList, func([]string) string { return `{"deleted":[],"count":0,"error":"busy"}` })),
		twin(contradicts("0 and an error", emptyList, func([]string) string { return `{"count":0,"error":"busy"}` })),
	}
}

func listAndCount(ids []string, count int) string {
	return fmt.Sprintf(`{"deleted":%s,"count":%d}`, jsonList(ids), count)
}

// jsonList lists ids that need no escapes.
func jsonList(ids []string) string {
	if len(ids) == 0 {
		return "[]"
	}
	return `["` + strings.Join(ids, `","`) + `"]`
}

// telling is what a reply tells: the ids that it lists, and whether it is the
// whole truth.
type telling func(ids, gone []string) (listed []string, whole bool)

func wholeTruth(_, gone []string) ([]string, bool) { return gone, true }
func emptyList(_, _ []string) ([]string, bool)     { return nil, true }

// countAlone says something if it is the number of all, or 0.
func countAlone(ids, gone []string) ([]string, bool) {
	if len(gone) == len(ids) {
		return ids, true
	}
	return nil, len(gone) == 0
}

// says is a complete 200.
func says(name string, tells telling, body func(gone []string) string) *kind {
	return &kind{name: name, verdict: answered, connects: true, play: func(x *exchange) (*http.Response, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		listed, whole := tells(x.ids, x.applied)
		x.tell(listed, whole)
		x.unexpected = x.unexpected || !whole
		return httpReply(200, strings.NewReader(body(x.applied))), nil
	}}
}

// contradicts is a 200 that can't be trusted for what it leaves out.
func contradicts(name string, tells telling, body func(gone []string) string) *kind {
	partly := func(ids, gone []string) ([]string, bool) {
		listed, _ := tells(ids, gone)
		return listed, false
	}
	return says(name, partly, body)
}

// modelRefusals are what tells that nothing was applied.
func modelRefusals() []*kind {
	badCertificate := &tls.CertificateVerificationError{Err: errors.New("expired")}
	return []*kind{
		noConnection("no connection", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}),
		final(noConnection("a bad certificate", badCertificate)), twin(unreached("an unknown host", unknownHost)), twin(unreached("TLS to a plain port", plainPort)),
		status(429, refused), retryAfterOf(1, status(429, refused)), endsRun(memoryplugin.ErrRateLimited, final(retryAfterOf(3600, status(429, refused)))),
		final(status(400, refused)), endsRun(memoryplugin.ErrUnauthorized, final(status(401, refused))), tooLarge,
		twin(status(425, refused)), twin(retryAfterOf(1, status(403, refused))), twin(cutBody(status(429, refused))),
		twin(final(status(403, refused))), twin(final(status(404, refused))), twin(cutBody(final(status(400, refused)))), twin(stallBody(final(status(409, refused)))),
		twin(final(status(501, refused))), twin(final(status(505, refused))),
		twin(final(status(307, refused))), twin(final(status(308, refused))),
	}
}

// modelDoubts are what leaves open whether the deletion was applied.
func modelDoubts() []*kind {
	return slices.Concat([]*kind{
		status(408, unknown), status(503, unknown), retryAfterOf(1, status(503, unknown)),
		endsRun(nil, final(retryAfterOf(3600, status(503, unknown)))), final(status(302, unknown)),
		lost("a reset", resetByPeer), lost("a reply cut short", cutShort), lost("silence", silence), late(lost("silence, then", silence)),
		twin(withoutHooks(lost("an end without hooks", resetByPeer))), twin(lost("a reply that stalls", stalls)), twin(lost("a reply cut after its text", cutAtEnd)),
		twin(status(460, unknown)), twin(status(499, unknown)), twin(status(500, unknown)), twin(cutBody(status(502, unknown))), twin(stallBody(status(504, unknown))),
		twin(final(status(304, unknown))),
	}, undocumented(), sentTwice())
}

// undocumented are complete replies that tell nothing, and are never retried.
func undocumented() []*kind {
	kinds := []*kind{
		strange(body200("another shape", `{"ok":true}`)), strange(final(status(201, unknown))),
		twin(strange(body200("an empty object", `{}`))), twin(strange(body200("nothing", ``))),
		twin(strange(body200("no JSON", `<html>`))), twin(strange(body200("half of an object", `{"deleted":["a"`))),
		twin(strange(body200("two lists", `{"deleted":[],"deleted":[]}`))), twin(strange(body200("a string as the list", `{"deleted":""}`))),
		twin(strange(body200("half of a surrogate pair", `{"deleted":["\ud800"]}`))), twin(strange(body200("a count of 1.0", `{"count":1.0}`))),
		twin(strange(body200("too long a list", `{"deleted":[`+strings.Repeat(`"a",`, 20)+`"a"]}`))),
		twin(strange(toGet(body200("a reply to a GET", `{"deleted":[],"count":0}`)))),
		twin(strange(body200("an encoded reply", `{"deleted":[],"count":0}`, "Content-Encoding", "br"))),
	}
	for _, code := range []int{101, 204, 600} {
		kinds = append(kinds, twin(strange(final(status(code, unknown)))))
	}
	return kinds
}

// sentTwice are what a transport brings home that has sent a request again.
func sentTwice() []*kind {
	twice := func(k *kind) *kind {
		play := k.play
		k.name, k.verdict = k.name+" (sent twice)", unknown
		k.play = func(x *exchange) (*http.Response, error) {
			x.connect()
			return play(x)
		}
		return k
	}
	return []*kind{
		twice(body200("an empty list", `{"deleted":[],"count":0}`)),
		twin(twice(status(429, refused))), twin(twice(final(status(400, refused)))),
	}
}

// cutOff are the ends of a request whose context is done: by the caller, or by the
// timeout of the attempt, which is retried.
var cutOff = []*kind{
	noConnection("no connection in time", context.Canceled),
	lost("cut off", silence),
	late(lost("cut off, then", silence)),
}

// status is a reply with a status. It is retried, unless it is final.
func status(code int, v verdict) *kind {
	return &kind{name: strconv.Itoa(code), verdict: v, retried: true, connects: true, play: func(x *exchange) (*http.Response, error) {
		return httpReply(code, strings.NewReader(`{"error":"busy"}`)), nil
	}}
}

func final(k *kind) *kind { k.retried = false; return k }

func endsRun(reason error, k *kind) *kind { k.endsRun, k.reason = true, reason; return k }

func late(k *kind) *kind { k.late = true; return k }

func twin(k *kind) *kind { k.twin = true; return k }

func retryAfterOf(seconds int, k *kind) *kind {
	play := k.play
	k.holds = time.Duration(seconds) * time.Second
	k.name += ", Retry-After: " + k.holds.String()
	k.play = func(x *exchange) (*http.Response, error) {
		if x.kind.retried {
			x.mu.Lock()
			x.hold(x.kind.holds)
			x.mu.Unlock()
		}
		resp, err := play(x)
		resp.Header.Set("Retry-After", strconv.Itoa(seconds))
		return resp, err
	}
	return k
}

// cutBody ends the body of a reply too early. The status says enough.
func cutBody(k *kind) *kind {
	return withBody(k, " cut short", func(*exchange) io.Reader { return eof{} })
}

// stallBody never ends the body of a reply.
func stallBody(k *kind) *kind {
	return withBody(k, " that stalls", func(x *exchange) io.Reader { return stalled{x} })
}

func withBody(k *kind, name string, body func(*exchange) io.Reader) *kind {
	play := k.play
	k.name += name
	k.play = func(x *exchange) (*http.Response, error) {
		resp, err := play(x)
		resp.Body = io.NopCloser(body(x))
		return resp, err
	}
	return k
}

// body200 is a complete 200 after which the request may have been applied.
func body200(name, body string, header ...string) *kind {
	return &kind{name: name, verdict: unknown, connects: true, play: func(x *exchange) (*http.Response, error) {
		resp := httpReply(200, strings.NewReader(body))
		for i := 0; i < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		return resp, nil
	}}
}

// toGet makes a reply one that a transport has got from elsewhere.
func toGet(k *kind) *kind {
	play := k.play
	k.play = func(x *exchange) (*http.Response, error) {
		resp, err := play(x)
		resp.Request = &http.Request{Method: http.MethodGet}
		return resp, err
	}
	return k
}

// strange is a reply that the API does not document.
func strange(k *kind) *kind { k.unexpected = true; return k }

// lost is the end of an attempt whose reply is not complete.
func lost(name string, play func(*exchange) (*http.Response, error)) *kind {
	return &kind{name: name, verdict: unknown, retried: true, connects: true, play: play}
}

// withoutHooks is a caller's own transport.
func withoutHooks(k *kind) *kind { k.connects = false; return k }

func noConnection(name string, err error) *kind {
	return &kind{name: name, verdict: refused, retried: true, play: func(x *exchange) (*http.Response, error) {
		httptrace.ContextClientTrace(x.request.Context()).GetConn("memory:443")
		return nil, err
	}}
}

// unreached is a connection that net/http itself can't make, with its own hooks and
// errors. A context that ends meanwhile comes too late to be the reason.
func unreached(name string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *kind {
	return &kind{name: name, verdict: refused, play: func(x *exchange) (*http.Response, error) {
		tr := &http.Transport{DialContext: dial}
		return tr.RoundTrip(x.request.WithContext(context.WithoutCancel(x.request.Context())))
	}}
}

func unknownHost(_ context.Context, network, address string) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}}
}

// plainPort is connected, but does not answer a TLS handshake with another.
func plainPort(ctx context.Context, network, address string) (net.Conn, error) {
	w := &wire{steps: []func(*wireConn){func(c *wireConn) {
		_, _ = c.r.Peek(1)
		c.send("HTTP/1.1 400 Bad Request\r\n\r\n")
	}}}
	return w.dial(ctx, network, address)
}

func resetByPeer(*exchange) (*http.Response, error) {
	return nil, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
}

func silence(x *exchange) (*http.Response, error) {
	<-x.request.Context().Done()
	return nil, x.request.Context().Err()
}

func cutShort(x *exchange) (*http.Response, error) { return httpReply(200, x.half(), eof{}), nil }

func cutAtEnd(x *exchange) (*http.Response, error) {
	return httpReply(200, strings.NewReader(listAndCount(x.applied, len(x.applied))), eof{}), nil
}

func stalls(x *exchange) (*http.Response, error) {
	return httpReply(200, x.half(), stalled{x}), nil
}

// half is the first half of a reply that confirms everything.
func (x *exchange) half() io.Reader {
	text := listAndCount(x.ids, len(x.ids))
	return strings.NewReader(text[:len(text)/2])
}

// stalled is the rest of a body that never comes.
type stalled struct{ *exchange }

func (s stalled) Read([]byte) (int, error) {
	ctx := s.request.Context()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = time.Now()
	return 0, ctx.Err()
}

// eof is the end of a body that comes too early.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func httpReply(code int, body ...io.Reader) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(body...)), ContentLength: -1}
}
