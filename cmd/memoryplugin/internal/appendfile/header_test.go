package appendfile_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
)

func TestANewFileBeginsWithAHeaderToTheLetter(t *testing.T) {
	t.Parallel()
	for _, kind := range []appendfile.Kind{appendfile.Journal, appendfile.Backup} {
		path := newPath(t)

		f, err := appendfile.Open(path, kind, account, nil)
		require.NoError(t, err)
		require.NoError(t, f.Close())

		assert.Regexp(t, `^\{"`+string(kind)+`":"memoryplugin","version":1,"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",`+
			`"url":"https://api\.example/v1","account":"[0-9a-f]{32}:[0-9a-f]{32}"\}\n$`, read(t, path))
		assert.WithinDuration(t, time.Now(), f.Time, time.Minute)
	}
}

// The header of the tests was made by hand:
// printf key-1 | openssl dgst -sha256 -mac hmac -macopt hexkey:000102030405060708090a0b0c0d0e0f | cut -c-32
func TestAFingerprintIsTheHMACOfTheKeyUnderTheSalt(t *testing.T) {
	t.Parallel()
	f, _ := open(t, write(t, header))

	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), f.Time.UTC(), "the time is that of the header")
}

func TestTheSameKeyHasAnotherSaltAndFingerprintInEachFile(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 10 {
		path := newPath(t)
		open(t, path)
		text := regexp.MustCompile(`"account":"(.*):(.*)"`).FindStringSubmatch(read(t, path))
		require.Len(t, text, 3)
		for _, part := range text[1:] {
			assert.False(t, seen[part], "a salt or a fingerprint occurs twice")
			seen[part] = true
		}
		assert.NotContains(t, read(t, path), account.APIKey)
	}
}

func TestAFileOfAnotherURLOrKeyIsRefusedAndLeftAsItIs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		account appendfile.Account
		want    []string
		not     string
	}{
		"another host": {
			appendfile.Account{URL: "https://other.example/v1", APIKey: "key-1"},
			[]string{"another URL", `"https://api.example/v1"`, `"https://other.example/v1"`}, "another API key",
		},
		"another path of the URL": {
			appendfile.Account{URL: "https://api.example/v2", APIKey: "key-1"},
			[]string{"another URL", `"https://api.example/v1"`, `"https://api.example/v2"`}, "another API key",
		},
		"no path in the URL": {
			appendfile.Account{URL: "https://api.example", APIKey: "key-1"}, []string{"another URL"}, "another API key",
		},
		"another key": {
			appendfile.Account{URL: "https://api.example/v1", APIKey: "key-2"}, []string{"another API key"}, "another URL",
		},
		"a key that begins alike": {
			appendfile.Account{URL: "https://api.example/v1", APIKey: "key-10"}, []string{"another API key"}, "another URL",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, header+`{"a":1}`+"\n"+`{"torn`)
			check := unchanged(t, path)

			_, err := appendfile.Open(path, appendfile.Journal, test.account, func([]byte) error {
				assert.Fail(t, "a line of another account was read")
				return nil
			})
			require.Error(t, err)
			assert.ErrorContains(t, appendfile.Look(path, appendfile.Journal, test.account, nil), test.want[0])

			for _, text := range append(test.want, "file.jsonl") {
				assert.ErrorContains(t, err, text)
			}
			assert.NotContains(t, err.Error(), test.not)
			assert.NotContains(t, err.Error(), "key-1")
			check()
		})
	}
}

func TestAFileThatIsSomethingElseIsRefusedAndLeftAsItIs(t *testing.T) {
	t.Parallel()
	backup := strings.Replace(header, "journal", "backup", 1)
	for name, test := range map[string]struct{ content, want string }{
		"text":                             {"conv-1\nconv-2\n", "not a journal"},
		"text without a line end":          {"conv-1", "not a journal"},
		"an empty line":                    {"\n", "not a journal"},
		"an object of something else":      {`{"name":"memoryplugin"}` + "\n", "not a journal"},
		"the same without a line end":      {`{"name":"memoryplugin"}`, "not a journal"},
		"the beginning of another object":  {`{"name":"memory`, "not a journal"},
		"an array":                         {`["journal"]` + "\n", "not a journal"},
		"a number":                         {"1", "not a journal"},
		"another program's journal":        {strings.Replace(header, `"memoryplugin"`, `"systemd"`, 1), "not a journal"},
		"the beginning of another's":       {`{"journal":"systemd"`, "not a journal"},
		"a backup":                         {backup, "not a journal"},
		"the beginning of a backup":        {backup[:30], "not a journal"},
		"a journal without its header":     {`{"time":"","state":"sent","ids":["a"]}` + "\n", "not a journal"},
		"a header that is damaged":         {strings.Replace(header, `"time":"2026`, `"time":"x026`, 1), "not a journal"},
		"a header that is torn in a line":  {header[:60] + "\n", "not a journal"},
		"binary":                           {"\x7fELF\x02\x01\x01\x00\n\x00", "not a journal"},
		"zeros before something else":      {strings.Repeat("\x00", 10) + "x", "not a journal"},
		"a byte order mark":                {"\ufeff" + header, "not a journal"},
		"a newer version":                  {strings.Replace(header, `"version":1`, `"version":2`, 1), "its version is 2, and this tool knows 1"},
		"a salt that is too short":         {strings.Replace(header, "000102", "0001", 1), "another API key"},
		"no salt":                          {strings.Replace(header, "000102030405060708090a0b0c0d0e0f", "", 1), "another API key"},
		"a fingerprint that is cut":        {strings.Replace(header, `7117"`, `"`, 1), "another API key"},
		"no account":                       {strings.Replace(header, `,"account":"000102030405060708090a0b0c0d0e0f:2325d6d77dcfe6fe53c2caffc2cf7117"`, "", 1), "another API key"},
		"another account, not ended":       {strings.Replace(header[:len(header)-1], "2325", "3325", 1), "another API key"},
		"a property that is there twice":   {strings.Replace(header, `"version":1`, `"version":1,"version":1`, 1), "not a journal"},
		"another URL that would be longer": {strings.Replace(header, "/v1", "/v1/x", 1), "another URL"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.content)
			check := unchanged(t, path)

			err := openError(t, path)

			assert.ErrorContains(t, err, test.want)
			assert.ErrorContains(t, err, "file.jsonl")
			assert.ErrorContains(t, appendfile.Look(path, appendfile.Journal, account, nil), test.want)
			check()
		})
	}
}

func TestAnEmptyFileBecomesAJournal(t *testing.T) {
	t.Parallel()
	path := write(t, "")

	f, _ := open(t, path)

	assert.Contains(t, read(t, path), `{"journal":"memoryplugin",`)
	assert.False(t, f.IsMade())
	f.Discard()
	assert.FileExists(t, path, "the user has made it")
}

// A header that was written by hand may have it.
func TestAHeaderWithTheFirstOfAllTimesIsAHeader(t *testing.T) {
	t.Parallel()
	content := strings.Replace(header, "2026-01-02T03:04:05Z", "0001-01-01T00:00:00Z", 1)
	path := write(t, content)

	open(t, path)

	assert.Equal(t, content, read(t, path))
}
