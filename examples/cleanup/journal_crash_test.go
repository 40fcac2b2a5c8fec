package main_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// wholeRecords reads a journal as a crash has left it, of which the last line
// may be torn.
func wholeRecords(t *testing.T, path string) []record {
	t.Helper()
	content, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	return wholeRecordsOf(t, string(content))
}

func wholeRecordsOf(t *testing.T, content string) []record {
	t.Helper()
	var all []record
	for line := range strings.Lines(content) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			require.False(t, strings.HasSuffix(line, "\n"), "a torn line in the middle: %q", line)
			continue
		}
		all = append(all, r)
	}
	return all
}

// TestARunThatIsKilledOverAndOverLosesNoID goes through CLEANUP_KILL_ROUNDS
// rounds; a handful where that is not set.
func TestARunThatIsKilledOverAndOverLosesNoID(t *testing.T) {
	t.Parallel()
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("CLEANUP_KILL_ROUNDS")); err == nil {
		rounds = n
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			newKilling(t).run()
		})
	}
}

// killing is one round: an account, a journal, and runs that are killed.
type killing struct {
	*testing.T
	random  *rand.Rand
	ids     []string // what is to be deleted
	there   map[string]bool
	srv     *memoryplugintest.Server
	journal string
}

func newKilling(t *testing.T) *killing {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	k := &killing{
		T: t, random: rand.New(rand.NewPCG(seed, 0)), ids: numbered(60),
		there: map[string]bool{}, journal: newJournal(t),
	}
	present := k.ids[:len(k.ids)-3] // The last three were never there.
	for _, id := range present {
		k.there[id] = true
	}
	k.srv = account(t, present...)
	return k
}

func (k *killing) run() {
	for range 8 {
		k.disturb()
		p := k.program().start()
		killer := time.AfterFunc(rand.N(120*time.Millisecond), func() { _ = p.Process.Kill() })
		got := p.end()
		killer.Stop()
		k.check(got)
	}
	for run := 0; ; run++ {
		require.Less(k, run, 200, "it does not come to an end")
		got := k.program().run()
		k.check(got)
		if got.code != -1 && len(k.srv.Conversations()) == 0 {
			k.checkEnd()
			return
		}
	}
}

func (k *killing) program() *program {
	args := []string{
		"--yes", "--journal", k.journal, "--output", "json",
		"--batch-size", fmt.Sprint(1 + k.random.IntN(5)),
		"--concurrency", fmt.Sprint(1 + k.random.IntN(4)),
		"--max-retries", fmt.Sprint(k.random.IntN(5) / 4),
	}
	if k.random.IntN(2) == 0 {
		args = append(args, "--keep-going")
	}
	return cleanup(k.T, k.srv.URL, append(args, k.ids...)...)
}

// disturb makes coming requests fail in the ways that tell nothing false.
func (k *killing) disturb() {
	for range 12 {
		faults := []memoryplugintest.Fault{
			{}, {}, {}, {},
			{Delay: time.Duration(k.random.IntN(10)) * time.Millisecond},
			{Delay: time.Duration(k.random.IntN(10)) * time.Millisecond, Applied: true},
			{Status: http.StatusServiceUnavailable},
			{Status: http.StatusServiceUnavailable, Applied: true},
			{Status: http.StatusTooManyRequests},
			{Status: http.StatusBadRequest},
			{Status: http.StatusRequestEntityTooLarge},
			{Status: http.StatusUnauthorized},
			{Drop: true},
			{Drop: true, Applied: true},
			{CutReply: true},
			{Status: http.StatusOK, Body: `{}`, Applied: true},
			{Status: http.StatusOK, Body: `{"deleted":[],"count":7}`, Applied: true},
		}
		k.srv.FailNext(faults[k.random.IntN(len(faults))])
	}
}

// check holds what the journal says against what is true.
func (k *killing) check(got outcome) {
	k.Helper()
	left := k.srv.Conversations()
	all := wholeRecords(k.T, k.journal)
	k.checkHistory(all)
	for id, state := range states(all) {
		switch state {
		case "deleted":
			require.NotContains(k, left, id, "a deletion that was not made")
			require.True(k, k.there[id], "a deletion of %s, which was never there", id)
		case "not_deleted":
			require.True(k, !k.there[id] || slices.Contains(left, id), "%s is gone, but recorded as not_deleted", id)
		case "sent":
			require.Equal(k, -1, got.code, "%s is left without a state by a run that ended by itself: %s", id, got.stderr)
		}
	}
	if got.code != -1 {
		require.Contains(k, []int{0, 1, 3}, got.code, got.stderr)
		got.summary(k.T)
	}
}

// checkHistory follows each id through the journal.
func (k *killing) checkHistory(all []record) {
	k.Helper()
	last, unsure := map[string]string{}, map[string]bool{}
	for _, r := range all {
		for _, id := range r.IDs {
			require.NotEqual(k, "deleted", last[id], "%s was taken up again after its deletion", id)
			if r.State != "sent" {
				require.Contains(k, last, id, "%s has a state but was not sent", id)
			}
			switch {
			case r.State == "sent" && last[id] == "sent", r.State == "unconfirmed":
				unsure[id] = true
			case r.State == "not_deleted":
				require.False(k, unsure[id], "%s may be gone, but is recorded as not_deleted", id)
			}
			last[id] = r.State
		}
	}
}

func (k *killing) checkEnd() {
	k.Helper()
	got := k.program().run()
	k.check(got)
	last := states(records(k.T, k.journal))
	assert.Len(k, last, len(k.ids), "an id has no state")
	summary := got.summary(k.T)
	count := map[string]int{}
	for _, state := range last {
		count[state]++
	}
	assert.Equal(k, count["deleted"], summary.Skipped+summary.Deleted)
	for id, state := range summary.failed() {
		if state != "not_sent" {
			assert.Equal(k, last[id], state, id)
		}
	}
	assert.Contains(k, []int{1, 3}, got.code, "three were never there; a 401 may still be to come")
}

// A crash can leave any beginning of the last write.
func TestARunGoesOnFromAJournalThatIsCutAnywhere(t *testing.T) {
	t.Parallel()
	ids := []string{"a", "b", "c", "grüße"}
	there := []string{"a", "c", "grüße"}
	first := account(t, there...)
	journal := newJournal(t)
	cleanup(t, first.URL, append([]string{"--yes", "--journal", journal, "--batch-size", "2", "--concurrency", "1"}, ids...)...).run()
	whole := read(t, journal)
	require.Len(t, states(records(t, journal)), len(ids))
	parts := strings.SplitAfter(whole, "\n")
	require.Greater(t, len(parts), 4)
	lastLines := len(strings.Join(parts[:len(parts)-4], "")) // The last part is empty.

	for cut := lastLines; cut <= len(whole); cut++ {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			t.Parallel()
			srv, want := account(t), map[string]string{}
			content := strings.ReplaceAll(whole, host(first.URL), host(srv.URL))[:cut]
			kept := states(wholeRecordsOf(t, content))
			for _, id := range ids {
				state, sent := kept[id]
				switch {
				case !sent && slices.Contains(there, id):
					srv.AddConversations(id)
					want[id] = "deleted"
				case !sent:
					want[id] = "not_deleted"
				case state == "sent":
					want[id] = "unconfirmed"
				default:
					want[id] = state
				}
			}
			journal := file(t, content)

			got := cleanup(t, srv.URL, append([]string{"--yes", "--journal", journal, "--output", "json"}, ids...)...).run()

			require.Contains(t, []int{0, 1}, got.code, got.stderr)
			assert.Equal(t, want, states(records(t, journal)))
			assert.Empty(t, srv.Conversations())
			for id, state := range kept {
				assert.Equal(t, state != "deleted", slices.Contains(sentTo(srv), id), id)
			}
			if end := strings.LastIndex(content, "\n"); end >= 0 {
				assert.True(t, strings.HasPrefix(read(t, journal), content[:end+1]), "what was whole has changed")
			}
		})
	}
}
