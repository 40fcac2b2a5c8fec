package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// mixed answers each id by its name.
func mixed(t *testing.T) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, ids []string) {
		switch {
		case strings.HasPrefix(ids[0], "missing"):
			confirm(w)
		case strings.HasPrefix(ids[0], "forbidden"):
			refuse(w, http.StatusForbidden, "not yours")
		case strings.HasPrefix(ids[0], "bad"):
			refuse(w, http.StatusBadRequest, "malformed")
		case strings.HasPrefix(ids[0], "lost"):
			panic(http.ErrAbortHandler)
		default:
			confirm(w, ids...)
		}
	})
}

func TestTheSummaryIsOneJSONObjectWithExactlyItsKeys(t *testing.T) {
	t.Parallel()
	url := mixed(t)
	journal := file(t, lines(sentLine(url, "done"), stateLine("deleted", "done")))

	got := cleanup(t, url, "--yes", "--keep-going", "--output", "json", "--journal", journal, "--batch-size", "1", "--max-retries", "0",
		"done", "ok-1", "ok-2", "ok-1", "missing", "forbidden", "lost").run()

	assert.Equal(t, 1, got.code)
	assert.Equal(t, 1, strings.Count(strings.TrimSpace(got.stdout), "\n")+1, "one line: %q", got.stdout)
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &fields))
	assert.Equal(t, []string{
		"deleted", "duplicates", "failures", "host", "interrupted", "not_deleted", "not_sent",
		"requested", "seconds", "skipped", "unconfirmed",
	}, slices.Sorted(maps.Keys(fields)))
	summary := got.summary(t)
	assert.Positive(t, summary.Seconds)
	assert.Less(t, summary.Seconds, 60.0)
	for _, failure := range summary.Failures {
		assert.NotEmpty(t, failure.Error, failure.ID)
	}
	assert.Equal(t, map[string]string{"missing": "not_deleted", "forbidden": "not_deleted", "lost": "unconfirmed"}, summary.failed())
	summary.Seconds, summary.Failures = 0, nil
	assert.Equal(t, summaryOf(host(url), 6, 1, 1, 2, 2, 1, 0), summary)
}

func summaryOf(host string, requested, duplicates, skipped, deleted, notDeleted, unconfirmed, notSent int) summary {
	return summary{
		Host: host, Requested: requested, Duplicates: duplicates, Skipped: skipped, Deleted: deleted,
		NotDeleted: notDeleted, Unconfirmed: unconfirmed, NotSent: notSent,
	}
}

func TestASummaryWithoutFailuresHasAnEmptyList(t *testing.T) {
	t.Parallel()

	got := cleanup(t, account(t, "a").URL, "--yes", "--output", "json", "a").run()

	assert.Contains(t, strings.ReplaceAll(got.stdout, " ", ""), `"failures":[]`)
}

func TestEveryFailureIsInTheJSON(t *testing.T) {
	t.Parallel()
	ids := numbered(250)
	journal := newJournal(t)

	got := cleanup(t, account(t).URL, append([]string{"--yes", "--journal", journal, "--output", "json", "--batch-size", "250"}, ids...)...).run()

	assert.Len(t, got.summary(t).failed(), 250)
}

func TestTheSummaryGroupsWhatFailedByWhatHappened(t *testing.T) {
	t.Parallel()
	url := mixed(t)

	got := cleanup(t, url, "--yes", "--keep-going", "--batch-size", "1", "--concurrency", "1", "--max-retries", "0",
		"missing-1", "ok", "forbidden-1", "bad-1", "lost-1", "missing-2", "forbidden-2", "bad-2", "lost-2").run()

	assert.Equal(t, 1, got.code)
	t.Log(got.stdout)
	groups := [][]string{{"missing-1", "missing-2"}, {"forbidden-1", "forbidden-2"}, {"bad-1", "bad-2"}, {"lost-1", "lost-2"}}
	for _, group := range groups {
		between, _, found := strings.Cut(got.stdout, group[1])
		require.True(t, found, got.stdout)
		_, between, found = strings.Cut(between, group[0])
		require.True(t, found, got.stdout)
		for _, other := range slices.Concat(groups...) {
			assert.NotContains(t, between, other, "between the two ids of a group")
		}
	}
	for _, text := range []string{"403 Forbidden", `"not yours"`, "400 Bad Request", `"malformed"`, "EOF"} {
		assert.Equal(t, 1, strings.Count(got.stdout, text), "%s: %s", text, got.stdout)
	}
	assert.Len(t, regexp.MustCompile(`\n  What to do: \w.{10,}\.\n`).FindAllString(got.stdout, -1), len(groups), got.stdout)
	assert.NotContains(t, got.stdout, "journal", "there is none")
	assert.NotContains(t, got.stdout, "memoryplugin:")
	assert.NotContains(t, got.stdout, "delete conversations:")
	assert.Contains(t, got.stdout, "may be gone")
}

func TestWhatWasNotSentIsNamedApart(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(12)...)
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusUnauthorized})

	got := cleanup(t, srv.URL, append([]string{"--yes", "--batch-size", "1", "--concurrency", "1"}, numbered(12)...)...).run()

	assert.Equal(t, 3, got.code)
	assert.Contains(t, got.stdout, "What to do: check the API key, then")
	assert.Contains(t, got.stderr, "1 of 12 done", "what was not sent is not done")
	assert.Contains(t, got.stderr, "1 failed")
	assert.Regexp(t, `(?i)\b11\b.*not sent|not sent.*\b11\b`, got.stdout)
	for _, id := range numbered(12) {
		assert.Equal(t, 1, strings.Count(got.stdout, id), "%s: %s", id, got.stdout)
	}
}

// Ten are enough to see what kind of ids they are; the journal has the rest.
func TestAGroupIsCutToTenIDsWhereAJournalHasTheRest(t *testing.T) {
	t.Parallel()
	srv := account(t)
	for name, want := range map[string]int{"": 25, "journal": 10} {
		args := append([]string{"--yes"}, numbered(25)...)
		if name != "" {
			args = append(args, "--journal", newJournal(t))
		}

		got := cleanup(t, srv.URL, args...).run()

		assert.Equal(t, want, strings.Count(got.stdout, "conv-"), got.stdout)
		if name != "" {
			assert.Regexp(t, `\b15\b`, got.stdout)
		}
	}
}

// JSON escapes the oldest of them only.
func TestNeitherTheJournalNorTheJSONMovesACursor(t *testing.T) {
	t.Parallel()
	ids := []string{"a\x1b[2K", "b\u009b2J", "c\u202e", "d\x7f", "e\U000e0041", "grüße \U0001f600"}
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		w.Header().Set("X-Request-Id", "x\u009b31m\u202e")
		confirm(w, ids[0])
	})
	journal := newJournal(t)

	got := cleanup(t, url, append([]string{"--yes", "--output", "json", "--journal", journal}, ids...)...).run()

	for _, control := range []string{"\x1b", "\u009b", "\u202e", "\x7f", "\U000e0041"} {
		assert.NotContains(t, got.stdout+read(t, journal), control, "%q", control)
	}
	assert.Contains(t, got.stdout, "grüße \U0001f600")
	for _, id := range ids[1:] {
		assert.Contains(t, got.summary(t).failed(), id)
		assert.Contains(t, states(records(t, journal)), id)
	}
}

func TestIDsThatCouldDeceiveATerminalAreQuoted(t *testing.T) {
	t.Parallel()
	ids := []string{"a\x1b[2K\rb", "c\nd", "\u202ee", "grüße", "\u009b2J", "two words", "trailing "}

	got := cleanup(t, account(t).URL, append([]string{"--yes"}, ids...)...).run()

	for _, quoted := range []string{`"a\x1b[2K\rb"`, `"c\nd"`, `"\u202ee"`, `grüße`, `"\u009b2J"`, `"two words"`, `"trailing "`} {
		assert.Contains(t, got.stdout, quoted)
	}
	for _, control := range []string{"\x1b", "\r", "\u202e", "\u009b"} {
		assert.NotContains(t, got.stdout+got.stderr, control)
	}
}

// Another run can't tell more about them: the server has answered, and what
// they were before it can't know.
func TestWhatIsGoneAlreadyOrWasNeverThereIsNamedApart(t *testing.T) {
	t.Parallel()
	url := mixed(t)
	journal := file(t, lines(sentLine(url, "missing-1", "missing-2")))

	got := cleanup(t, url, "--yes", "--journal", journal, "--batch-size", "1", "missing-1", "missing-2").run()

	assert.Equal(t, 1, got.code)
	t.Log(got.stdout)
	assert.Contains(t, got.stdout, "never there")
	assert.NotRegexp(t, `(?i)run .*again|again|another run|go on`, got.stdout)
}

func TestASummaryOfSuccessSaysSoAtAGlance(t *testing.T) {
	t.Parallel()

	got := cleanup(t, account(t, "a", "b").URL, "--yes", "a", "b", "a").run()

	assert.Regexp(t, `(?i)\b2\b.*deleted|deleted.*\b2\b`, got.stdout)
	assert.LessOrEqual(t, strings.Count(got.stdout, "\n"), 8, got.stdout)
	assert.NotContains(t, got.stdout, "not deleted")
	assert.NotContains(t, got.stdout, "unconfirmed")
}

func TestASummaryThatCanNotBeWrittenIsExitCode1(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full")
	}
	for _, output := range []string{"text", "json"} {
		srv := account(t, "a")
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		defer full.Close()
		p := cleanup(t, srv.URL, "--yes", "--output", output, "a")
		p.Stdout = full

		got := p.run()

		assert.Equal(t, 1, got.code, output)
		assert.NotEmpty(t, got.stderr)
		assert.Empty(t, srv.Conversations())
	}
}

func TestWhyItStoppedIsSaidOnStandardErrorToo(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		says   string
	}{
		"key":            {http.StatusUnauthorized, `(?i)key`},
		"three failures": {http.StatusBadRequest, `(?i)\b(three|3)\b`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ []string) { refuse(w, tt.status, "no") })

			got := cleanup(t, url, append([]string{"--yes", "--quiet", "--batch-size", "1"}, numbered(30)...)...).run()

			assert.Regexp(t, tt.says, got.stderr)
			_, reason, _ := strings.Cut(got.stdout, "\nStopped early: ")
			reason, _, _ = strings.Cut(reason, "\n")
			assert.Regexp(t, tt.says, reason)
		})
	}
}

func TestTheTextOfAServerCanNotForgeTheSummary(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ []string) {
		refuse(w, http.StatusForbidden, "no\n\x1b[2K\rAll deleted.")
	})

	got := cleanup(t, url, "--yes", "a").run()

	assert.NotContains(t, got.stdout+got.stderr, "\x1b")
	assert.Equal(t, 1, strings.Count(got.stdout, fmt.Sprintf("%q", "no\n\x1b[2K\rAll deleted.")))
}

func TestWhatMayPassIsToBeWaitedFor(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	srv.FailNext(busyFaults(1)...)

	got := cleanup(t, srv.URL, "--yes", "--max-retries", "0", "a").run()

	assert.Contains(t, got.stdout, "1 not deleted: refused with status 429\n")
	assert.Contains(t, got.stdout, "What to do: wait a while, then run it again with these ids alone.\n")
}

func TestNoMoreErrorsOfAGroupAreShownThanAPersonReads(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, ids []string) { refuse(w, http.StatusForbidden, "no "+ids[0]) })

	got := cleanup(t, url, "--yes", "--keep-going", "--batch-size", "1", "--concurrency", "1", "a", "b", "c", "d", "e").run()

	assert.Equal(t, 3, strings.Count(got.stdout, "403 Forbidden: "), got.stdout)
	assert.Contains(t, got.stdout, "and 2 other errors")
}

func TestAServerThatCanNotBeReachedIsNamedAsSuch(t *testing.T) {
	t.Parallel()

	got := cleanup(t, "http://127.0.0.1:1", "--yes", "--max-retries", "0", "a").run()

	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.stdout, "1 not deleted: no request got through\n")
	assert.Contains(t, got.stdout, "connection refused")
}

func TestASecondRunSaysHowManyAreOfTheFirst(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b", "c")
	journal := newJournal(t)
	cleanup(t, srv.URL, "--yes", "--journal", journal, "a", "b").run()

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "a", "b", "c").run()

	assert.Regexp(t, `^3 of 3 conversations deleted from \S+ in \S+, 2 of them by earlier runs\.\n`, got.stdout)
}

func TestADryRunNamesTheFirstTenIDs(t *testing.T) {
	t.Parallel()

	got := cleanup(t, account(t).URL, append([]string{"--dry-run"}, numbered(12)...)...).run()

	assert.Equal(t, 10, strings.Count(got.stdout, "    conv-"), got.stdout)
	assert.Contains(t, got.stdout, "      12  would be deleted\n")
	assert.Contains(t, got.stdout, "    and 2 more of the input\n")
}
