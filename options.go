package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// config is what the options have set by the time NewClient reads it.
type config struct {
	baseURL        string
	insecureHTTP   bool
	httpClient     *http.Client
	product        string
	header         http.Header
	maxRetries     int
	backoff        backoff
	maxRetryAfter  time.Duration
	attemptTimeout time.Duration
	logger         *slog.Logger
	limiter        Limiter
}

func defaultConfig() *config {
	return &config{
		baseURL:        DefaultBaseURL,
		header:         http.Header{},
		maxRetries:     4,
		backoff:        backoff{min: 500 * time.Millisecond, max: 30 * time.Second},
		maxRetryAfter:  time.Minute,
		attemptTimeout: time.Minute,
	}
}

// transport returns the caller's, which is called directly: an http.Client fails
// on a redirect whose Location it can't parse, even if told not to follow it.
func (c *config) transport() http.RoundTripper {
	switch {
	case c.httpClient == nil:
		return NewTransport()
	case c.httpClient.Transport == nil:
		return http.DefaultTransport
	}
	return c.httpClient.Transport
}

// shorterTimeout returns the bound of an attempt, which is 0 if there is none.
func (c *config) shorterTimeout() time.Duration {
	if c.httpClient == nil || c.httpClient.Timeout <= 0 {
		return c.attemptTimeout
	}
	if c.attemptTimeout == 0 {
		return c.httpClient.Timeout
	}
	return min(c.attemptTimeout, c.httpClient.Timeout)
}

// Option changes one setting of a [Client]. Options are applied in order, so
// the last of two equal ones counts. If one can't be used, [NewClient] returns
// an error that is [ErrInvalidArgument].
type Option func(*config) error

// Limiter delays attempts. Wait returns nil once another attempt may be made, or
// an error, which ends the call. A *rate.Limiter of golang.org/x/time/rate is
// one. Wait must be safe for concurrent use, and return when its context ends.
type Limiter interface {
	Wait(context.Context) error
}

// WithBaseURL sets where the API is. It may carry a path prefix, under which
// the API's own paths are put. The default is [DefaultBaseURL].
//
// A URL with user info, a query or a fragment is refused, as are a host that is
// not ASCII and plain http to one that is not loopback (see [WithInsecureHTTP]).
func WithBaseURL(rawURL string) Option {
	return func(c *config) error {
		c.baseURL = rawURL
		return nil
	}
}

// WithInsecureHTTP allows a base URL with http:// to a host that is not
// loopback. The API key and the ids then travel in the clear. Without it such
// a URL is refused.
func WithInsecureHTTP() Option {
	return func(c *config) error {
		c.insecureHTTP = true
		return nil
	}
}

// WithHTTPClient sends through hc's Transport, for proxies, tracing or TLS
// settings; see [NewTransport] for one to start from. A nil Transport is
// [http.DefaultTransport], as it is for hc itself. hc's Timeout, if any, bounds
// each attempt as well. Its CheckRedirect and Jar are not used: a redirect is
// never followed. The transport should not send a request again by itself: that
// is noticed, and accounted for, only if it is to the same address. hc is read
// once, by [NewClient]; it is never changed, and its idle connections are never
// closed. Without this option the Client has a transport of its own.
func WithHTTPClient(hc *http.Client) Option {
	return func(c *config) error {
		if hc == nil {
			return errors.New("the http.Client is nil")
		}
		c.httpClient = hc
		return nil
	}
}

// WithUserAgent puts product, such as "my-service/1.4", before the SDK's own
// product token in the User-Agent header. By default only the SDK's is sent.
func WithUserAgent(product string) Option {
	return func(c *config) error {
		if strings.TrimSpace(product) == "" {
			return errors.New("the user agent is blank")
		}
		if strings.ContainsFunc(product, func(r rune) bool { return r < ' ' || r > '~' }) {
			return errors.New("the user agent has a control or a non-ASCII character")
		}
		c.product = product
		return nil
	}
}

// WithHeader sends a header with every request, for gateways that want one. It
// is not for headers that the SDK or HTTP itself sets: Authorization, Accept,
// Accept-*, Content-*, Host, User-Agent, Connection, Transfer-Encoding, Trailer
// and Expect are refused, as are a name that is no token and a value with a
// control character. The last of two values for one name counts.
func WithHeader(name, value string) Option {
	return func(c *config) error {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			return fmt.Errorf("the header name %s is not a token", quote(name))
		case isReserved(canonical):
			return fmt.Errorf("the header %s is set by the SDK", canonical)
		case strings.ContainsFunc(value, unicode.IsControl):
			return fmt.Errorf("the value of the header %s has a control character", canonical)
		}
		c.header[canonical] = []string{value}
		return nil
	}
}

func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isReserved(canonical string) bool {
	switch canonical {
	case "Authorization", "Accept", "Host", "User-Agent", "Connection", "Transfer-Encoding", "Trailer", "Expect":
		return true
	}
	return strings.HasPrefix(canonical, "Accept-") || strings.HasPrefix(canonical, "Content-")
}

// WithMaxRetries sets how many more attempts may follow the first one of a
// call. The default is 4; 0 turns retries off.
func WithMaxRetries(n int) Option {
	return func(c *config) error {
		if n < 0 {
			return fmt.Errorf("the number of retries is negative: %d", n)
		}
		c.maxRetries = n
		return nil
	}
}

// WithBackoff sets how long a call waits between attempts: exponential backoff
// with full jitter. Before the n-th retry it waits a random time between 0 and
// min·2ⁿ⁻¹, or max if that is less. So min bounds the ceiling of the first wait,
// not the wait itself. The defaults are 500 ms and 30 s. Two zeros retry without
// a wait.
func WithBackoff(min, max time.Duration) Option {
	return func(c *config) error {
		if min < 0 || max < min {
			return fmt.Errorf("a backoff from %v to %v: want 0 <= min <= max", min, max)
		}
		c.backoff = backoff{min: min, max: max}
		return nil
	}
}

// WithMaxRetryAfter sets the longest Retry-After that is obeyed. A reply that
// asks for more ends its call at once, since an earlier attempt would be refused.
// The default is 60 s; with 0 every Retry-After ends the call.
func WithMaxRetryAfter(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("the longest Retry-After is negative: %v", d)
		}
		c.maxRetryAfter = d
		return nil
	}
}

// WithAttemptTimeout bounds one attempt, from connecting to the end of the
// reply's body. The waits between attempts and for a [Limiter] are outside it;
// to bound a whole call, give its context a deadline. The default is 60 s; 0
// means no bound.
func WithAttemptTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("the attempt's timeout is negative: %v", d)
		}
		c.attemptTimeout = d
		return nil
	}
}

// WithLogger logs to l: each attempt at level Debug, with its duration; each
// retry, each wait for a Retry-After of another call or between failed batches,
// and each call that was given up at level Warn. A line has method, path,
// attempt, status, request id, wait and error, if there is one, but never a
// header, an id or a word of a reply's body. Without this option the SDK logs
// nothing.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return errors.New("the logger is nil")
		}
		c.logger = l
		return nil
	}
}

// WithLimiter waits on l before every attempt, retries included. If l returns an
// error, the call ends. Without this option attempts are not limited.
func WithLimiter(l Limiter) Option {
	return func(c *config) error {
		if v := reflect.ValueOf(l); !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil() {
			return errors.New("the limiter is nil")
		}
		c.limiter = l
		return nil
	}
}

// parseBaseURL returns rawURL without a slash at its end. Its errors don't
// repeat rawURL, which may hold a password.
func parseBaseURL(rawURL string, insecureHTTP bool) (*url.URL, error) {
	if strings.ContainsFunc(rawURL, func(r rune) bool { return r <= ' ' || r == '\x7f' }) {
		return nil, errors.New("the base URL has a space, a newline or another control character: was it read from a file?")
	}
	u, err := url.Parse(strings.TrimRight(rawURL, "/"))
	if err != nil {
		return nil, errors.New("the base URL can't be parsed")
	}
	port, _ := strconv.Atoi(u.Port()) // Parse takes digits alone.
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the base URL must begin with https:// (or http:// for loopback)")
	case u.Hostname() == "":
		return nil, errors.New("the base URL has no host")
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }):
		return nil, errors.New("the base URL's host is not ASCII: write it as it is in DNS (xn--...)")
	case port > math.MaxUint16:
		return nil, errors.New("the base URL's port is not a number up to 65535")
	case u.User != nil:
		return nil, errors.New("the base URL has user info")
	case strings.ContainsAny(rawURL, "?#"):
		return nil, errors.New("the base URL has a query or a fragment")
	case u.Scheme == "http" && !insecureHTTP && !isLoopback(u.Hostname()):
		return nil, errors.New("the base URL would send the API key in the clear: use https, or WithInsecureHTTP")
	}
	return u, nil
}

func isLoopback(host string) bool {
	// EqualFold would take a long s for an s.
	return strings.ToLower(host) == "localhost" || net.ParseIP(host).IsLoopback()
}
