package selection_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/selection"
)

func TestIDsAreReadFromLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<20)
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"a line each":             {"a\nb\n", []string{"a", "b"}},
		"no newline at the end":   {"a\nb", []string{"a", "b"}},
		"CRLF":                    {"a\r\nb\r\n", []string{"a", "b"}},
		"CRLF, not at the end":    {"a\r\nb\r", []string{"a", "b"}},
		"a byte order mark first": {"\ufeffa\nb\n", []string{"a", "b"}},
		"a mark and a comment":    {"\ufeff# ids\r\na\r\n\r\nb\r\n", []string{"a", "b"}},
		"blank lines":             {"\n\na\n \t\n\r\nb\n\n", []string{"a", "b"}},
		"comments":                {"# mine\na\n#b\n#\n# \"x\", {y}\n", []string{"a"}},
		"a # further on":          {"a#b\n", []string{"a#b"}},
		"other scripts":           {"grüße\n\U0001f600\nид\n", []string{"grüße", "\U0001f600", "ид"}},
		"a very long line":        {long + "\nb\n", []string{long, "b"}},
		"flags and paths":         {"--yes\n-f\n../x\nhttps://x/y?z=1&b=%20\n", []string{"--yes", "-f", "../x", "https://x/y?z=1&b=%20"}},
		"nothing":                 {"", []string{}},
		"a mark alone":            {"\ufeff", []string{}},
		"comments alone":          {"# a\n#b", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := selection.FromLines(strings.NewReader(test.text), "ids.txt")

			require.NoError(t, err)
			assert.Equal(t, test.want, ids(got.Conversations))
			assert.False(t, got.WasListed)
			assert.Zero(t, got.Duplicates)
		})
	}
}

// foreign is what makes a text another format than an id on a line.
var foreign = map[string]string{
	"a space within":         "a b",
	"a space before":         " a",
	"a space after":          "a ",
	"a tab":                  "a\tb",
	"a carriage return":      "a\rb",
	"two carriage returns":   "a\r\r",
	"a no-break space":       "a\u00a0",
	"an ideographic space":   "a\u3000",
	"a line separator":       "a\u2028b",
	"a next line":            "a\u0085",
	"a null":                 "a\x00",
	"an escape":              "a\x1b[2J",
	"a delete":               "a\x7f",
	"a C1 control":           "a\u009b",
	"a byte order mark":      "a\ufeff",
	"one that is first":      "\ufeffa",
	"a zero-width space":     "a\u200bb",
	"a zero-width joiner":    "a\u200d",
	"a direction mark":       "a\u200e",
	"an override":            "a\u202eb",
	"a soft hyphen":          "a\u00ad",
	"a word joiner":          "a\u2060",
	"a variation selector":   "a\ufe0f",
	"a far one":              "a\U000e0100",
	"a tag":                  "a\U000e0041",
	"a Hangul filler":        "a\u3164",
	"another Hangul filler":  "a\u115f",
	"a half-width filler":    "a\uffa0",
	"a grapheme joiner":      "a\u034f",
	"a blank Braille":        "a\u2800",
	"a private character":    "a\ue000",
	"a noncharacter":         "a\uffff",
	"a double quote":         `"a"`,
	"a single quote":         "'a'",
	"a backtick":             "`a`",
	"typographic quotes":     "“a”",
	"single ones":            "‘a’",
	"guillemets":             "«a»",
	"a comma":                "a,b",
	"a semicolon":            "a;b",
	"brackets":               "[a]",
	"parentheses":            "(a)",
	"braces":                 "{a}",
	"angle brackets":         "<a>",
	"a closing bracket only": "a]",
	"a JSON object":          `{"id":"a"}`,
	"invalid UTF-8":          "a\xff",
	"UTF-16":                 "a\x00b\x00",
	"half a surrogate":       "a\xed\xa0\xbd",
}

func TestALineOfAnotherFormatIsRefusedWithItsNumber(t *testing.T) {
	t.Parallel()
	for name, line := range foreign {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := selection.FromLines(strings.NewReader("# a comment\n\nfirst\r\n"+line+"\nlast\n"), "ids.txt")

			assert.ErrorContains(t, err, "ids.txt, line 4 ")
			assert.Nil(t, got)
			requirePlain(t, err)
		})
	}
}

// requirePlain checks that an error can be shown as it is.
func requirePlain(t *testing.T, err error) {
	t.Helper()
	for _, r := range err.Error() {
		require.True(t, r == ' ' || strconv.IsGraphic(r) && strconv.IsPrint(r), "%q", err.Error())
	}
	require.NotRegexp(t, `jsontext|json:`, err.Error(), "the words of a library")
}

func TestAnArgumentOfAnotherFormatIsRefusedWithItsNumber(t *testing.T) {
	t.Parallel()
	more := map[string]string{"blank": "", "white space": " ", "a comment": "# a", "two lines": "a\nb"}
	for _, set := range []map[string]string{foreign, more} {
		for name, arg := range set {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				_, err := selection.FromArguments([]string{"first", arg, "last"})

				assert.ErrorContains(t, err, "argument 2, ")
				requirePlain(t, err)
			})
		}
	}
}

func TestTheErrorOfAForeignLinePointsToJSON(t *testing.T) {
	t.Parallel()
	_, err := selection.FromLines(strings.NewReader(`["a"]`), "standard input")

	assert.EqualError(t, err, `standard input, line 1 has "[", which no id has: give one id per line or argument, or JSON with --json`)
}

func TestAnInvisibleCharacterIsNamed(t *testing.T) {
	t.Parallel()
	_, err := selection.FromLines(strings.NewReader("a\u200b"), "x")
	assert.ErrorContains(t, err, `"\u200b"`)
}

func TestDuplicatesAreDroppedAndCounted(t *testing.T) {
	t.Parallel()
	fromLines, err := selection.FromLines(strings.NewReader("a\nb\na\r\nA\na\n"), "x")
	require.NoError(t, err)
	fromJSON, err := selection.FromJSON(strings.NewReader(`["a","b",{"id":"a"},"A","\u0061"]`), "x")
	require.NoError(t, err)
	fromArguments, err := selection.FromArguments([]string{"a", "b", "a", "A", "a"})
	require.NoError(t, err)

	for _, got := range []*selection.Selection{fromLines, fromJSON, fromArguments} {
		assert.Equal(t, []string{"a", "b", "A"}, ids(got.Conversations))
		assert.Equal(t, 2, got.Duplicates)
	}
}

var errRead = errors.New("input/output error")

func TestAFailureToReadIsNotTheEnd(t *testing.T) {
	t.Parallel()
	for _, read := range []func(io.Reader, string) (*selection.Selection, error){selection.FromLines, selection.FromJSON} {
		got, err := read(io.MultiReader(strings.NewReader("1\n"), iotest.ErrReader(errRead)), "ids.txt")

		assert.ErrorIs(t, err, errRead)
		assert.ErrorContains(t, err, "ids.txt")
		assert.Nil(t, got)
	}
}

// It takes about a second. If it were quadratic, it would take an hour.
func TestAMillionIDsAreRead(t *testing.T) {
	t.Parallel()
	const n = 1_000_000
	var lines []byte
	for i := range n {
		lines = append(strconv.AppendInt(append(lines, "conversation-"...), int64(i), 10), '\n')
	}

	got, err := selection.FromLines(bytes.NewReader(lines), "x")

	require.NoError(t, err)
	assert.Len(t, got.Conversations, n)
}

func TestIDsAreReadFromJSON(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<20)
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"an array of strings":    {`["a","b"]`, []string{"a", "b"}},
		"an array of objects":    {`[{"id":"a","title":"x"},{"title":{"id":"y"},"id":"b"}]`, []string{"a", "b"}},
		"an array of both":       {`["a",{"id":"b"}]`, []string{"a", "b"}},
		"an array over lines":    {"[\r\n  \"a\",\r\n  {\r\n    \"id\": \"b\"\r\n  }\r\n]\r\n", []string{"a", "b"}},
		"a stream of strings":    {"\"a\"\n\"b\"\n", []string{"a", "b"}},
		"a stream of objects":    {"{\"id\":\"a\"}\n{\"n\":1,\"id\":\"b\"}\n", []string{"a", "b"}},
		"a stream without lines": {`"a""b"{"id":"c"}`, []string{"a", "b", "c"}},
		"objects over lines":     {"{\n  \"id\": \"a\"\n}\n{\n  \"id\": \"b\"\n}\n", []string{"a", "b"}},
		"a stream of arrays":     {"[\"a\"]\n[]\n[\"b\"]\n\"c\"", []string{"a", "b", "c"}},
		"a byte order mark":      {"\ufeff[\"a\"]", []string{"a"}},
		"escapes":                {`["\u0061","\ud83d\ude00","\"\\\n","\ufffd"]`, []string{"a", "\U0001f600", "\"\\\n", "\ufffd"}},
		"to the letter":          {`[" a ","# b","a,b","\u200b"]`, []string{" a ", "# b", "a,b", "\u200b"}},
		"an escaped backslash":   {`["\\ud800"]`, []string{`\ud800`}},
		"a property's like":      {`[{"ID":"x","Id":"y","id":"a"}]`, []string{"a"}},
		"very long":              {`[{"id":"` + long + `"},"b"]`, []string{long, "b"}},
		"an empty array":         {`[]`, []string{}},
		"nothing":                {"", []string{}},
		"white space":            {" \r\n\t", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := selection.FromJSON(strings.NewReader(test.text), "ids.json")

			require.NoError(t, err)
			assert.Equal(t, test.want, ids(got.Conversations))
			assert.Zero(t, got.Duplicates)
		})
	}
}

func TestBadJSONIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		line int
	}{
		"no JSON":                 {"\"a\"\nb\n", 2},
		"lines of ids":            {"a\nb\n", 1},
		"a number":                {"\"a\"\n\"b\"\n7\n", 3},
		"null":                    {"\"a\"\nnull\n", 2},
		"true in an array":        {"[\n\"a\",\ntrue\n]\n", 3},
		"an array in an array":    {"[\"a\",\n[\"b\"]]", 2},
		"a blank string":          {"\"a\"\n\" \"\n", 2},
		"an empty string":         {"\"a\"\n{\"id\":\"\"}\n", 2},
		"another property":        {"{\"id\":\"a\"}\n{\"ID\":\"b\"}\n", 2},
		"no property":             {"[\"a\",\n{}]", 2},
		"an id that is null":      {"{\"id\":\"a\"}\n{\"id\":null}\n", 2},
		"an id that is a number":  {"{\"id\":\"a\"}\n{\"id\":1}\n", 2},
		"an id given twice":       {"{\"id\":\"a\"}\n{\"id\":\"b\",\"id\":\"c\"}\n", 2},
		"another one given twice": {"{\"id\":\"a\"}\n{\"id\":\"b\",\"x\":1,\"x\":2}\n", 2},
		"half a pair":             {"\"a\"\n\"\\ud83d\"\n", 2},
		"the other half":          {"\"a\"\n\"\\ude00\\ud83d\"\n", 2},
		"half a pair in an id":    {"[\n{\"id\":\"x\\udc00\"}]", 2},
		"half a pair elsewhere":   {"[\n{\"id\":\"x\",\"title\":\"\\udc00\"}]", 2},
		"not UTF-8":               {"\"a\"\n\"b\xff\"\n", 2},
		"not UTF-8 elsewhere":     {"\n[{\"id\":\"a\",\"title\":\"\xff\"}]", 2},
		"text after an array":     {"[\"a\"]\n\n\n x\n", 4},
		"a comma after an array":  {"[\"a\"]\n,\n", 2},
		"commas between objects":  {"{\"id\":\"a\"},\n{\"id\":\"b\"}", 1},
		"an end too many":         {"[\"a\"]\n]\n", 2},
		"an end alone":            {"]", 1},
		"a null character":        {"[\"a\"]\n\x00", 2},
		"a missing end":           {"[\n\"a\",\n\"b\"", 3},
		"nothing after a [":       {"[", 1},
		"a missing end, in text":  {"[\n\"a\",\"b", 2},
		"a missing end, of one":   {"\"a\"\n{\"id\":\"b\"", 2},
		"a comma too many":        {"[\"a\",\n]", 1},
		"a comma too few":         {"[\n\"a\"\n\"b\"\n]\n", 3},
		"an object over lines":    {"[\n\"a\",\n{\n\"id\":null\n}]\n", 3},
		"a comment":               {"# ids\n\"a\"\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := selection.FromJSON(strings.NewReader(test.text), "ids.json")

			require.ErrorContains(t, err, fmt.Sprintf("ids.json, line %d ", test.line))
			assert.Nil(t, got)
			requirePlain(t, err)
		})
	}
}

func TestJSONIsReadAtAnyDepthWithoutACrash(t *testing.T) {
	t.Parallel()
	_, err := selection.FromJSON(strings.NewReader(`{"id":`+strings.Repeat("[", 1<<20)), "x")
	assert.Error(t, err)
}

// pieces make lines that are nearly ids.
var pieces = []string{"a", "-", "#", " ", "\t", "\r", "\n", "\"", ",", "{", "\u200b", "\ufeff", "\x00", "\xff", "é", "\U0001f600", "\u2028", "\u0301"}

func TestWhatCheckIDAcceptsIsReadBackToTheLetter(t *testing.T) {
	t.Parallel()
	accepted := 0
	for i := range len(pieces) * len(pieces) * len(pieces) {
		id := pieces[i%len(pieces)] + pieces[i/len(pieces)%len(pieces)] + pieces[i/len(pieces)/len(pieces)]
		if selection.CheckID(id) != nil {
			continue
		}
		accepted++
		requireReadBack(t, id)
	}
	assert.Greater(t, accepted, 100)
}

// requireReadBack checks that an id can be written on a line, in any position, and
// given as an argument.
func requireReadBack(t *testing.T, id string) {
	t.Helper()
	for _, end := range []string{"\n", "\r\n"} {
		text := id + end + "other" + end + id
		got, err := selection.FromLines(strings.NewReader(text), "x")
		require.NoError(t, err, "%q", id)
		if id == "other" {
			continue
		}
		require.Equal(t, []string{id, "other"}, ids(got.Conversations))
		require.Equal(t, 1, got.Duplicates)
	}
	got, err := selection.FromArguments([]string{id})
	require.NoError(t, err)
	require.Equal(t, []string{id}, ids(got.Conversations))
}

func FuzzLines(f *testing.F) {
	for _, line := range foreign {
		f.Add(line)
	}
	f.Add("a\r\nb\n\n# c\n\ufeffd\n")
	f.Add("\ufeffa")
	f.Fuzz(func(t *testing.T, text string) {
		if selection.CheckID(text) == nil {
			requireReadBack(t, text)
		}
		got, err := selection.FromLines(strings.NewReader(text), "x")
		if err != nil {
			require.ErrorContains(t, err, "x, line ")
			requirePlain(t, err)
			return
		}
		chosen := ids(got.Conversations)
		for _, id := range chosen {
			require.NoError(t, selection.CheckID(id))
			require.Contains(t, text, id)
		}
		again, err := selection.FromLines(strings.NewReader(strings.Join(chosen, "\n")), "x")
		require.NoError(t, err)
		require.Equal(t, chosen, ids(again.Conversations))
	})
}

func FuzzJSON(f *testing.F) {
	for _, text := range []string{`["a",{"id":"b"}]`, "\"a\"\n{\"id\":\"b\"}", "[]", "[[", "]", `{"id":"\ud800"}`, "\ufeff\"a\"", `["a"] x`, `{"id":"a","id":"b"}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := selection.FromJSON(strings.NewReader(text), "x")
		if err != nil {
			require.ErrorContains(t, err, "x, line ")
			requirePlain(t, err)
			return
		}
		chosen := ids(got.Conversations)
		var quoted strings.Builder
		for _, id := range chosen {
			require.NotEmpty(t, strings.TrimSpace(id))
			text, err := json.Marshal(id)
			require.NoError(t, err)
			fmt.Fprintf(&quoted, "%s\n", text)
		}
		again, err := selection.FromJSON(strings.NewReader(quoted.String()), "x")
		require.NoError(t, err)
		require.True(t, slices.Equal(chosen, ids(again.Conversations)))
	})
}
