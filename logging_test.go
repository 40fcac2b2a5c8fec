package memoryplugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// logLine is what a reader of the log looks for. A wait that is not there is 0.
type logLine struct {
	Level, Method, Path string
	Attempt, Status     int
	Wait                time.Duration
	Reason              string
}

// newLog returns an option that logs everything, and what is logged so far.
func newLog() (memoryplugin.Option, func() []logLine) {
	var buf bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return memoryplugin.WithLogger(logger), func() []logLine {
		var lines []logLine
		for text := range strings.Lines(buf.String()) {
			var line logLine
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				panic(err)
			}
			lines = append(lines, line)
		}
		return lines
	}
}

func TestWithoutALoggerNothingIsLogged(t *testing.T) {
	for _, std := range []**os.File{&os.Stdout, &os.Stderr} {
		before := *std
		file, err := os.Create(filepath.Join(t.TempDir(), "std"))
		require.NoError(t, err)
		*std = file
		t.Cleanup(func() {
			*std = before
			printed, err := os.ReadFile(file.Name())
			assert.NoError(t, err)
			assert.Empty(t, string(printed))
			assert.NoError(t, file.Close())
		})
	}
	var logged bytes.Buffer
	log.SetOutput(&logged)
	level := slog.SetLogLoggerLevel(slog.LevelDebug)
	t.Cleanup(func() {
		slog.SetLogLoggerLevel(level)
		log.SetOutput(os.Stderr)
	})
	srv := serve(t, reply(503, "busy"), drop, reply(401, ""))

	_, err := newClient(t, srv.URL).DeleteConversations(t.Context(), onlyA)

	require.Error(t, err)
	assert.Empty(t, logged.String())
}

func TestEveryAttemptIsLoggedAndEveryRetryWithItsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, lines := newLog()
		srv := remember(reply(503, "", "Retry-After", "2"), drop, reply(429, "", "Retry-After", "3"), aDeleted)
		client := srv.client(t, logger, memoryplugin.WithBackoff(0, 0), memoryplugin.WithBaseURL("http://localhost/prefix"))

		_, err := client.DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		const path = "/prefix/api/chat-history/chats"
		assert.Equal(t, []logLine{
			{Level: "DEBUG", Method: "DELETE", Path: path, Attempt: 1, Status: 503},
			{Level: "WARN", Method: "DELETE", Path: path, Attempt: 1, Status: 503, Wait: 2 * time.Second},
			{Level: "DEBUG", Method: "DELETE", Path: path, Attempt: 2},
			{Level: "WARN", Method: "DELETE", Path: path, Attempt: 2},
			{Level: "DEBUG", Method: "DELETE", Path: path, Attempt: 3, Status: 429},
			{Level: "WARN", Method: "DELETE", Path: path, Attempt: 3, Status: 429, Wait: 3 * time.Second},
			{Level: "DEBUG", Method: "DELETE", Path: path, Attempt: 4, Status: 200},
		}, lines())
	})
}

func TestGivingUpIsLoggedOnceWithItsReason(t *testing.T) {
	for name, test := range map[string]struct {
		step    http.HandlerFunc
		opt     memoryplugin.Option
		timeout time.Duration
		status  int
		attempt int
		reason  string
	}{
		"no retries left":  {reply(503, ""), memoryplugin.WithMaxRetries(0), time.Hour, 503, 1, ""},
		"not retried":      {reply(401, ""), memoryplugin.WithMaxRetries(4), time.Hour, 401, 1, ""},
		"above the cap":    {reply(429, "", "Retry-After", "61"), memoryplugin.WithMaxRetries(4), time.Hour, 429, 1, "1m1s"},
		"a near deadline":  {reply(429, "", "Retry-After", "5"), memoryplugin.WithMaxRetries(4), time.Second, 429, 1, "deadline"},
		"the context ends": {mute, memoryplugin.WithMaxRetries(4), time.Second, 0, 1, "deadline"},
		"the limiter fails": {
			aDeleted, memoryplugin.WithLimiter(limiter(func(context.Context) error { return errors.New("no more") })), time.Hour,
			0, 0, "no more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logger, lines := newLog()
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()

				_, err := remember(test.step).client(t, logger, test.opt).DeleteConversations(ctx, onlyA)

				require.Error(t, err)
				var warnings []logLine
				for _, line := range lines() {
					if line.Level == "WARN" {
						warnings = append(warnings, line)
					}
				}
				require.Len(t, warnings, 1)
				assert.Equal(t, "DELETE", warnings[0].Method)
				assert.Equal(t, "/api/chat-history/chats", warnings[0].Path)
				assert.Equal(t, test.attempt, warnings[0].Attempt)
				assert.Equal(t, test.status, warnings[0].Status)
				assert.Contains(t, warnings[0].Reason, test.reason)
			})
		})
	}
}

func TestALoggerAtLevelWarnSeesNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelWarn}))
		srv := remember(reply(503, ""), aDeleted)
		client := srv.client(t, memoryplugin.WithLogger(logger))

		_, err := client.DeleteConversations(t.Context(), onlyA)

		require.NoError(t, err)
		assert.Equal(t, 1, strings.Count(buf.String(), "\n"), "the retry and nothing else")
		assert.Contains(t, buf.String(), "level=WARN")
	})
}

func TestTheLogNeverHasAHeaderAnIDOrTheKey(t *testing.T) {
	words := "conv-secret " + testKey
	ids := []string{"conv-secret"}
	for name, call := range map[string]func(*testing.T, memoryplugin.Option) error{
		"a reply": func(t *testing.T, logger memoryplugin.Option) error {
			srv := remember(reply(503, words, "X-Request-Id", "header-value"))
			_, err := srv.client(t, logger).DeleteConversations(t.Context(), ids)
			return err
		},
		"a reply before an attempt that the context ended": func(t *testing.T, logger memoryplugin.Option) error {
			srv := remember(reply(503, words), mute)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := srv.client(t, logger).DeleteConversations(ctx, ids)
			return err
		},
		"the reply that held back a call": func(t *testing.T, logger memoryplugin.Option) error {
			client := remember(reply(503, words, "Retry-After", "30")).client(t, logger)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := client.DeleteConversations(ctx, ids)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = client.DeleteConversations(ctx, ids)
			return err
		},
		"an answer of no sense": func(t *testing.T, logger memoryplugin.Option) error {
			_, err := remember(reply(503, ""), reply(200, words)).client(t, logger).DeleteConversations(t.Context(), ids)
			return err
		},
		"a transport's error": func(t *testing.T, logger memoryplugin.Option) error {
			client := newClient(t, "http://localhost", logger, memoryplugin.WithHTTPClient(&http.Client{
				Transport: transport(func(*http.Request) (*http.Response, error) { return nil, errors.New(testKey + " is bad") }),
			}))
			_, err := client.DeleteConversations(t.Context(), ids)
			return err
		},
		"a limiter's error": func(t *testing.T, logger memoryplugin.Option) error {
			client := remember(aDeleted).client(t, logger, memoryplugin.WithLimiter(limiter(func(context.Context) error {
				return errors.New(testKey + " is bad")
			})))
			_, err := client.DeleteConversations(t.Context(), ids)
			return err
		},
		"a context's cause": func(t *testing.T, logger memoryplugin.Option) error {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errors.New(testKey + " is bad"))
			_, err := remember(aDeleted).client(t, logger).DeleteConversations(ctx, ids)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var buf bytes.Buffer
				all := &slog.HandlerOptions{Level: slog.LevelDebug}
				logger := slog.New(slog.NewMultiHandler(slog.NewTextHandler(&buf, all), slog.NewJSONHandler(&buf, all)))

				err := call(t, memoryplugin.WithLogger(logger))

				require.Error(t, err)
				require.NotEmpty(t, buf.String())
				for _, secret := range []string{testKey, "conv-secret", "header-value", "Authorization"} {
					assert.NotContains(t, buf.String(), secret)
				}
			})
		})
	}
}
