package memoryplugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// DefaultBaseURL is where the API is, unless [WithBaseURL] says otherwise.
const DefaultBaseURL = "https://www.memoryplugin.com"

// Version is the version of the SDK. It is sent in the User-Agent header.
const Version = "0.1.0"

// Client calls the MemoryPlugin API with one API key. Make it with [NewClient],
// once, and share it: it is safe for concurrent use, and all its calls share
// their connections, their retry budget and a server's Retry-After. Every
// method of a zero Client returns [ErrInvalidArgument].
type Client struct {
	baseURL        *url.URL // without a slash at its end
	secret         secret
	header         func() http.Header // of a request, to be changed at will; a func for the same reason as secret
	transport      http.RoundTripper
	attemptTimeout time.Duration
	limiter        Limiter
	logger         *slog.Logger
	retries        *retryPolicy
}

// NewClient returns a Client that sends apiKey as its bearer token. Nothing is
// sent yet. If the key or an option can't be used, the error is
// [ErrInvalidArgument].
func NewClient(apiKey string, opts ...Option) (*Client, error) {
	return newClient("new client", apiKey, defaultConfig(), opts)
}

// NewClientFromEnv is [NewClient] with the API key from MEMORYPLUGIN_API_KEY and
// the base URL from MEMORYPLUGIN_BASE_URL, if that is set. An option wins over
// the environment.
func NewClientFromEnv(opts ...Option) (*Client, error) {
	const operation = "new client from the environment"
	apiKey := os.Getenv("MEMORYPLUGIN_API_KEY")
	if apiKey == "" {
		return nil, invalidArgument(operation, errors.New("MEMORYPLUGIN_API_KEY is not set"))
	}
	config := defaultConfig()
	config.baseURL = cmp.Or(os.Getenv("MEMORYPLUGIN_BASE_URL"), config.baseURL)
	return newClient(operation, apiKey, config, opts)
}

// WithAPIKey returns a Client for another account, with the same settings. It
// shares c's connections, limiter and retry budget, so that a service with many
// accounts does not multiply an outage; a Retry-After holds back only the
// account that it was sent to. It costs little: make one for each call if you
// like. A service without a key of its own can give [NewClient] any text, such as
// "none", and call nothing with that Client but WithAPIKey. If apiKey can't be
// used, the error is [ErrInvalidArgument].
func (c *Client) WithAPIKey(apiKey string) (*Client, error) {
	if err := c.check(context.Background()); err != nil {
		return nil, invalidArgument("with API key", err)
	}
	other, err := c.withAPIKey(apiKey)
	if err != nil {
		return nil, invalidArgument("with API key", err)
	}
	return other, nil
}

func newClient(operation, apiKey string, config *config, opts []Option) (*Client, error) {
	c, err := config.apply(opts)
	if err == nil {
		c, err = c.withAPIKey(apiKey)
	}
	if err != nil {
		return nil, invalidArgument(operation, err)
	}
	return c, nil
}

// apply applies opts, and returns a Client without a key.
func (config *config) apply(opts []Option) (*Client, error) {
	for i, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("opts[%d] is nil", i)
		}
		if err := opt(config); err != nil {
			return nil, err
		}
	}
	baseURL, err := parseBaseURL(config.baseURL, config.insecureHTTP)
	if err != nil {
		return nil, err
	}
	header := config.header
	header.Set("Accept", "application/json")
	header.Set("User-Agent", strings.TrimSpace(config.product+" memoryplugin-go/"+Version))
	return &Client{
		baseURL:        baseURL,
		header:         func() http.Header { return maps.Clone(header) },
		transport:      config.transport(),
		attemptTimeout: config.shorterTimeout(),
		limiter:        config.limiter,
		logger:         config.logger,
		retries: &retryPolicy{
			maxRetries:    config.maxRetries,
			backoff:       config.backoff,
			maxRetryAfter: config.maxRetryAfter,
			budget:        &budget{},
		},
	}, nil
}

func (c *Client) withAPIKey(apiKey string) (*Client, error) {
	if err := checkAPIKey(apiKey); err != nil {
		return nil, err
	}
	header := c.header()
	header.Set("Authorization", "Bearer "+apiKey)
	retries := *c.retries
	retries.hold = &hold{} // A limit counts by key.
	other := *c
	other.secret = newSecret(apiKey)
	other.header = func() http.Header { return maps.Clone(header) }
	other.retries = &retries
	return &other, nil
}

// check refuses what no method can work with.
func (c *Client) check(ctx context.Context) error {
	if c == nil || c.transport == nil {
		return errors.New("the Client was not made by NewClient")
	}
	if ctx == nil {
		return errors.New("the context is nil")
	}
	return nil
}

func invalidArgument(operation string, err error) error {
	return fmt.Errorf("memoryplugin: %s: %w: %w", operation, ErrInvalidArgument, err)
}

// checkAPIKey says what keeps key from being sent in a header, without
// repeating any of it.
func checkAPIKey(key string) error {
	switch {
	case strings.TrimSpace(key) == "":
		return errors.New("the API key is empty")
	case strings.TrimRight(key, "\r\n") != key:
		return errors.New("the API key ends with a newline: trim it if it was read from a file")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the API key has a space, a control character or a non-ASCII character: was it read from a file, or copied with text around it?")
	case len(key) > 1 && key[0] == key[len(key)-1] && strings.Contains(`"'`+"`", key[:1]):
		return errors.New("the API key is in quotes: remove them (docker --env-file keeps them, for example)")
	}
	return nil
}
