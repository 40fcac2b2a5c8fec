package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// record is a line of a journal.
type record struct {
	Time      string   `json:"time"`
	State     string   `json:"state"`
	Host      string   `json:"host"`
	IDs       []string `json:"ids"`
	RequestID string   `json:"request_id"`
	Error     string   `json:"error"`
}

// records reads a journal, of which every line is whole.
func records(t *testing.T, path string) []record {
	t.Helper()
	content := read(t, path)
	require.True(t, content == "" || strings.HasSuffix(content, "\n"), "a torn line: %q", content)
	var all []record
	for line := range strings.Lines(content) {
		var r record
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&r), line)
		_, err := decoder.Token()
		require.ErrorIs(t, err, io.EOF, "more than one record: %q", line)
		all = append(all, r)
	}
	return all
}

// states are the last states of the ids in a journal.
func states(all []record) map[string]string {
	last := map[string]string{}
	for _, r := range all {
		for _, id := range r.IDs {
			last[id] = r.State
		}
	}
	return last
}

// statesOf are the last states in the journal of a run that has ended by
// itself, so that every id has one.
func statesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	last := states(records(t, path))
	for id, state := range last {
		assert.NotEqual(t, "sent", state, id)
	}
	return last
}

// errorsOf are the last errors of the ids in a journal.
func errorsOf(all []record) map[string]string {
	last := map[string]string{}
	for _, r := range all {
		for _, id := range r.IDs {
			last[id] = r.Error
		}
	}
	return last
}

// Lines of a journal as an earlier run has left them.
func sentLine(url string, ids ...string) string {
	return line(record{State: "sent", Host: host(url), IDs: ids})
}

func stateLine(state string, ids ...string) string {
	r := record{State: state, IDs: ids}
	if state != "deleted" {
		r.Error = "of an earlier run"
	}
	return line(r)
}

func line(r record) string {
	fields := map[string]any{"time": "2026-11-24T10:00:00.123Z", "state": r.State, "ids": r.IDs}
	for name, value := range map[string]string{"host": r.Host, "error": r.Error} {
		if value != "" {
			fields[name] = value
		}
	}
	text, _ := json.Marshal(fields)
	return string(text)
}

// newJournal is the path of a journal that is not there yet.
func newJournal(t *testing.T) string { return filepath.Join(t.TempDir(), "journal") }

func TestTheJournalHasALineForWhatWasSentAndOneForEachState(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		w.Header().Set("X-Request-Id", "req-1")
		switch ids[0] {
		case "a":
			confirm(w, "a") // b is not listed.
		case "c":
			panic(http.ErrAbortHandler)
		}
	})
	journal := newJournal(t)

	got := cleanup(t, url, "--yes", "--journal", journal, "--batch-size", "2", "--concurrency", "1", "--max-retries", "0", "a", "b", "c").run()

	assert.Equal(t, 1, got.code, got.stderr)
	all := records(t, journal)
	var shown []record
	for i, r := range all {
		assert.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, r.Time)
		if r.State == "not_deleted" || r.State == "unconfirmed" {
			assert.NotEmpty(t, r.Error)
			all[i].Error = ""
		}
		all[i].Time = ""
		shown = append(shown, all[i])
	}
	assert.ElementsMatch(t, []record{
		{State: "sent", Host: host(url), IDs: []string{"a", "b"}},
		{State: "deleted", IDs: []string{"a"}, RequestID: "req-1"},
		{State: "not_deleted", IDs: []string{"b"}, RequestID: shown[indexOf(shown, "not_deleted")].RequestID},
		{State: "sent", Host: host(url), IDs: []string{"c"}},
		{State: "unconfirmed", IDs: []string{"c"}},
	}, shown)
}

func indexOf(all []record, state string) int {
	for i, r := range all {
		if r.State == state {
			return i
		}
	}
	return -1
}

func TestTheTimesOfTheJournalAreTimesOfTheRun(t *testing.T) {
	t.Parallel()
	journal := newJournal(t)
	before := time.Now().Truncate(time.Millisecond)

	cleanup(t, account(t, "a").URL, "--yes", "--journal", journal, "a").env("TZ=Asia/Tokyo").run()

	for _, r := range records(t, journal) {
		at, err := time.Parse(time.RFC3339Nano, r.Time)
		require.NoError(t, err)
		assert.WithinRange(t, at, before, time.Now())
	}
}

func TestASentLineIsInTheJournalBeforeTheServerSeesItsIDs(t *testing.T) {
	t.Parallel()
	journal := newJournal(t)
	unknown := make(chan string, 100)
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		content, _ := os.ReadFile(journal)
		sent := map[string]bool{}
		for text := range strings.Lines(string(content)) {
			var r record
			if json.Unmarshal([]byte(text), &r) == nil && r.State == "sent" {
				for _, id := range r.IDs {
					sent[id] = true
				}
			}
		}
		for _, id := range ids {
			if !sent[id] {
				unknown <- id
			}
		}
		confirm(w, ids...)
	})

	got := cleanup(t, url, append([]string{"--yes", "--journal", journal, "--batch-size", "3", "--concurrency", "3"}, numbered(50)...)...).run()

	assert.Equal(t, 0, got.code, got.stderr)
	close(unknown)
	for id := range unknown {
		t.Errorf("%s was sent before it was in the journal", id)
	}
}

// It has no disk below it, though a write to it succeeds.
func TestADeviceIsNoJournal(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")

	got := cleanup(t, srv.URL, "--yes", "--journal", os.DevNull, "a").run()

	assert.Equal(t, 2, got.code, got.stderr)
	assert.Contains(t, got.stderr, os.DevNull)
	assert.Empty(t, srv.Requests())
}

func TestASecondRunSkipsWhatIsDeletedAndTakesUpTheRest(t *testing.T) {
	t.Parallel()
	srv := account(t, "not deleted", "unconfirmed", "sent", "new")
	journal := file(t, lines(
		sentLine(srv.URL, "deleted", "not deleted", "unconfirmed", "sent", "deleted at last", "deleted for good"),
		stateLine("deleted", "deleted"),
		stateLine("not_deleted", "not deleted", "deleted at last"),
		stateLine("unconfirmed", "unconfirmed"),
		sentLine(srv.URL, "deleted at last"),
		stateLine("deleted", "deleted at last", "deleted for good"),
		sentLine(srv.URL, "deleted for good"), // By two journals put together, say: nothing brings it back.
		stateLine("unconfirmed", "deleted for good"),
	))

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json",
		"deleted", "not deleted", "unconfirmed", "sent", "new", "deleted at last", "deleted for good").run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.ElementsMatch(t, []string{"not deleted", "unconfirmed", "sent", "new"}, sentTo(srv))
	summary := got.summary(t)
	assert.Equal(t, 7, summary.Requested)
	assert.Equal(t, 3, summary.Skipped)
	assert.Equal(t, 4, summary.Deleted)
}

func TestTheJournalOnlyGrows(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")
	before := lines(sentLine(srv.URL, "a", "x"), stateLine("deleted", "x"))
	journal := file(t, before)

	cleanup(t, srv.URL, "--yes", "--journal", journal, "a", "b").run()

	after := read(t, journal)
	assert.True(t, strings.HasPrefix(after, before))
	assert.Greater(t, len(after), len(before))
}

func TestASecondRunOfAFinishedOneSendsNothing(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")
	journal := newJournal(t)
	require.Equal(t, 0, cleanup(t, srv.URL, "--yes", "--journal", journal, "a", "b").run().code)
	before := read(t, journal)

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", "a", "b").run()

	assert.Equal(t, 0, got.code)
	assert.Equal(t, 2, got.summary(t).Skipped)
	assert.Len(t, sentTo(srv), 2)
	assert.Equal(t, before, read(t, journal))
}

func TestAJournalOfAnotherHostIsRefused(t *testing.T) {
	t.Parallel()
	other := account(t, "a")
	srv := account(t, "a", "b")
	content := lines(sentLine(other.URL, "a"), stateLine("deleted", "a"))
	journal := file(t, content)

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "a", "b").run()

	assert.Equal(t, 2, got.code)
	assert.Contains(t, got.stderr, host(other.URL))
	assert.Contains(t, got.stderr, host(srv.URL))
	assert.Empty(t, srv.Requests())
	assert.Equal(t, content, read(t, journal))
}

func TestTheHostOfAJournalIsTheSameInCapitals(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	url := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	journal := newJournal(t)
	require.Equal(t, 0, cleanup(t, strings.ToUpper(url), "--yes", "--journal", journal, "a").run().code)

	got := cleanup(t, url, "--yes", "--journal", journal, "--output", "json", "a").run()

	assert.Equal(t, 1, got.summary(t).Skipped, got.stderr)
}

func TestAJournalOfWhichOneLineIsOfAnotherHostIsRefused(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]string{
		"another":            sentLine("http://other.example", "b"),
		"another of a state": line(record{State: "deleted", Host: "other.example", IDs: []string{"b"}}),
	} {
		srv := account(t, "a", "b")
		journal := file(t, lines(sentLine(srv.URL, "a"), stateLine("deleted", "a"), other))

		got := cleanup(t, srv.URL, "--yes", "--journal", journal, "a", "b").run()

		assert.Equal(t, 2, got.code, name)
		assert.Empty(t, srv.Requests(), name)
	}
}

// What the server does not list may have been deleted by the run before, whose
// confirmation was lost: not_deleted would be a guess.
func TestWhatMayBeGoneAlreadyIsNotRecordedAsNotDeleted(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]string{
		"sent without a state": nil,
		"unconfirmed":          {stateLine("unconfirmed", "a")},
		"sent twice":           {stateLine("not_deleted", "a"), "sent"},
		"unconfirmed, then sent and not sent": {stateLine("unconfirmed", "a"), "sent",
			stateLine("unconfirmed", "a")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t)
			journal := []string{sentLine(srv.URL, "a")}
			for _, text := range before {
				if text == "sent" {
					text = sentLine(srv.URL, "a")
				}
				journal = append(journal, text)
			}
			path := file(t, lines(journal...))

			for range 2 { // It stays so, however often it is asked.
				got := cleanup(t, srv.URL, "--yes", "--journal", path, "--output", "json", "a", "b").run()

				assert.Equal(t, 1, got.code)
				all := records(t, path)
				assert.Equal(t, map[string]string{"a": "unconfirmed", "b": "not_deleted"}, states(all))
				says := errorsOf(all)["a"]
				assert.Contains(t, says, "did not delete it")
				assert.Contains(t, says, "gone already, or never there")
				summary := got.summary(t)
				assert.Equal(t, 1, summary.Unconfirmed)
				assert.Equal(t, 1, summary.NotDeleted)
				assert.Equal(t, map[string]string{"a": "unconfirmed", "b": "not_deleted"}, summary.failed())
			}
		})
	}
}

func TestARefusalOfWhatMayBeGoneAlreadyIsNotRecordedAsNotDeleted(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	journal := file(t, lines(sentLine(srv.URL, "a")))
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusForbidden})

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "a").run()

	assert.Contains(t, got.stdout, "1  unconfirmed")
	assert.Contains(t, got.stdout, "1 may be gone")
	all := records(t, journal)
	assert.Equal(t, "unconfirmed", states(all)["a"])
	// The server has not answered for it, so no more is known than before.
	assert.NotContains(t, errorsOf(all)["a"], "gone already, or never there")
	assert.Contains(t, errorsOf(all)["a"], "403 Forbidden")
}

// Their errors differ, but not what is known of the ids.
func TestRefusalsOfWhatMayBeGoneAreOneGroup(t *testing.T) {
	t.Parallel()
	srv := account(t)
	journal := file(t, lines(sentLine(srv.URL, "a", "b")))
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusForbidden}, memoryplugintest.Fault{Status: http.StatusBadRequest})

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--batch-size", "1", "--concurrency", "1", "a", "b").run()

	assert.Contains(t, got.stdout, "\n2 may be gone")
}

func TestWhatWasNotDeletedForSureStaysNotDeleted(t *testing.T) {
	t.Parallel()
	srv := account(t)
	journal := file(t, lines(sentLine(srv.URL, "a"), stateLine("not_deleted", "a")))

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", "a").run()

	assert.Equal(t, 1, got.summary(t).NotDeleted)
	assert.Equal(t, "not_deleted", statesOf(t, journal)["a"])
}

// The SDK reads ids ahead of what it sends, so some are sent by the journal
// but not to the server when a Retry-After ends the run.
func TestARunThatEndsByItselfLeavesNoIDWithoutAState(t *testing.T) {
	t.Parallel()
	srv := account(t, numbered(20)...)
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}})
	before := lines(sentLine(srv.URL, numbered(20)...), stateLine("unconfirmed", "conv-0001", "conv-0002", "conv-0003"),
		stateLine("not_deleted", append([]string{"conv-0000"}, numbered(20)[4:]...)...))
	journal := file(t, before)

	got := cleanup(t, srv.URL, append([]string{"--yes", "--journal", journal, "--output", "json", "--batch-size", "1", "--concurrency", "1"}, numbered(20)...)...).run()

	assert.Equal(t, 1, got.code)
	require.Len(t, srv.Requests(), 1)
	summary := got.summary(t)
	assert.Equal(t, 1, summary.NotDeleted, "%+v", summary)
	assert.Equal(t, 19, summary.NotSent)
	all := records(t, journal)
	last, says := states(all), errorsOf(all)
	for _, id := range numbered(20) {
		want := "not_deleted"
		if id == "conv-0001" || id == "conv-0002" || id == "conv-0003" {
			want = "unconfirmed"
		}
		assert.Equal(t, want, last[id], id)
	}
	assert.Contains(t, says["conv-0000"], "429")
	taken := states(records(t, file(t, strings.TrimPrefix(read(t, journal), before))))
	delete(taken, "conv-0000")
	assert.NotEmpty(t, taken, "nothing was read ahead: this test shows nothing")
	for id := range taken {
		assert.Contains(t, says[id], "not sent", id)
	}
}

func TestATornLastLineThatIsAWholeRecordIsCompleted(t *testing.T) {
	t.Parallel()
	srv := account(t, "b")
	before := sentLine(srv.URL, "a") + "\n" + stateLine("deleted", "a")
	journal := file(t, before)

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", "a", "b").run()

	assert.Equal(t, 1, got.summary(t).Skipped)
	assert.Equal(t, []string{"b"}, sentTo(srv))
	assert.True(t, strings.HasPrefix(read(t, journal), before+"\n"))
	assert.Equal(t, map[string]string{"a": "deleted", "b": "deleted"}, statesOf(t, journal))
}

func TestATornLastLineIsCutOff(t *testing.T) {
	t.Parallel()
	for name, torn := range map[string]string{
		"half a record":        `{"time":"2026-11-24T10:00:00.123Z","state":"del`,
		"an opening":           `{`,
		"zeros of a crash":     "\x00\x00\x00\x00",
		"half a character":     `{"time":"2026-11-24T10:00:00.123Z","state":"deleted","ids":["` + "\xc3",
		"an object of nothing": `{}`,
		"a record and a half":  stateLine("deleted", "a") + `{"time`,
		"no ids":               `{"time":"2026-11-24T10:00:00.123Z","state":"deleted"}`,
		"another state":        `{"time":"2026-11-24T10:00:00.123Z","state":"gone","ids":["a"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a")
			before := lines(sentLine(srv.URL, "a"))
			journal := file(t, before+torn)

			got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", "a").run()

			assert.Equal(t, 1, got.summary(t).Deleted)
			after := read(t, journal)
			assert.True(t, strings.HasPrefix(after, before+`{"`), after)
			assert.Equal(t, "deleted", statesOf(t, journal)["a"])
		})
	}
}

func TestADamagedLineStopsTheProgram(t *testing.T) {
	t.Parallel()
	whole := stateLine("deleted", "a")
	for name, damaged := range map[string]string{
		"garbage":           "garbage",
		"blank":             "",
		"an array":          `["a"]`,
		"nothing":           `{}`,
		"no state":          `{"time":"2026-11-24T10:00:00.123Z","ids":["a"]}`,
		"another state":     `{"time":"2026-11-24T10:00:00.123Z","state":"Deleted","ids":["a"]}`,
		"sent to no host":   sentLine("", "b"),
		"no ids":            `{"time":"2026-11-24T10:00:00.123Z","state":"deleted"}`,
		"ids that are none": `{"time":"2026-11-24T10:00:00.123Z","state":"deleted","ids":[]}`,
		"ids null":          `{"time":"2026-11-24T10:00:00.123Z","state":"deleted","ids":null}`,
		"an id that is 1":   `{"time":"2026-11-24T10:00:00.123Z","state":"deleted","ids":[1]}`,
		"an id null":        `{"time":"2026-11-24T10:00:00.123Z","state":"deleted","ids":[null]}`,
		"two records":       whole + whole,
		"half a record":     whole[:len(whole)-5],
		"a record and more": whole + " x",
		"half of a pair":    `{"time":"2026-11-24T10:00:00.123Z","state":"deleted","ids":["a\ud83d"]}`,
		"invalid UTF-8":     `{"time":"2026-11-24T10:00:00.123Z","state":"deleted","ids":["` + "a\xff" + `"]}`,
		"zeros":             "\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a", "b")
			content := lines(sentLine(srv.URL, "a", "b"), stateLine("deleted", "b"), damaged, stateLine("deleted", "a")) +
				`{"torn":` // Not even this is repaired.
			journal := file(t, content)

			got := cleanup(t, srv.URL, "--yes", "--journal", journal, "a", "b").run()

			assert.Equal(t, 2, got.code)
			assert.Contains(t, got.stderr, journal)
			assert.Regexp(t, `\b3\b`, strings.ReplaceAll(got.stderr, journal, ""))
			assert.NotRegexp(t, `\bGo\b|jsontext|json:`, got.stderr, "the words of a library")
			assert.Empty(t, srv.Requests())
			assert.Equal(t, content, read(t, journal))
		})
	}
}

// A line is as long as a batch is large.
func TestALineOfTheJournalCanBeLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<20)
	srv := account(t, long, "b")
	journal := newJournal(t)
	require.Equal(t, 0, cleanup(t, srv.URL, "--yes", "--journal", journal).input(long).run().code)

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json").input(long + "\nb\n").run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, 1, got.summary(t).Skipped)
}

// Ids are looked up in the journal, so it must give them back to the letter.
func TestTheJournalKeepsIDsToTheLetter(t *testing.T) {
	t.Parallel()
	ids := []string{"<a&b>", "x\u2028", " c ", "d\ne\r", "\"\\", "\x01\x1b", "\U0001f600", "\ufffd", "\ufeff", "A", "a"}
	srv := account(t, ids...)
	journal := newJournal(t)
	require.Equal(t, 0, cleanup(t, srv.URL, append([]string{"--yes", "--journal", journal, "--"}, ids...)...).run().code)
	assert.Len(t, statesOf(t, journal), len(ids))

	got := cleanup(t, srv.URL, append([]string{"--yes", "--journal", journal, "--output", "json", "--"}, ids...)...).run()

	assert.Equal(t, len(ids), got.summary(t).Skipped)
}

func TestTwoRunsCanNotUseOneJournalAtOnce(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]func(t *testing.T, journal string) string{
		"the same path": func(_ *testing.T, journal string) string { return journal },
		"another spelling": func(_ *testing.T, journal string) string {
			return filepath.Dir(journal) + "/./" + filepath.Base(journal)
		},
		"a symbolic link": func(t *testing.T, journal string) string {
			link := newJournal(t)
			if err := os.Symlink(journal, link); err != nil {
				t.Skip(err)
			}
			return link
		},
		"a hard link": func(t *testing.T, journal string) string {
			link := journal + ".link"
			if err := os.Link(journal, link); err != nil {
				t.Skip(err)
			}
			return link
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := hold(t)
			journal := newJournal(t)
			first := cleanup(t, srv.URL, "--yes", "--journal", journal, "a").start()
			<-srv.arrived

			got := cleanup(t, srv.URL, "--yes", "--journal", path(t, journal), "a", "b").run()

			assert.Equal(t, 2, got.code)
			assert.NotEmpty(t, got.stderr)
			assert.Empty(t, srv.arrived, "the second run has sent something")
			srv.release()
			assert.Equal(t, 0, first.end().code)
			assert.Equal(t, map[string]string{"a": "deleted"}, statesOf(t, journal))
		})
	}
}

func TestAJournalIsPrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	journal := newJournal(t)

	cleanup(t, account(t, "a").URL, "--yes", "--journal", journal, "a").run()

	info, err := os.Stat(journal)
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm()&0o077, "others could read or write it")
}

// Cut off as a torn line, the ids or the key would be gone.
func TestAFileThatIsNoJournalIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"ids":               "a\nb\n",
		"an id":             "a",
		"an array":          `["a","b"]`,
		"an object":         `{"id":"a"}`,
		"another's journal": `{"time":7,"state":"deleted"}`,
		"another's log":     `{"time":"2026-01-01T00:00:00Z","level":"INFO","msg":"hello"}`,
		"a key":             memoryplugintest.APIKey,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a", "b")
			path := file(t, content)

			got := cleanup(t, srv.URL, "--yes", "--journal", path, "a", "b").run()

			assert.Equal(t, 2, got.code)
			assert.Contains(t, got.stderr, path)
			assert.NotContains(t, got.stderr, memoryplugintest.APIKey)
			assert.Empty(t, srv.Requests())
			assert.Equal(t, content, read(t, path))
		})
	}
}

func TestAFirstLineThatIsTornIsCutOff(t *testing.T) {
	t.Parallel()
	for _, torn := range []string{"{", `{"time":"2026-11`, `{"time":"2026-11-24T10:00:00.123Z","state":"sent","host":"x","ids":["a`, "\x00\x00\x00", `{"ti` + "\x00"} {
		srv := account(t, "a")
		journal := file(t, torn)

		got := cleanup(t, srv.URL, "--yes", "--journal", journal, "a").run()

		assert.Equal(t, 0, got.code, "%q: %s", torn, got.stderr)
		assert.Equal(t, map[string]string{"a": "deleted"}, statesOf(t, journal))
	}
}

func TestNothingIsCutOffWithoutConsent(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	before := lines(sentLine(srv.URL, "a")) + `{"time":"2026`
	journal := file(t, before)

	got := cleanup(t, srv.URL, "--journal", journal, "a").run()

	assert.Equal(t, 2, got.code)
	assert.Equal(t, before, read(t, journal))
}

// Such as a note of its operator, by the shell's >>.
func TestWhatAnotherProgramAppendsIsNotWrittenOver(t *testing.T) {
	t.Parallel()
	srv := hold(t)
	journal := newJournal(t)
	p := cleanup(t, srv.URL, "--yes", "--journal", journal, "a").start()
	<-srv.arrived
	foreign := lines(stateLine("unconfirmed", "another"))
	f, err := os.OpenFile(journal, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.WriteString(foreign)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	srv.release()
	require.Equal(t, 0, p.end().code)

	assert.Contains(t, read(t, journal), foreign)
	assert.Equal(t, map[string]string{"a": "deleted", "another": "unconfirmed"}, statesOf(t, journal))
}

// Ids of the journal that nobody asked for are nobody's business.
func TestOnlyIDsThatAreAskedForAreSent(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b", "c")
	journal := file(t, lines(sentLine(srv.URL, "b", "c"), stateLine("not_deleted", "b")))

	got := cleanup(t, srv.URL, "--yes", "--journal", journal, "--output", "json", "a").run()

	assert.Equal(t, 1, got.summary(t).Requested)
	assert.Equal(t, []string{"a"}, sentTo(srv))
	// Not even they are left without a state.
	assert.Equal(t, map[string]string{"a": "deleted", "b": "not_deleted", "c": "unconfirmed"}, statesOf(t, journal))
	assert.Contains(t, errorsOf(records(t, journal))["c"], "not sent")
}
