package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

var account = appendfile.Account{URL: "https://api.example", APIKey: "key-1"}

const header = `{"journal":"memoryplugin","version":1,"time":"2026-01-02T03:04:05Z","url":"https://api.example",` +
	`"account":"000102030405060708090a0b0c0d0e0f:2325d6d77dcfe6fe53c2caffc2cf7117"}` + "\n"

func open(t *testing.T, path string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(path, account)
	require.NoError(t, err)
	t.Cleanup(func() { j.Close() })
	return j
}

func newPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "journal.jsonl")
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := newPath(t)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

func TestALineSaysWhatBecameOfIDsToTheLetter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		record journal.Record
		want   string
	}{
		{journal.Record{State: journal.Sent, IDs: []string{"a", "b"}}, `"state":"sent","ids":\["a","b"\]\}`},
		{journal.Record{State: journal.Deleted, IDs: []string{"a"}, RequestID: "req-1"}, `"state":"deleted","ids":\["a"\],"request_id":"req-1"\}`},
		{journal.Record{State: journal.NotListed, IDs: []string{"a"}}, `"state":"not_listed","ids":\["a"\]\}`},
		{journal.Record{State: journal.NotDeleted, IDs: []string{"a"}, RequestID: "r", Error: "429"}, `"state":"not_deleted","ids":\["a"\],"request_id":"r","error":"429"\}`},
		{journal.Record{State: journal.Unconfirmed, IDs: []string{"a"}, Error: `"x"`}, `"state":"unconfirmed","ids":\["a"\],"error":"\\"x\\""\}`},
		{journal.Record{State: journal.Gone, IDs: []string{"a"}}, `"state":"gone","ids":\["a"\]\}`},
		{journal.Record{State: journal.Absent, IDs: []string{"a"}}, `"state":"absent","ids":\["a"\]\}`},
		{journal.Record{State: journal.Kept, IDs: []string{"a"}}, `"state":"kept","ids":\["a"\]\}`},
	} {
		path := newPath(t)
		j := open(t, path)

		require.NoError(t, j.Write(&test.record))

		_, line, _ := strings.Cut(read(t, path), "\n")
		assert.Regexp(t, `^\{"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",`+test.want+`\n$`, line)
	}
}

func TestATimeIsWhenTheLineWasWritten(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	require.NoError(t, open(t, path).Write(&journal.Record{State: journal.Sent, IDs: []string{"a"}}))

	_, line, _ := strings.Cut(read(t, path), `{"time":"20`)

	at, err := time.Parse(time.RFC3339, "20"+strings.SplitN(line, `"`, 2)[0])
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), at, time.Minute)
}

func TestTheLastStateOfAnIDCounts(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	for _, record := range []journal.Record{
		{State: journal.Sent, IDs: []string{"a", "b", "c", "d"}},
		{State: journal.Unconfirmed, IDs: []string{"a", "b"}},
		{State: journal.Deleted, IDs: []string{"d"}},
		{State: journal.Gone, IDs: []string{"a"}},
		{State: journal.Sent, IDs: []string{"d"}},
	} {
		require.NoError(t, j.Write(&record))
	}
	require.NoError(t, j.Close())

	j = open(t, path)

	for id, want := range map[string]journal.State{"a": "gone", "b": "unconfirmed", "c": "sent", "d": "sent", "e": ""} {
		assert.Equal(t, want, j.State(id), id)
	}
	assert.Equal(t, []string{"b", "c", "d"}, j.InDoubt())
}

func TestWhatIsDoneAndWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	for state, want := range map[journal.State]struct{ done, inDoubt bool }{
		journal.Sent: {false, true}, journal.Unconfirmed: {false, true},
		journal.Deleted: {true, false}, journal.Gone: {true, false}, journal.Absent: {true, false},
		journal.NotListed: {false, true}, journal.NotDeleted: {}, journal.Kept: {},
	} {
		assert.Equal(t, want.done, state.IsDone(), state)
		assert.Equal(t, want.inDoubt, state.IsInDoubt(), state)
	}
}

func TestAnyIDAndTextComesBack(t *testing.T) {
	t.Parallel()
	ids := []string{"ä", `"`, `\`, "a b", "x\u2028y", "😀", "<&>", "\x00", "\ufffd", strings.Repeat("x", 100_000)}
	path := newPath(t)
	j := open(t, path)
	require.NoError(t, j.Write(&journal.Record{State: journal.Deleted, IDs: ids, RequestID: "\xff\x00\n", Error: "\xfe\n"}))
	require.NoError(t, j.Close())

	j = open(t, path)

	for _, id := range ids {
		assert.Equal(t, journal.Deleted, j.State(id), "%.20q", id)
	}
}

func TestManyIDsAreOnLinesOfAThousand(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	ids := make([]string, 2500)
	for i := range ids {
		ids[i] = fmt.Sprint("conv-", i)
	}
	j := open(t, path)
	require.NoError(t, j.Send(ids))
	require.NoError(t, j.Close())

	assert.Equal(t, 4, strings.Count(read(t, path), "\n"))
	assert.Len(t, open(t, path).InDoubt(), 2500)
}

func TestARecordWithoutIDsIsNotWritten(t *testing.T) {
	t.Parallel()
	path := write(t, header)

	require.NoError(t, open(t, path).Write(&journal.Record{State: journal.Gone}))

	assert.Equal(t, header, read(t, path))
}

func TestNoJournalKeepsNothing(t *testing.T) {
	t.Parallel()
	var j *journal.Journal

	assert.NoError(t, j.Send([]string{"a"}))
	assert.NoError(t, j.Write(&journal.Record{State: journal.Deleted, IDs: []string{"a"}}))
	assert.NoError(t, j.Flush())
	assert.NoError(t, j.Close())
	j.Discard()
	assert.Empty(t, j.State("a"))
	assert.Empty(t, j.InDoubt())
	assert.Empty(t, j.Path())
	assert.False(t, j.IsNew())
	assert.Zero(t, j.CutOff())
}

// lastLines are such that each byte can be the last one that a crash left.
const lastLines = `{"time":"2026-01-02T03:04:05.000Z","state":"sent","ids":["a","é"]}` + "\n" +
	`{"time":"2026-01-02T03:04:06.000Z","state":"deleted","ids":["a"],"request_id":"r","error":"\u00e9 {}"}` + "\n"

func TestAJournalThatIsTornAnywhereKeepsItsWholeLines(t *testing.T) {
	t.Parallel()
	begin := header + `{"time":"","state":"sent","ids":["first"]}` + "\n"
	for n := range len(lastLines) + 1 {
		torn := lastLines[:n]
		whole := torn[:strings.LastIndex(torn, "\n")+1]
		wantCut := n - len(whole)
		if strings.HasPrefix(lastLines[n:], "\n") { // Only the line end is missing.
			whole, wantCut = torn+"\n", 0
		}
		path := write(t, begin+torn)

		j := open(t, path)

		assert.Equal(t, wantCut, j.CutOff(), "%q", torn)
		assert.Equal(t, begin+whole, read(t, path), "%q", torn)
		want := map[string]journal.State{}
		if strings.Count(whole, "\n") > 0 {
			want["a"], want["é"] = journal.Sent, journal.Sent
		}
		if strings.Count(whole, "\n") > 1 {
			want["a"] = journal.Deleted
		}
		assert.Equal(t, want["a"], j.State("a"), "%q", torn)
		assert.Equal(t, want["é"], j.State("é"), "%q", torn)
		assert.Equal(t, journal.Sent, j.State("first"))
		require.NoError(t, j.Close())
		j = open(t, path)
		assert.Zero(t, j.CutOff())
		assert.Equal(t, want["a"], j.State("a"), "it says the same once more")
		require.NoError(t, j.Close())
	}
}

func TestZerosAtTheEndAreCutOff(t *testing.T) {
	t.Parallel()
	for n := range len(lastLines) {
		zeros := strings.Repeat("\x00", len(lastLines)-n)
		path := write(t, header+lastLines[:n]+zeros)

		j := open(t, path)

		want := lastLines[:strings.LastIndex(lastLines[:n], "\n")+1]
		assert.Equal(t, header+want, read(t, path))
		assert.Equal(t, len(lastLines)-len(want), j.CutOff())
		require.NoError(t, j.Close())
	}
}

func TestAnyOtherLineThatCannotBeReadMakesTheJournalUnusable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ line, want string }{
		"empty":                   {"", "bad JSON"},
		"text":                    {"conv-1", "bad JSON"},
		"torn":                    {`{"time":"","state":"sent","ids":["a`, "bad JSON"},
		"two on a line":           {`{"time":"","state":"sent","ids":["a"]}{"time":"","state":"sent","ids":["a"]}`, "bad JSON"},
		"torn, and another after": {`{"time":"","state":"se{"time":"","state":"sent","ids":["a"]}`, "bad JSON"},
		"zeros":                   {"\x00\x00\x00", "bad JSON"},
		"an array":                {`["a"]`, "another type"},
		"null":                    {"null", "unknown"},
		"no state":                {`{"time":"","ids":["a"]}`, `its state is "", which is unknown`},
		"an unknown state":        {`{"time":"","state":"lost","ids":["a"]}`, `its state is "lost", which is unknown`},
		"a state in capitals":     {`{"time":"","state":"Sent","ids":["a"]}`, "unknown"},
		"a state that is a number": {
			`{"time":"","state":1,"ids":["a"]}`, `the value at "/state" is of another type`,
		},
		"two states":              {`{"time":"","state":"sent","state":"gone","ids":["a"]}`, "bad JSON"},
		"no ids":                  {`{"time":"","state":"sent"}`, "it has no ids"},
		"an empty list of ids":    {`{"time":"","state":"sent","ids":[]}`, "it has no ids"},
		"ids that are a string":   {`{"time":"","state":"sent","ids":"a"}`, `the value at "/ids" is of another type`},
		"an id that is a number":  {`{"time":"","state":"sent","ids":["a",1]}`, `the value at "/ids/1" is of another type`},
		"an id that is null":      {`{"time":"","state":"sent","ids":["a",null]}`, "one of its ids is blank"},
		"an id that is empty":     {`{"time":"","state":"sent","ids":[""]}`, "one of its ids is blank"},
		"an id that is blank":     {`{"time":"","state":"sent","ids":[" \t"]}`, "one of its ids is blank"},
		"an id that is not UTF-8": {`{"time":"","state":"sent","ids":["` + "\xff" + `"]}`, "bad JSON"},
		"half a surrogate pair":   {`{"time":"","state":"sent","ids":["\ud800"]}`, "bad JSON"},
		"a second header":         {strings.TrimSuffix(header, "\n"), "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			const good = `{"time":"","state":"sent","ids":["b"]}` + "\n"
			for at, content := range map[string]string{
				"line 2": header + test.line + "\n" + good + `{"torn`,
				"line 3": header + good + test.line + "\n",
			} {
				path := write(t, content)
				before, err := os.Stat(path)
				require.NoError(t, err)

				_, err = journal.Open(path, account)

				assert.ErrorContains(t, err, "journal.jsonl")
				assert.ErrorContains(t, err, at+" can't be read")
				assert.ErrorContains(t, err, test.want)
				assert.ErrorContains(t, err, "It is left as it is")
				assert.Equal(t, content, read(t, path))
				after, err := os.Stat(path)
				require.NoError(t, err)
				assert.Equal(t, before.ModTime(), after.ModTime())
			}
		})
	}
}

// A newer version of the tool may say more.
func TestUnknownPropertiesAreIgnored(t *testing.T) {
	t.Parallel()
	path := write(t, header+`{"time":"","state":"gone","ids":["a"],"more":{"x":[1]}}`+"\n")

	assert.Equal(t, journal.Gone, open(t, path).State("a"))
}

func TestWhatIsOnlyLookedAtIsNeitherLockedNorChanged(t *testing.T) {
	t.Parallel()
	content := header + lastLines + `{"torn`
	path := write(t, content)

	j, err := journal.Look(path, account)

	require.NoError(t, err)
	assert.Equal(t, journal.Deleted, j.State("a"))
	assert.Equal(t, []string{"é"}, j.InDoubt())
	assert.Equal(t, content, read(t, path))
	assert.NoError(t, j.Close())
	open(t, path)
}

func TestARemovedJournalRefusesWhatIsToBeSent(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	require.NoError(t, j.Send([]string{"a"}))
	require.NoError(t, os.Rename(path, path+".old"))

	err := j.Send([]string{"b"})

	assert.ErrorContains(t, err, "journal.jsonl")
	assert.ErrorContains(t, err, "was removed or replaced during the run")
	assert.NotContains(t, read(t, path+".old"), `"b"`)
	assert.NoFileExists(t, path)
	assert.ErrorIs(t, j.Write(&journal.Record{State: journal.Deleted, IDs: []string{"a"}}), appendfile.ErrLost)
}

func TestManyCanWriteAtATime(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for i := range 50 {
				ids := []string{fmt.Sprintf("%d-%d", worker, i)}
				assert.NoError(t, j.Send(ids))
				assert.NoError(t, j.Write(&journal.Record{State: journal.Deleted, IDs: ids}))
			}
		})
	}
	workers.Wait()
	require.NoError(t, j.Close())

	assert.Empty(t, open(t, path).InDoubt())
	assert.Equal(t, 401, strings.Count(read(t, path), "\n"))
}
