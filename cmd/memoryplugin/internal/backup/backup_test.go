package backup_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/backup"
)

// lastLines are such that each byte can be the last one that a crash left.
const lastLines = `{"id":"a","messages":[{"message_index":0,"text":"{\"id\":\"x\"}é"}],"total":1}` + "\n" +
	`{"total":1.0e2,"id":"b","x":{"id":"y","id":"z"},"messages":[]}` + "\n"

func TestABackupThatIsTornAnywhereKeepsItsWholeLines(t *testing.T) {
	t.Parallel()
	begin := header + `{"id":"first"}` + "\n"
	for n := range len(lastLines) + 1 {
		torn := lastLines[:n]
		whole := torn[:strings.LastIndex(torn, "\n")+1]
		wantCut := n - len(whole)
		if strings.HasPrefix(lastLines[n:], "\n") { // Only the line end is missing.
			whole, wantCut = torn+"\n", 0
		}
		path := write(t, begin+torn)

		b := open(t, path)

		assert.Equal(t, wantCut, b.CutOff(), "%q", torn)
		assert.Equal(t, begin+whole, read(t, path), "%q", torn)
		lines := strings.Count(whole, "\n")
		assert.Equal(t, []bool{true, lines > 0, lines > 1}, []bool{b.HasAny("first"), b.HasAny("a"), b.HasAny("b")}, "%q", torn)
		require.NoError(t, b.Close())
		b = open(t, path)
		assert.Zero(t, b.CutOff())
		assert.Equal(t, lines > 1, b.HasAny("b"), "it says the same once more")
		require.NoError(t, b.Close())
	}
}

func TestZerosAtTheEndAreCutOff(t *testing.T) {
	t.Parallel()
	path := write(t, header+lastLines[:20]+strings.Repeat("\x00", 4096))

	b := open(t, path)

	assert.Equal(t, 4116, b.CutOff())
	assert.Equal(t, header, read(t, path))
}

func TestAnyOtherLineThatCannotBeReadMakesTheBackupUnusable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ line, want string }{
		"empty":                   {"", "bad JSON"},
		"text":                    {"conv-1", "bad JSON"},
		"torn":                    {`{"id":"a","messages":[`, "bad JSON"},
		"torn, and another after": {`{"id":"a","mess{"id":"b"}`, "bad JSON"},
		"zeros":                   {"\x00\x00", "bad JSON"},
		"an array":                {`[{"id":"a"}]`, "another type"},
		"a string":                {`"a"`, "another type"},
		"null":                    {"null", "it has no id"},
		"no id":                   {`{"ID":"a"}`, "it has no id"},
		"an id that is empty":     {`{"id":""}`, "it has no id"},
		"an id that is blank":     {`{"id":" "}`, "it has no id"},
		"an id that is null":      {`{"id":null}`, "it has no id"},
		"an id that is a number":  {`{"id":1}`, `the value at "/id" is of another type`},
		"a line of a journal":     {`{"time":"","state":"sent","ids":["a"]}`, "it has no id"},
		"a second header":         {strings.TrimSuffix(header, "\n"), "it has no id"},
	} {
		t.Run(name, func(t *testing.T) {
			content := header + `{"id":"a"}` + "\n" + test.line + "\n" + `{"torn`
			path := write(t, content)
			before, err := os.Stat(path)
			require.NoError(t, err)

			_, err = backup.Open(path, account)

			assert.ErrorContains(t, err, "backup.jsonl")
			assert.ErrorContains(t, err, "line 3 can't be read")
			assert.ErrorContains(t, err, test.want)
			assert.ErrorContains(t, err, "It is left as it is")
			assert.Equal(t, content, read(t, path))
			after, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, before.ModTime(), after.ModTime())
		})
	}
}

func TestAJournalIsNoBackup(t *testing.T) {
	t.Parallel()
	content := strings.Replace(header, "backup", "journal", 1)
	path := write(t, content)

	_, err := backup.Open(path, account)

	assert.ErrorContains(t, err, "it is not a backup of this tool")
	assert.Equal(t, content, read(t, path))
}

// A copy may be as old as the file, and the clocks may differ by a day.
func TestACopyIsTakenForOneIfItCannotBeOlder(t *testing.T) {
	t.Parallel()
	b := open(t, write(t, header+`{"id":"a"}`+"\n"))
	day := 24 * time.Hour
	for _, test := range []struct {
		name    string
		id      string
		updated time.Time
		want    bool
	}{
		{"updated long before the file was begun", "a", begun.Add(-day - time.Second), true},
		{"updated just before", "a", begun.Add(-day + time.Second), false},
		{"updated after", "a", begun.Add(time.Second), false},
		{"updated nobody knows when", "a", time.Time{}, false},
		{"no copy", "b", begun.Add(-100 * day), false},
	} {
		assert.Equal(t, test.want, b.Has(memoryplugin.Conversation{ID: test.id, UpdatedAt: test.updated}), test.name)
	}
	assert.True(t, b.HasAny("a"))
	assert.False(t, b.HasAny("b"))
}

func TestNoCopyIsTakenIfTheFileWasBegunInTheFuture(t *testing.T) {
	t.Parallel()
	future := strings.Replace(header, begun.Format("2006"), "2999", 1)
	b := open(t, write(t, future+`{"id":"a"}`+"\n"))

	assert.False(t, b.Has(memoryplugin.Conversation{ID: "a", UpdatedAt: time.Now().Add(-time.Hour)}))
}

func TestDiscardRemovesANewBackupAlone(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := open(t, path)
	assert.True(t, b.IsNew())
	b.Discard()
	assert.NoFileExists(t, path)

	path = write(t, header+lastLines)
	b = open(t, path)
	assert.False(t, b.IsNew())
	b.Discard()
	assert.Equal(t, header+lastLines, read(t, path))
}

// Messages that were cut may end so.
func TestACopyWithHalfASurrogatePairThatOnlyLacksItsEndIsCompleted(t *testing.T) {
	t.Parallel()
	path := write(t, header+`{"id":"a","t":"\ud83d"}`)

	b := open(t, path)

	assert.Zero(t, b.CutOff())
	assert.True(t, b.HasAny("a"))
	assert.Equal(t, header+`{"id":"a","t":"\ud83d"}`+"\n", read(t, path))
}
