package memoryplugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// config is what the options have set by the time NewClient reads it.
type config struct {
	baseURL        string
	insecureHTTP   bool
	httpClient     *http.Client
	product        string
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
		maxRetries:     4,
		backoff:        backoff{min: 500 * time.Millisecond, max: 30 * time.Second},
		maxRetryAfter:  time.Minute,
		attemptTimeout: time.Minute,
	}
}

// Option changes one setting of a [Client]. Options are applied in order, so
// the last of two equal ones counts. One that can't be used makes [NewClient]
// return an error that is [ErrInvalidArgument].
type Option func(*config) error

// Limiter delays attempts. Wait returns nil when one more attempt may be made,
// or an error, which ends the call. A *rate.Limiter of golang.org/x/time/rate
// is one. Wait must be safe for concurrent use, and return when the context ends.
type Limiter interface {
	Wait(context.Context) error
}

// WithBaseURL sets where the API is. It may carry a path prefix, under which
// the API's own paths are put. The default is [DefaultBaseURL].
//
// A URL with user info, a query or a fragment is refused, as is plain http to
// a host that is not loopback (see [WithInsecureHTTP]).
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

// WithHTTPClient sends through hc's Transport: for proxies, tracing or TLS
// settings. A nil Transport is [http.DefaultTransport], as it is for hc itself.
// hc's Timeout, if any, bounds each attempt as well. Its CheckRedirect and Jar
// are not used: a redirect is never followed. hc is read once, by [NewClient];
// it is never changed, and its idle connections are never closed.
//
// Without this option the Client has a transport of its own, which honours
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY, speaks HTTP/2 where the server does,
// and closes a connection that was idle for 4 seconds.
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

// WithBackoff sets the bounds of the wait between attempts. Before the n-th
// retry a call waits a random time between 0 and min·2ⁿ⁻¹, or max where that is
// less (exponential backoff with full jitter). The defaults are 500 ms and
// 30 s. Two zeros retry without a wait.
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
// asks for more ends its call at once, since an earlier try would be refused.
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
// a context bounds the whole call. The default is 60 s; 0 means no bound.
func WithAttemptTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("the attempt's time-out is negative: %v", d)
		}
		c.attemptTimeout = d
		return nil
	}
}

// WithLogger logs to l: each attempt at level Debug, each retry and each call
// that was given up at level Warn, with method, path, attempt, status and wait,
// but never a header or an id. Without it the SDK logs nothing.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return errors.New("the logger is nil")
		}
		c.logger = l
		return nil
	}
}

// WithLimiter waits on l before every attempt, retries included. An error of
// l ends the call. Without it attempts are not limited.
func WithLimiter(l Limiter) Option {
	return func(c *config) error {
		if v := reflect.ValueOf(l); !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil() {
			return errors.New("the limiter is nil")
		}
		c.limiter = l
		return nil
	}
}

// checkAPIKey says what keeps key from being sent in a header, without
// repeating any of it.
func checkAPIKey(key string) error {
	if strings.TrimSpace(key) == "" {
		return errors.New("the API key is empty")
	}
	if strings.TrimRight(key, "\r\n") != key {
		return errors.New("the API key ends with a newline: trim it if it was read from a file")
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the API key has a space, a control or a non-ASCII character: was it read from a file, or copied with its surroundings?")
	}
	return nil
}

// parseBaseURL returns rawURL without a slash at its end. Its errors don't
// repeat rawURL, which may hold a password.
func parseBaseURL(rawURL string, insecureHTTP bool) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", errors.New("the base URL can't be parsed")
	}
	port, err := strconv.Atoi(u.Port())
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("the base URL must begin with https:// (or http:// for loopback)")
	case u.Hostname() == "":
		return "", errors.New("the base URL has no host")
	case u.Port() != "" && (err != nil || port > 65535):
		return "", errors.New("the base URL's port is not a number up to 65535")
	case u.User != nil:
		return "", errors.New("the base URL has user info")
	case strings.ContainsAny(rawURL, "?#"):
		return "", errors.New("the base URL has a query or a fragment")
	case u.Scheme == "http" && !insecureHTTP && !isLoopback(u.Hostname()):
		return "", errors.New("the base URL would send the API key in the clear: use https, or WithInsecureHTTP")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func isLoopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}
