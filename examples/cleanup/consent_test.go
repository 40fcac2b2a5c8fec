package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhereThereIsNoTerminalYesIsNeeded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		input string
		args  []string
	}{
		"arguments": {"", []string{"a"}},
		"an answer": {"yes\n", []string{"a"}},
		"a file":    {"yes\n", []string{"--file", file(t, "a\n")}},
		"a pipe":    {"a\nyes\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a", "yes")

			got := cleanup(t, srv.URL, tt.args...).input(tt.input).run()

			assert.Equal(t, 2, got.code)
			assert.Contains(t, got.stderr, "--yes")
			assert.Empty(t, got.stdout)
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestADryRunPrintsThePlanAndSendsNothing(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")

	got := cleanup(t, srv.URL, "--dry-run", "a", "b", "a").run()

	assert.Contains(t, got.stdout+got.stderr, host(srv.URL))
	assert.Regexp(t, `\b2\b`, got.stdout)
	assert.Equal(t, 0, got.code, "it was asked for, and nothing was wrong")
	assert.Empty(t, srv.Requests())
}

func TestADryRunWithJSONHasEverythingInNotSent(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b", "c", "d", "e")
	journal := file(t, lines(
		`{"time":"2026-11-24T10:00:00.123Z","state":"sent","host":"`+host(srv.URL)+`","ids":["c","d","e"]}`,
		`{"time":"2026-11-24T10:00:00.456Z","state":"deleted","ids":["c"]}`,
		`{"time":"2026-11-24T10:00:00.456Z","state":"unconfirmed","ids":["d"],"error":"lost"}`,
	))

	got := cleanup(t, srv.URL, "--dry-run", "--journal", journal, "--output", "json", "a", "b", "a", "c", "d", "e").run()

	summary := got.summary(t)
	assert.Equal(t, host(srv.URL), summary.Host)
	assert.Equal(t, 5, summary.Requested)
	assert.Equal(t, 1, summary.Duplicates)
	assert.Equal(t, 1, summary.Skipped)
	assert.Equal(t, 4, summary.NotSent)
	assert.Equal(t, map[string]string{"a": "not_sent", "b": "not_sent", "d": "not_sent", "e": "not_sent"}, summary.failed())
	assert.False(t, summary.Interrupted)
	assert.Empty(t, srv.Requests())
}

func TestADryRunLeavesTheJournalAlone(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")
	sent := `{"time":"2026-11-24T10:00:00.123Z","state":"sent","host":"` + host(srv.URL) + `","ids":["a"]}` + "\n"
	for name, content := range map[string]string{
		"empty":           "",
		"torn":            sent + `{"time":"2026-11-24T10:`,
		"without newline": sent + `{"time":"2026-11-24T10:00:00.456Z","state":"deleted","ids":["a"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			journal := file(t, content)

			got := cleanup(t, srv.URL, "--dry-run", "--journal", journal, "--output", "json", "a", "b").run()

			assert.Equal(t, content, read(t, journal))
			summary := got.summary(t)
			if name == "without newline" { // A whole record counts, here too.
				assert.Equal(t, 1, summary.Skipped)
			} else {
				assert.Equal(t, 2, summary.NotSent)
			}
		})
	}
	assert.Empty(t, srv.Requests())
}

func TestADryRunCreatesNoJournal(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()

	got := cleanup(t, account(t, "a").URL, "--dry-run", "--journal", filepath.Join(folder, "journal"), "--output", "json", "a").run()

	assert.Equal(t, 1, got.summary(t).NotSent)
	entries, err := os.ReadDir(folder)
	assert.NoError(t, err)
	assert.Empty(t, entries)
}

func TestADryRunDoesNotWaitForARunThatUsesTheJournal(t *testing.T) {
	t.Parallel()
	srv := hold(t)
	journal := filepath.Join(t.TempDir(), "journal")
	running := cleanup(t, srv.URL, "--yes", "--journal", journal, "a").start()
	<-srv.arrived

	got := cleanup(t, srv.URL, "--dry-run", "--journal", journal, "--output", "json", "a", "b").run()

	assert.Equal(t, 2, got.summary(t).NotSent)
	srv.release()
	assert.Equal(t, 0, running.end().code)
}

func TestADryRunRefusesAJournalAsARunWould(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	for name, content := range map[string]string{
		"damaged":         "{}\n",
		"of another host": `{"time":"2026-11-24T10:00:00.123Z","state":"sent","host":"other.example","ids":["a"]}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			journal := file(t, content)

			got := cleanup(t, srv.URL, "--dry-run", "--journal", journal, "a").run()

			assert.Equal(t, 2, got.code)
			assert.Contains(t, got.stderr, journal)
			assert.Equal(t, content, read(t, journal))
		})
	}
}
