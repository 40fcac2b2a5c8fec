package main_test

import (
	"html"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheDemoNeedsNeitherAKeyNorConsent(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(60)...)

	got := cleanup(t, srv.URL, "--demo", "60").env("MEMORYPLUGIN_API_KEY=").run()

	assert.Equal(t, 1, got.code, got.stderr)
	assert.Contains(t, got.stderr, "made up")
	assert.Regexp(t, `exit code (is |will be )?1`, got.stderr)
	assert.NotContains(t, got.stderr, "--yes")
	assert.Empty(t, srv.Requests(), "the demo has sent something to the server of the environment")
	t.Logf("%s\n%s", got.stderr, got.stdout)
}

func TestTheDemoShowsEveryKindOfOutcome(t *testing.T) {
	t.Parallel()

	got := cleanup(t, "", "--demo", "1000", "--output", "json").run()

	assert.Equal(t, 1, got.code, got.stderr)
	summary := got.summary(t)
	assert.Equal(t, 1000, summary.Requested)
	assert.Positive(t, summary.Deleted)
	assert.Positive(t, summary.NotDeleted)
	assert.Positive(t, summary.Unconfirmed)
	assert.Zero(t, summary.NotSent)
}

func TestADemoOfAnySizeLeavesSomeConversations(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"1", "2", "5", "7", "20", "26", "50"} {
		t.Run(n, func(t *testing.T) {
			t.Parallel()
			got := cleanup(t, "", "--demo", n, "--output", "json").run()

			assert.Equal(t, 1, got.code, got.stderr)
			assert.Zero(t, got.summary(t).NotSent)
			assert.NotContains(t, got.stderr, "stopping")
		})
	}
}

// The script screenshot makes it anew.
func TestThePictureOfTheREADMEShowsWhatTheDemoPrints(t *testing.T) {
	t.Parallel()
	picture := html.UnescapeString(read(t, "../../docs/cleanup-demo.svg"))
	picture = strings.ReplaceAll(picture, "\u00a0", " ")

	got := cleanup(t, "", "--demo", "1000").run()

	differs := regexp.MustCompile(`\d of |demo-|^ +\d+ `) // From run to run.
	for line := range strings.Lines(got.stderr + got.stdout) {
		if !differs.MatchString(line) && line != "\n" {
			assert.True(t, strings.Contains(picture, line), "the picture has no line %q", line)
		}
	}
}

func TestADryRunOfTheDemoPromisesNoFailures(t *testing.T) {
	t.Parallel()

	got := cleanup(t, "", "--demo", "7", "--dry-run").run()

	assert.Equal(t, 0, got.code)
	assert.Contains(t, got.stderr, "made up")
	assert.NotContains(t, got.stderr, "exit code 1")
}

func TestBadUsageOfTheDemo(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	for name, args := range map[string][]string{
		"a base URL":      {"--demo", "5", "--base-url", srv.URL},
		"no number":       {"--demo", "many"},
		"a negative one":  {"--demo", "-5"},
		"nothing to show": {"--demo", "0"},
		"ids":             {"--demo", "5", "a"},
		"a file":          {"--demo", "5", "--file", file(t, "a\n")},
		"JSON":            {"--demo", "5", "--json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := cleanup(t, srv.URL, append(args, "--yes")...).input("a\n").run()

			assert.Equal(t, 2, got.code)
			assert.NotEmpty(t, got.stderr)
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestTheRequestsOfADemoAreSlowEnoughToBeWatched(t *testing.T) {
	t.Parallel()

	got := cleanup(t, "", "--demo", "1", "--max-retries", "0", "--output", "json").run()

	assert.GreaterOrEqual(t, got.summary(t).Seconds, 0.1)
}

func TestTheBatchesOfADemoAreSmallUnlessTheirSizeIsSaid(t *testing.T) {
	t.Parallel()
	for want, args := range map[int][]string{5: nil, 20: {"--batch-size", "20"}} {
		journal := newJournal(t)

		cleanup(t, "", append(args, "--demo", "40", "--journal", journal)...).run()

		assert.Len(t, records(t, journal)[0].IDs, want)
	}
}

// Its server is another one each time, but a newcomer who tries the journal
// must not be told so.
func TestADemoGoesOnWithItsJournal(t *testing.T) {
	t.Parallel()
	journal := newJournal(t)
	first := cleanup(t, "", "--demo", "50", "--journal", journal, "--output", "json").run().summary(t)

	got := cleanup(t, "", "--demo", "50", "--journal", journal, "--output", "json").run()

	assert.Equal(t, first.Deleted, got.summary(t).Skipped, got.stderr)
}
