package main_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Cursor movements in a log file are noise.
func TestWhereThereIsNoTerminalProgressIsPlainLines(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(300)...)

	got := cleanup(t, srv.URL, append([]string{"--yes", "--batch-size", "1"}, numbered(300)...)...).run()

	assert.Equal(t, 0, got.code)
	assert.NotContains(t, got.stderr, "\r")
	assert.NotContains(t, got.stderr, "\x1b")
	assert.Regexp(t, `(?m)^.*\b300\b.*\b300\b.*$`, got.stderr, "a line that says how far it is")
	assert.LessOrEqual(t, strings.Count(got.stderr, "\n"), 20, "now and then: %s", got.stderr)
}

func TestALineNowAndThenSaysHowFarItIs(t *testing.T) {
	t.Parallel()

	got := cleanup(t, account(t, numbered(7)...).URL, append([]string{"--yes", "--batch-size", "1", "--rate", "1"}, numbered(7)...)...).run()

	assert.Regexp(t, `\n6 of 7 done, 1\.[12]/s, 1s left, 0 failed\n7 of 7 done, 1\.[12]/s, 0 failed\n$`, got.stderr)
	assert.Equal(t, 2, strings.Count(got.stderr, "of 7 done"), got.stderr)
}

func TestQuietIsWithoutProgress(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(30)...)
	args := append([]string{"--yes", "--batch-size", "1"}, numbered(30)...)

	got := cleanup(t, srv.URL, append(args, "--quiet")...).run()

	assert.Equal(t, 0, got.code)
	assert.NotRegexp(t, `\b30\b.*\b30\b`, got.stderr)
	assert.NotEmpty(t, got.stdout, "the summary is no progress")
}

// stuck confirms the first n batches but the second, which it refuses, and holds the others.
func stuck(t *testing.T, n int64) string {
	t.Helper()
	var requests atomic.Int64
	end := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		switch request := requests.Add(1); {
		case request == 2:
			refuse(w, http.StatusForbidden, "no")
			return
		case request > n:
			<-end
		}
		confirm(w, ids...)
	})
	t.Cleanup(func() { close(end) })
	return url
}
