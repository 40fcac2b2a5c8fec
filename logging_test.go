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

// line is one line of a log, without its time.
type line map[string]any

// aboutAttempt is what every line has in common.
func aboutAttempt(level, msg string, attempt int, more line) line {
	about := line{
		"level": level, "msg": "memoryplugin: " + msg,
		"method": "DELETE", "path": "/api/chat-history/chats", "attempt": float64(attempt),
	}
	for key, value := range more {
		about[key] = value
	}
	return about
}

// recordLog returns an option that logs everything, and the lines so far.
func recordLog(t *testing.T) (memoryplugin.Option, func() []line) {
	t.Helper()
	var buf bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return memoryplugin.WithLogger(logger), func() []line {
		var lines []line
		for text := range strings.Lines(buf.String()) {
			var l line
			require.NoError(t, json.Unmarshal([]byte(text), &l))
			delete(l, "time")
			lines = append(lines, l)
		}
		return lines
	}
}

// nanos is d as slog's JSON has it.
func nanos(d time.Duration) float64 { return float64(d) }

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

	_, err := deleteA(t.Context(), newClient(t, srv.URL))

	require.Error(t, err)
	assert.Empty(t, logged.String())
}

func TestAnAttemptIsLoggedWithItsDurationAndRequestID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, lines := recordLog(t)
		srv := remember(slow(2*time.Second, reply(200, onlyADeleted, "X-Request-Id", "req_1")))

		_, err := deleteA(t.Context(), srv.client(t, logger))

		require.NoError(t, err)
		assert.Equal(t, []line{
			aboutAttempt("DEBUG", "attempt", 1, line{"status": 200.0, "request_id": "req_1", "duration": nanos(2 * time.Second)}),
		}, lines())
	})
}

func TestEveryRetryIsLoggedWithItsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, lines := recordLog(t)
		srv := remember(reply(503, "", "Retry-After", "2", "X-Request-Id", "req_1"), drop, aDeleted)

		_, err := deleteA(t.Context(), srv.client(t, logger, memoryplugin.WithBackoff(0, 0)))

		require.NoError(t, err)
		assert.Equal(t, []line{
			aboutAttempt("DEBUG", "attempt", 1, line{"status": 503.0, "request_id": "req_1", "duration": 0.0}),
			aboutAttempt("WARN", "retrying", 1, line{"status": 503.0, "request_id": "req_1", "wait": nanos(2 * time.Second)}),
			aboutAttempt("DEBUG", "attempt", 2, line{"duration": 0.0, "error": "EOF"}),
			aboutAttempt("WARN", "retrying", 2, line{"wait": 0.0, "error": "EOF"}),
			aboutAttempt("DEBUG", "attempt", 3, line{"status": 200.0, "duration": 0.0}),
		}, lines())
	})
}

func TestAWaitForTheRetryAfterOfAnotherCallIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, lines := recordLog(t)
		client := once(t, remember(reply(429, "", "Retry-After", "30"), aDeleted), logger)
		_, err := deleteA(t.Context(), client)
		require.ErrorIs(t, err, memoryplugin.ErrRateLimited)
		before := len(lines())

		_, err = deleteA(t.Context(), client)

		require.NoError(t, err)
		assert.Equal(t, []line{
			aboutAttempt("WARN", "waiting", 0, line{"wait": nanos(30 * time.Second)}),
			aboutAttempt("DEBUG", "attempt", 1, line{"status": 200.0, "duration": 0.0}),
		}, lines()[before:])
	})
}

func TestGivingUpIsLoggedOnceWithWhatHappenedAndWhy(t *testing.T) {
	noMore := limiterFunc(func(context.Context) error { return errors.New("no more") })
	for name, test := range map[string]struct {
		step    http.HandlerFunc
		opt     memoryplugin.Option
		timeout time.Duration
		want    line
	}{
		"no retries left":   {reply(503, ""), memoryplugin.WithMaxRetries(0), time.Hour, aboutAttempt("WARN", "giving up", 1, line{"status": 503.0})},
		"not retried":       {reply(401, "", "X-Request-Id", "req_1"), memoryplugin.WithMaxRetries(4), time.Hour, aboutAttempt("WARN", "giving up", 1, line{"status": 401.0, "request_id": "req_1"})},
		"no reply":          {drop, memoryplugin.WithMaxRetries(0), time.Hour, aboutAttempt("WARN", "giving up", 1, line{"error": "EOF"})},
		"not documented":    {reply(202, "words"), memoryplugin.WithMaxRetries(4), time.Hour, aboutAttempt("WARN", "giving up", 1, line{"status": 202.0})},
		"above the cap":     {reply(429, "", "Retry-After", "61"), memoryplugin.WithMaxRetries(4), time.Hour, aboutAttempt("WARN", "giving up", 1, line{"status": 429.0, "reason": "the server's Retry-After of 1m1s is above the limit of 1m0s"})},
		"a near deadline":   {reply(429, "", "Retry-After", "5"), memoryplugin.WithBackoff(0, 0), time.Second, aboutAttempt("WARN", "giving up", 1, line{"status": 429.0, "reason": "gave up: a wait of 5s would outlast the context: context deadline exceeded"})},
		"the context ends":  {mute, memoryplugin.WithMaxRetries(4), time.Second, aboutAttempt("WARN", "giving up", 1, line{"reason": "context deadline exceeded"})},
		"an attempt's time": {mute, memoryplugin.WithMaxRetries(0), time.Hour, aboutAttempt("WARN", "giving up", 1, line{"error": "no complete reply within the attempt timeout of 1m0s"})},
		"the limiter fails": {aDeleted, memoryplugin.WithLimiter(noMore), time.Hour, aboutAttempt("WARN", "giving up", 0, line{"reason": "limiter: no more"})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logger, lines := recordLog(t)
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()

				_, err := deleteA(ctx, remember(test.step).client(t, logger, test.opt))

				require.Error(t, err)
				var warnings []line
				for _, l := range lines() {
					if l["level"] == "WARN" {
						warnings = append(warnings, l)
					}
				}
				assert.Equal(t, []line{test.want}, warnings)
			})
		})
	}
}

func TestThePathInTheLogHasThePrefixOfTheBaseURL(t *testing.T) {
	logger, lines := recordLog(t)
	client := remember(aDeleted).client(t, logger, memoryplugin.WithBaseURL("http://localhost/prefix"))

	_, err := deleteA(t.Context(), client)

	require.NoError(t, err)
	require.Len(t, lines(), 1)
	assert.Equal(t, "/prefix/api/chat-history/chats", lines()[0]["path"])
}

// Handlers quote; quotes of our own would be doubled.
func TestAValueIsNotQuotedTwice(t *testing.T) {
	for place, outside := range outsideCalls(t, errors.New(`broken "pipe"`)) {
		t.Run(place, func(t *testing.T) {
			var buf bytes.Buffer

			_, err := deleteA(outside.ctx, newClient(t, "http://localhost", outside.opt, debugLogger(&buf)))

			require.Error(t, err)
			assert.Contains(t, buf.String(), `broken \"pipe\""`)
			assert.NotContains(t, buf.String(), `\\`)
		})
	}
}

func TestALoggerAtLevelWarnSeesNoAttempt(t *testing.T) {
	var buf bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelWarn}))
	srv := remember(reply(503, ""), aDeleted)

	_, err := deleteA(t.Context(), srv.client(t, memoryplugin.WithLogger(logger), memoryplugin.WithBackoff(0, 0)))

	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(buf.String(), "\n"), "the retry and nothing else")
	assert.Contains(t, buf.String(), "level=WARN")
}

// contextHandler is a handler that sees the context of a line, as tracing does.
type contextHandler struct {
	slog.Handler
	saw func(context.Context)
}

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	h.saw(ctx)
	return nil
}

func TestALineIsLoggedWithTheContextOfTheCall(t *testing.T) {
	type traceKey struct{}
	var seen []any
	logger := slog.New(contextHandler{slog.NewTextHandler(&bytes.Buffer{}, nil), func(ctx context.Context) {
		seen = append(seen, ctx.Value(traceKey{}))
	}})
	client := once(t, remember(reply(503, "")), memoryplugin.WithLogger(logger))

	_, err := deleteA(context.WithValue(t.Context(), traceKey{}, "trace-1"), client)

	require.Error(t, err)
	assert.Equal(t, []any{"trace-1"}, seen)
}

func TestTheLogNeverHasAHeaderAnIDTheKeyOrAWordOfAReply(t *testing.T) {
	words := "conv-secret some-word " + testKey
	for name, steps := range map[string][]http.HandlerFunc{
		"a reply":                           {reply(503, words, "X-Other", "header-value")},
		"a redirect":                        {reply(302, words, "Location", "/header-value")},
		"a reply before the context's end":  {reply(503, words), mute},
		"a reply that holds back a call":    {reply(503, words, "Retry-After", "30")},
		"an answer of another shape":        {reply(503, ""), reply(200, words)},
		"an answer that contradicts itself": {reply(200, `{"deleted":["conv-secret","some-word"],"error":"some-word"}`)},
		"a status that is not documented":   {reply(202, words)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				assertNothingSecretIsLogged(t, func(logger memoryplugin.Option) error {
					client := remember(steps...).client(t, logger)
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					_, err := client.DeleteConversations(ctx, []string{"conv-secret"})
					require.Error(t, err)
					_, err = client.DeleteConversations(ctx, []string{"conv-secret"})
					return err
				})
			})
		})
	}
}

func TestTheLogNeverHasWhatEndedARunOfBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		assertNothingSecretIsLogged(t, func(logger memoryplugin.Option) error {
			client := remember(reply(503, "some-word "+testKey, "X-Other", "header-value")).client(t, logger)
			ids := []string{"conv-secret", "2", "3", "4", "5", "6", "7"}
			_, err := client.DeleteConversationsInBatches(t.Context(), ids, memoryplugin.BatchOptions{Size: 1, Concurrency: 1})
			return err
		})
	})
}

func TestTheLogNeverHasTheKeyThatAnErrorFromOutsideNames(t *testing.T) {
	for name, call := range outsideCalls(t, errors.New(testKey+" is bad")) {
		t.Run(name, func(t *testing.T) {
			assertNothingSecretIsLogged(t, func(logger memoryplugin.Option) error {
				_, err := deleteA(call.ctx, newClient(t, "http://localhost", logger, call.opt))
				return err
			})
		})
	}
}

// assertNothingSecretIsLogged makes a call, which has to fail and to be logged.
func assertNothingSecretIsLogged(t *testing.T, call func(memoryplugin.Option) error) {
	t.Helper()
	var buf bytes.Buffer
	all := &slog.HandlerOptions{Level: slog.LevelDebug}
	logger := slog.New(slog.NewMultiHandler(slog.NewTextHandler(&buf, all), slog.NewJSONHandler(&buf, all)))

	err := call(memoryplugin.WithLogger(logger))

	require.Error(t, err)
	require.NotEmpty(t, buf.String())
	for _, secret := range []string{testKey, "conv-secret", "some-word", "header-value", "Authorization"} {
		assert.NotContains(t, buf.String(), secret)
	}
}
