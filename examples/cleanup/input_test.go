package main_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// inputs are texts and the ids that are in them.
var inputs = map[string]struct {
	text string
	ids  []string
}{
	"a line each":             {"a\nb\n", []string{"a", "b"}},
	"no newline at the end":   {"a\nb", []string{"a", "b"}},
	"CRLF":                    {"a\r\nb\r\n", []string{"a", "b"}},
	"a byte order mark":       {"\ufeffa\nb\n", []string{"a", "b"}},
	"a mark and CRLF":         {"\ufeff# ids\r\na\r\n\r\nb\r\n", []string{"a", "b"}},
	"a mark further on":       {"a\n\ufeffb\n", []string{"a", "\ufeffb"}},
	"blank lines":             {"\n\na\n\nb\n\n", []string{"a", "b"}},
	"comments":                {"# mine\na\n#b\n#\n", []string{"a"}},
	"a # that is not first":   {" #a\nb # c\n", []string{" #a", "b # c"}},
	"spaces around an id":     {" a\nb \n\tc\n", []string{" a", "b ", "\tc"}},
	"JSON without --json":     {"[\"a\"]\n{\"id\":\"b\"}\n", []string{`["a"]`, `{"id":"b"}`}},
	"more than one of them":   {"a\r\r\nb\n", []string{"a\r", "b"}},
	"one at the very end":     {"a\nb\r", []string{"a", "b\r"}},
	"a carriage return in it": {"a\rb\n", []string{"a\rb"}},
	"what is not ASCII":       {"grüße\n\U0001f600\n\ufffd\n", []string{"grüße", "\U0001f600", "\ufffd"}},
	"a very long line":        {strings.Repeat("x", 3<<20) + "\nb\n", []string{strings.Repeat("x", 3<<20), "b"}},
}

var jsonInputs = map[string]struct {
	text string
	ids  []string
}{
	"an array of strings":   {`["a","b"]`, []string{"a", "b"}},
	"an array of objects":   {`[{"id":"a","title":"x"},{"title":{"id":"y"},"id":"b"}]`, []string{"a", "b"}},
	"an array of both":      {`["a",{"id":"b"}]`, []string{"a", "b"}},
	"an array over lines":   {"[\r\n  \"a\",\r\n  {\r\n    \"id\": \"b\"\r\n  }\r\n]\r\n", []string{"a", "b"}},
	"an array after space":  {"\n  [\"a\"]  \n\n", []string{"a"}},
	"a string a line":       {"\"a\"\n\"b\"\n", []string{"a", "b"}},
	"an object a line":      {"{\"id\":\"a\"}\n{\"n\":1,\"id\":\"b\"}\n", []string{"a", "b"}},
	"both, a line each":     {"\"a\"\r\n\r\n{\"id\":\"b\"}", []string{"a", "b"}},
	"a mark and an array":   {"\ufeff[\"a\"]", []string{"a"}},
	"a mark and lines":      {"\ufeff\"a\"\n\"b\"\n", []string{"a", "b"}},
	"escapes":               {`["\u0061","\ud83d\ude00","\"\\\n","\ufffd"]`, []string{"a", "\U0001f600", "\"\\\n", "\ufffd"}},
	"spaces within an id":   {`[" a ","# b"]`, []string{" a ", "# b"}},
	"an escaped backslash":  {`["\\ud800"]`, []string{`\ud800`}},
	"an id as wide as long": {`[{"id":"` + strings.Repeat("x", 3<<20) + `"},"b"]`, []string{strings.Repeat("x", 3<<20), "b"}},
	"a property's like":     {`[{"ID":"x","Id":"y","id":"a"},{"id":"b","iD":"z"}]`, []string{"a", "b"}},
}

func TestIDsAreReadFromAFile(t *testing.T) {
	t.Parallel()
	for name, tt := range inputs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, tt.ids...)

			got := cleanup(t, srv.URL, "--yes", "--file", file(t, tt.text)).run()

			assert.Equal(t, 0, got.code, got.stderr)
			assert.Equal(t, tt.ids, sentTo(srv))
		})
	}
}

func TestIDsAreReadFromAPipe(t *testing.T) {
	t.Parallel()
	for name, tt := range inputs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, tt.ids...)

			got := cleanup(t, srv.URL, "--yes").input(tt.text).run()

			assert.Equal(t, 0, got.code, got.stderr)
			assert.Equal(t, tt.ids, sentTo(srv))
		})
	}
}

func TestIDsAreReadFromJSON(t *testing.T) {
	t.Parallel()
	for name, tt := range jsonInputs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, tt.ids...)

			got := cleanup(t, srv.URL, "--yes", "--json").input(tt.text).run()

			assert.Equal(t, 0, got.code, got.stderr)
			assert.Equal(t, tt.ids, sentTo(srv))
		})
	}
}

func TestAFileCanBeJSON(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")

	got := cleanup(t, srv.URL, "--yes", "--json", "--file", file(t, `["a",{"id":"b"}]`)).run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, []string{"a", "b"}, sentTo(srv))
}

func TestIDsAreReadFromArguments(t *testing.T) {
	t.Parallel()
	ids := []string{"a", "#b", " c ", "--yes", "d\ne", "-f", "[\"g\"]", "help", "__complete"}
	srv := account(t, ids...)

	got := cleanup(t, srv.URL, append([]string{"--yes", "--"}, ids...)...).run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, ids, sentTo(srv))
}

// The flag library has commands of its own, which must not pass for a deletion.
func TestAnIDThatIsAlsoACommandIsNeverPassedOverInSilence(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"help", "completion", "__complete", "__completeNoDesc"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			srv := account(t, id)

			got := cleanup(t, srv.URL, id, "--yes").run()

			if got.code == 0 {
				assert.Empty(t, srv.Conversations())
			} else {
				assert.Equal(t, 2, got.code)
				assert.Contains(t, got.stderr, "put -- before the ids")
				assert.Empty(t, srv.Requests())
			}
		})
	}
}

func TestStandardInputIsLeftAloneWhereThereAreArguments(t *testing.T) {
	t.Parallel()
	srv := account(t, "a", "b")
	reader, writer, err := os.Pipe() // It never ends.
	require.NoError(t, err)
	defer reader.Close()
	defer writer.Close()
	_, err = writer.WriteString("b\n")
	require.NoError(t, err)
	p := cleanup(t, srv.URL, "--yes", "a")
	p.Stdin = reader

	got := p.run()

	assert.Equal(t, 0, got.code, got.stderr)
	assert.Equal(t, []string{"a"}, sentTo(srv))
}

// A million ids are one thing, a server that has deleted half of them when the
// mistake is found another.
func TestALineThatCanNotBeAnIDIsNamedAndNothingIsSent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text   string
		number string
		args   []string
	}{
		"not UTF-8":              {"a\nb\n\xff\nc\n", "3", nil},
		"not UTF-8, at last":     {"a\nb\nc\xe4", "3", nil},
		"after comments":         {"# x\n\na\n# y\nb\xff\n", "5", nil},
		"not UTF-8, CRLF":        {"a\r\n\r\n\xff\r\n", "3", nil},
		"no JSON":                {"\"a\"\nb\n", "2", []string{"--json"}},
		"a number a line":        {"\"a\"\n\"b\"\n7\n", "3", []string{"--json"}},
		"null a line":            {"\"a\"\nnull\n", "2", []string{"--json"}},
		"a blank string a line":  {"\"a\"\n\"\"\n", "2", []string{"--json"}},
		"another property":       {"{\"id\":\"a\"}\n{\"ID\":\"b\"}\n", "2", []string{"--json"}},
		"an id that is null":     {"{\"id\":\"a\"}\n{\"id\":null}\n", "2", []string{"--json"}},
		"an id that is a number": {"{\"id\":\"a\"}\n{\"id\":1}\n", "2", []string{"--json"}},
		"half a pair, a line":    {"\"a\"\n\"\\ud83d\"\n", "2", []string{"--json"}},
		"two on a line":          {"\"a\"\n\"b\" \"c\"\n", "2", []string{"--json"}},
		"cut JSON, a line":       {"\"a\"\n{\"id\":\"b\"", "2", []string{"--json"}},
		"not UTF-8, JSON":        {"\"a\"\n\"b\xff\"\n", "2", []string{"--json"}},
		"an array on a line":     {"\"a\"\n[\"b\"]\n", "2", []string{"--json"}},
		"an id given twice":      {"{\"id\":\"a\"}\n{\"id\":\"b\",\"id\":\"c\"}\n", "2", []string{"--json"}},
		"a null in an array":     {"[\n\"a\",\nnull\n]\n", "3", []string{"--json"}},
		"a text after an array":  {"[\"a\"]\n\n\n x\n", "4", []string{"--json"}},
		"an array after another": {"[\"a\"]\n[\"b\"]\n", "2", []string{"--json"}},
		"an object over lines":   {"[\n\"a\",\n{\n\"id\":null\n}]\n", "3", []string{"--json"}},
		"a comma too few":        {"[\n\"a\"\n\"b\"\n]\n", "3", []string{"--json"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a", "b", "c")

			got := cleanup(t, srv.URL, append([]string{"--yes", "--batch-size", "1"}, tt.args...)...).input(tt.text).run()

			assert.Equal(t, 2, got.code)
			assert.Regexp(t, `\bline `+tt.number+`\b`, got.stderr)
			assert.NotRegexp(t, `\bGo\b|jsontext|json:`, got.stderr, "the words of a library")
			assert.Empty(t, got.stdout)
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestALineOfAFileIsNamedWithTheFile(t *testing.T) {
	t.Parallel()
	path := file(t, "a\n\xff\n")

	got := cleanup(t, account(t).URL, "--yes", "--file", path).run()

	assert.Equal(t, 2, got.code)
	assert.Contains(t, got.stderr, path)
	assert.Regexp(t, `\bline 2\b`, got.stderr)
}

func TestAnArrayIsReadToTheLetter(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"another property":        `["a",{"ID":"b"}]`,
		"another property, too":   `["a",{"Id":"b"}]`,
		"no property":             `["a",{}]`,
		"null":                    `["a",null]`,
		"null instead":            `null`,
		"an id that is null":      `["a",{"id":null}]`,
		"a number":                `["a",1]`,
		"an id that is a number":  `["a",{"id":1}]`,
		"a list":                  `["a",["b"]]`,
		"a blank id":              `["a",""]`,
		"half a pair":             `["a","\ud83d"]`,
		"the other half":          `["a","\ude00\ud83d"]`,
		"half a pair in an id":    `["a",{"id":"x\udc00"}]`,
		"half a pair and a u":     `["a","\ud83d\u0061"]`,
		"invalid UTF-8":           "[\"a\",\"b\xff\"]",
		"something after it":      `["a"] x`,
		"another array after it":  `["a"]["b"]`,
		"a line after it":         "[\"a\"]\n\"b\"\n",
		"a null character":        "[\"a\"]\x00",
		"a missing end":           `["a","b"`,
		"a comma too many":        `["a",]`,
		"an end in the middle":    `["a","b`,
		"invalid UTF-8 elsewhere": "[{\"id\":\"a\",\"title\":\"\xff\"}]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a", "b")

			got := cleanup(t, srv.URL, "--yes", "--json", "--batch-size", "1").input(text).run()

			assert.Equal(t, 2, got.code)
			assert.NotEmpty(t, got.stderr)
			assert.Empty(t, got.stdout)
			assert.Empty(t, srv.Requests())
		})
	}
}

func TestDuplicatesAreCountedAndSentOnce(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"lines": nil,
		"JSON":  {"--json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a", "b")
			text := lines("a", "b", "a", "a")
			if args != nil {
				text = `["a",{"id":"b"},"\u0061",{"id":"a"}]`
			}

			// One id a batch: the SDK drops those within a batch itself.
			args := append([]string{"--yes", "--output", "json", "--batch-size", "1"}, args...)
			got := cleanup(t, srv.URL, args...).input(text).run()

			assert.Equal(t, 0, got.code, got.stderr)
			assert.ElementsMatch(t, []string{"a", "b"}, sentTo(srv))
			summary := got.summary(t)
			assert.Equal(t, 2, summary.Requested)
			assert.Equal(t, 2, summary.Duplicates)
			assert.Equal(t, 2, summary.Deleted)
		})
	}
}

func TestBadUsageSendsNothing(t *testing.T) {
	t.Parallel()
	ids := file(t, "a\n")
	for name, tt := range map[string]struct {
		args  []string
		input string
	}{
		"no ids":                                 {nil, ""},
		"nothing but comments":                   {nil, "# a\n\n"},
		"an empty array":                         {[]string{"--json"}, "[]"},
		"no JSON at all":                         {[]string{"--json"}, ""},
		"arguments and --file":                   {[]string{"--file", ids, "a"}, ""},
		"a file that is not there":               {[]string{"--file", ids + ".missing"}, ""},
		"a file that is a folder":                {[]string{"--file", t.TempDir()}, ""},
		"a blank argument":                       {[]string{"a", ""}, ""},
		"an argument not UTF-8":                  {[]string{"a", "b\xff"}, ""},
		"an unknown flag":                        {[]string{"--force", "a"}, ""},
		"a key as a flag":                        {[]string{"--api-key", memoryplugintest.APIKey, "a"}, ""},
		"a batch of no number":                   {[]string{"--batch-size", "x", "a"}, ""},
		"a negative batch":                       {[]string{"--batch-size", "-1", "a"}, ""},
		"a negative concurrency":                 {[]string{"--concurrency", "-1", "a"}, ""},
		"a negative rate":                        {[]string{"--rate", "-1", "a"}, ""},
		"a rate of no number":                    {[]string{"--rate", "NaN", "a"}, ""},
		"a rate without end":                     {[]string{"--rate", "+Inf", "a"}, ""},
		"a negative time-out":                    {[]string{"--timeout", "-1s", "a"}, ""},
		"negative retries":                       {[]string{"--max-retries", "-1", "a"}, ""},
		"another output":                         {[]string{"--output", "xml", "a"}, ""},
		"another base URL":                       {[]string{"--base-url", "ftp://127.0.0.1", "a"}, ""},
		"a base URL in the clear":                {[]string{"--base-url", "http://example.com", "a"}, ""},
		"a key file not there":                   {[]string{"--api-key-file", ids + ".missing", "a"}, ""},
		"a variable of a script that is not set": {[]string{"--journal", "", "a"}, ""},
		"a journal in no folder":                 {[]string{"--journal", ids + ".missing/journal", "a"}, ""},
		"a journal not a file":                   {[]string{"--journal", t.TempDir(), "a"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := account(t, "a")

			got := cleanup(t, srv.URL, append([]string{"--yes"}, tt.args...)...).input(tt.input).run()

			assert.Equal(t, 2, got.code)
			assert.NotEmpty(t, got.stderr)
			assert.Empty(t, got.stdout)
			assert.Empty(t, srv.Requests())
			assert.NotContains(t, got.stderr, memoryplugintest.APIKey)
		})
	}
}

func TestAnInputThatCanNotBeReadSendsNothing(t *testing.T) {
	t.Parallel()
	srv := account(t, "a")
	p := cleanup(t, srv.URL, "--yes")
	directory, err := os.Open(t.TempDir()) // It can't be read.
	require.NoError(t, err)
	defer directory.Close()
	p.Stdin = directory

	got := p.run()

	assert.Equal(t, 2, got.code)
	assert.NotContains(t, got.stderr, "no ids", "it is not empty: nobody knows what is in it")
	assert.Empty(t, srv.Requests())
}

func TestAHundredThousandIDsAreSentOnceEach(t *testing.T) {
	t.Parallel()
	const n = 100_000
	var sent int
	seen := map[string]bool{}
	url := serve(t, func(w http.ResponseWriter, ids []string) {
		for _, id := range ids {
			sent, seen[id] = sent+1, true
		}
		confirm(w, ids...)
	})

	got := cleanup(t, url, "--yes", "--concurrency", "1", "--batch-size", "5000", "--output", "json").
		input(strings.Join(numbered(n), "\n")).run()

	assert.Equal(t, n, got.summary(t).Deleted)
	assert.Equal(t, n, sent)
	assert.Len(t, seen, n)
}
