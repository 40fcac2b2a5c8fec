package memoryplugin

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"math/big"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reading is what a reader finds in a reply.
type reading struct {
	listed  bool
	deleted []string
	counted bool
	count   int
}

var wholeNumber = regexp.MustCompile(`^-?[0-9]+$`)

// readWithEncodingJSON is readDeletion by other means: it reads a reply that asks
// for n ids with encoding/json, and reports whether that is of the documented
// shape. It does not see half of a surrogate pair.
func readWithEncodingJSON(body []byte, n int) (r reading, documented bool) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return r, false
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return r, false
	}
	seen := map[string]bool{}
	for dec.More() {
		name, _ := dec.Token()
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return r, false
		}
		switch name {
		case "deleted":
			var ids []*string // A nil one is null.
			if seen["deleted"] || json.Unmarshal(value, &ids) != nil || len(ids) > 2*n {
				return r, false
			}
			for _, id := range ids {
				if id == nil {
					return r, false
				}
				r.deleted = append(r.deleted, *id)
			}
			r.listed = string(value) != "null"
		case "count":
			if seen["count"] || !wholeNumber.Match(value) {
				return r, false
			}
			r.counted, r.count = true, nearestInt(string(value))
		}
		seen[name.(string)] = true
	}
	_, _ = dec.Token() // }
	_, err := dec.Token()
	return r, err == io.EOF
}

func nearestInt(digits string) int {
	number, _ := new(big.Int).SetString(digits, 10)
	switch {
	case number.Cmp(big.NewInt(math.MaxInt)) > 0:
		return math.MaxInt
	case number.Cmp(big.NewInt(math.MinInt)) < 0:
		return math.MinInt
	}
	return int(number.Int64())
}

func (r *deletionReply) reading() reading {
	found := reading{listed: r.listed, counted: r.counted, count: r.count}
	for _, id := range r.deleted {
		found.deleted = append(found.deleted, string(id))
	}
	return found
}

// halfPairs are escapes that may be half of a surrogate pair.
var halfPairs = regexp.MustCompile(`(?i)\\ud[89a-f]`)

// What is accepted must be what encoding/json reads; and nothing but half of a
// surrogate pair may be refused that encoding/json reads.
func FuzzReadDeletion(f *testing.F) {
	for _, body := range []string{
		`{"deleted":["a","b"],"count":2}`,
		`{"count":0,"deleted":[]}`,
		" {\t\"deleted\" :\r\n [ \"a\" , \"b\" ] , \"count\" : 2 } \n",
		`{}`, `null`, `[]`, ``, `{"deleted":null}`, `{"deleted":null,"deleted":["a"]}`,
		`{"deleted":["a"],"deleted":["b"]}`, `{"count":1,"count":2}`,
		`{"Deleted":["a"],"COUNT":1}`, `{"de\u006ceted":["a"]}`, `{"deleted":["a"],"error":"e"}`,
		`{"count":-1}`, `{"count":-0}`, `{"count":1.0}`, `{"count":1e0}`, `{"count":01}`, `{"count":null}`, `{"count":"1"}`,
		`{"count":99999999999999999999}`, `{"count":-99999999999999999999}`, `{"count":1234567890}`,
		`{"deleted":["\ud83d\ude00","\ud83d","\ude00","\ufffd","é"]}`, `{"deleted":["\\ud83d"]}`, `{"deleted":["\ufffd\n"]}`,
		"{\"deleted\":[\"\xff\"]}", "{\"deleted\":[\"a\nb\"]}",
		`{"deleted":["a"]} x`, `{"deleted":["a"],}`, `{"deleted":["a",]}`, `{"deleted":["a"`, `{"deleted":[null]}`,
		`{"deleted":[1]}`, `{"deleted":"a"}`, `{"other":{"deleted":[1]},"deleted":["a"],"more":[[]]}`,
		`{"deleted":["a","a","b","b"]}`, `{"deleted":["a","a","b","b","c"]}`, `{"a":"}","b":"\"]","deleted":["],\\"]}`,
		"\ufeff{}", `{"deleted":["a"]}{"deleted":["b"]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, documented := readWithEncodingJSON(body, 2)

		reply, err := readDeletion(body, 2)

		if err != nil {
			assert.False(t, documented && !halfPairs.Match(body), "refused: %v", err)
			return
		}
		require.True(t, documented)
		assert.Equal(t, want, reply.reading())
	})
}

// What the shortcut takes for a confirmation of everything must be one.
func FuzzConfirmsAll(f *testing.F) {
	f.Add("a", "b", `,"count":2}`)
	f.Add("a", "b", `,"count":2,"count":2}`)
	f.Add("a", "b", `,"count":02}`)
	f.Add("a", "b", `,"count":20}`)
	f.Add("a", "b", `,"count":2} `)
	f.Add("a", "b", `,"error":"e","count":2}`)
	f.Add(`"\`, "é\ufffd", `,"count":2}`)
	f.Add("\n\ufffd", "\u2028<", `}`)
	f.Fuzz(func(t *testing.T, first, second, rest string) {
		ids := []string{first, second}
		if checkID(first) != nil || checkID(second) != nil || first == second {
			return // Never sent.
		}
		list := bytes.TrimSuffix(bytes.TrimPrefix(deletionBody(ids), []byte(bodyStart)), []byte(bodyEnd))
		body := []byte(`{"deleted":` + string(list) + rest)

		if !confirmsAll(body, list, 2) {
			assert.NotEqual(t, `,"count":2}`, rest)
			return
		}
		reply, err := readDeletion(body, 2)
		require.NoError(t, err)
		assert.Equal(t, reading{listed: true, deleted: ids, counted: true, count: 2}, reply.reading())
		assert.Empty(t, reply.complaint)
	})
}

func TestOnlyAConfirmationToTheLetterConfirmsAll(t *testing.T) {
	for body, all := range map[string]bool{
		`{"deleted":["a","b"],"count":2}`:            true,
		`{"deleted":["b","a"],"count":2}`:            false,
		`{"deleted":["a"],"count":2}`:                false,
		`{"deleted":["a","b","c"],"count":2}`:        false,
		`{"deleted":["a","b"],"count":1}`:            false,
		`{"deleted":["a","b"],"count":22}`:           false,
		`{"deleted":["a","b"],"count":2}x`:           false,
		`{"deleted":["a","b"],"count":2,"error":""}`: false,
		`{"deleted":["a","b"]}`:                      false,
		`{"deleted":["a","b"]`:                       false,
		`{"deleted":`:                                false,
		`x{"deleted":["a","b"],"count":2}`:           false,
		``:                                           false,
	} {
		assert.Equal(t, all, confirmsAll([]byte(body), []byte(`["a","b"]`), 2), body)
	}
}

// encoding/json must read the ids that are sent as they were given.
func FuzzDeletionBody(f *testing.F) {
	f.Add("a", "b")
	f.Add("\"\\/\b\f\n\r\t\x00\x1f\x7f", "<é\u2028😀\ufffd>")
	f.Fuzz(func(t *testing.T, first, second string) {
		if !utf8.ValidString(first) || !utf8.ValidString(second) {
			return // Never sent.
		}
		var sent map[string][]string

		require.NoError(t, json.Unmarshal(deletionBody([]string{first, second}), &sent))

		assert.Equal(t, map[string][]string{"ids": {first, second}}, sent)
	})
}

// Nothing that a server sends makes an error that could forge a line of a log,
// shows the key, or is longer than a reader would bear.
func FuzzErrorResponse(f *testing.F) {
	const key = "sk-fuzz-key"
	f.Add(401, []byte(`{"error":"Invalid API key","text":"t","score":0.5}`), "", "")
	f.Add(307, []byte(``), "http://[::1", "5")
	f.Add(503, []byte("<html>\x1b[2J\n"), key, "Fri, 31 Dec 1999 23:59:59 GMT")
	f.Add(400, []byte(`{"error":["x"],"text":"sk-fuzz\u002dkey"}`), "\u202e", "-1")
	f.Add(400, []byte(`{"error":"e","score":1e400}`), "\u202e", "2.0")
	f.Add(429, []byte(strings.Repeat(key, 7000)), "x", "99999999999")
	f.Fuzz(func(t *testing.T, status int, body []byte, location, retryAfter string) {
		header := http.Header{"Location": {location}, "Retry-After": {retryAfter}}

		e := newErrorResponse(&http.Response{StatusCode: status, Header: header}, body, newSecret(key))

		text := e.Error()
		for _, told := range []string{text, e.Message, e.Text, string(e.Body), e.Header.Get("Location")} {
			assert.NotContains(t, told, key)
		}
		assert.NotContains(t, text, "\n")
		assert.NotContains(t, text, "\x1b")
		assert.Less(t, len(text), 700)
		assert.LessOrEqual(t, len(e.Body), maxErrorBody)
		assert.GreaterOrEqual(t, e.RetryAfter, time.Duration(0))
		if len(body) < maxErrorBody && !bytes.Contains(body, []byte(key)) {
			message, _ := anyProperties(body)["error"].(string)
			assert.Equal(t, strings.ReplaceAll(message, key, "***********"), e.Message)
		}
	})
}

// anyProperties reads a JSON object, with whatever it has.
func anyProperties(object []byte) map[string]any {
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber() // No float64 holds 1e400.
	var properties map[string]any
	if !json.Valid(object) || dec.Decode(&properties) != nil {
		return nil
	}
	return properties
}

// A megabyte of what is no id must not become hundreds in memory.
func TestALongListIsRefusedBeforeItTakesMemory(t *testing.T) {
	for name, test := range map[string]struct{ body, text string }{
		"not of ids": {`{"deleted":[0` + strings.Repeat(",0", 500_000) + `]}`, "not a string"},
		"of ids":     {`{"deleted":[""` + strings.Repeat(`,""`, 300_000) + `]}`, "more than twice as many"},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(test.body)

			allocations := testing.AllocsPerRun(1, func() {
				_, err := readDeletion(body, 1)
				assert.ErrorContains(t, err, test.text)
			})

			assert.Less(t, allocations, 200.0)
		})
	}
}
