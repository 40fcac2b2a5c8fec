package memoryplugin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// property reads a property of the JSON object in body, which nothing may
// follow, as encoding/json does.
func property[T any](t *testing.T, body []byte, name string) (value T) {
	t.Helper()
	var properties map[string]json.RawMessage // A struct would match names in any case.
	require.NoError(t, json.Unmarshal(body, &properties))
	require.NoError(t, json.Unmarshal(properties[name], &value))
	return value
}

// Wherever a reply is accepted, encoding/json must read the same in it.
func FuzzReadDeletion(f *testing.F) {
	for _, body := range []string{
		`{"deleted":["a","b"],"count":2}`,
		`{"count":0,"deleted":[]}`,
		" {\t\"deleted\" :\r\n [ \"a\" , \"b\" ] , \"count\" : 2 } \n",
		`{}`, `null`, `[]`, ``, `{"deleted":null}`, `{"deleted":null,"deleted":["a"]}`,
		`{"deleted":["a"],"deleted":["b"]}`, `{"count":1,"count":2}`,
		`{"Deleted":["a"],"COUNT":1}`, `{"de\u006ceted":["a"]}`,
		`{"count":-1}`, `{"count":1.0}`, `{"count":1e0}`, `{"count":01}`, `{"count":null}`, `{"count":"1"}`,
		`{"count":99999999999999999999}`, `{"count":1234567890}`,
		`{"deleted":["\ud83d\ude00","\ud83d","\ude00","\ufffd","é"]}`, `{"deleted":["\\ud83d"]}`,
		"{\"deleted\":[\"\xff\"]}", "{\"deleted\":[\"a\nb\"]}",
		`{"deleted":["a"]} x`, `{"deleted":["a"],}`, `{"deleted":["a",]}`, `{"deleted":["a"`, `{"deleted":[null]}`,
		`{"deleted":[1]}`, `{"deleted":"a"}`, `{"other":{"deleted":[1]},"deleted":["a"],"more":[[]]}`,
		"\ufeff{}", `{"deleted":["a"]}{"deleted":["b"]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		reply, err := readDeletion(body, 2)
		if err != nil {
			return
		}
		require.True(t, utf8.Valid(body))
		require.True(t, json.Valid(body))
		if reply.listed {
			ids := []string{}
			for _, id := range reply.deleted {
				ids = append(ids, string(id))
			}
			assert.Equal(t, property[[]string](t, body, "deleted"), ids)
		}
		if reply.counted {
			assert.Equal(t, property[int](t, body, "count"), reply.count)
		}
	})
}

// The quick reader may refuse what it likes, but must not differ from the
// careful one where it accepts.
func FuzzReadPlainDeletionAgreesWithTheCarefulReader(f *testing.F) {
	f.Add([]byte(`{"deleted":["a","b"],"count":2}`))
	f.Add([]byte(`{"count":10,"deleted":["é"]}`))
	f.Add([]byte(`{"deleted":[]}`))
	f.Add([]byte(`{"count":0}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		quick, ok := readPlainDeletion(body, 2)
		if !ok || !utf8.Valid(body) {
			return
		}
		// An unknown property sends the same text past the quick reader.
		careful, err := readDeletion(append([]byte(`{"x":0,`), bytes.TrimLeft(body, " \t\r\n")[1:]...), 2)
		require.NoError(t, err)
		assert.Equal(t, careful.listed, quick.listed)
		assert.Equal(t, careful.counted, quick.counted)
		assert.Equal(t, careful.count, quick.count)
		require.Len(t, quick.deleted, len(careful.deleted))
		for i := range careful.deleted {
			assert.Equal(t, string(careful.deleted[i]), string(quick.deleted[i]))
		}
	})
}

// A reply is accepted exactly when both properties have the documented type,
// occur at most once under their exact names, and every id can be read without loss.
func TestReadDeletionAcceptsTheDocumentedShapeOnly(t *testing.T) {
	for body, accepted := range map[string]bool{
		`{}`:                                     true,
		`{"deleted":["a"],"count":1}`:            true,
		` {"count" : 1 , "deleted" : [ "a" ] } `: true,
		`{"deleted":null}`:                       true,
		`{"deleted":[]}`:                         true,
		`{"de\u006ceted":["a"]}`:                 true,
		`{"deleted":["\ud83d\ude00"]}`:           true,
		`{"deleted":["\\ud83d"]}`:                true,
		`{"deleted":["\ufffd"]}`:                 true,
		`{"count":-1}`:                           true,
		`{"count":1234567890123}`:                true,
		`{"deleted":["a"],"more":{"count":"x"}}`: true,
		`{"Deleted":[1],"COUNT":"x"}`:            true, // Other names are other properties.

		``:                                    false,
		`null`:                                false,
		`[]`:                                  false,
		`"deleted"`:                           false,
		`{"deleted":["a"]`:                    false,
		`{"deleted":["a"],}`:                  false,
		`{"deleted":["a",]}`:                  false,
		`{"deleted":["a"]} x`:                 false,
		`{"deleted":["a"]}{}`:                 false,
		"\ufeff{}":                            false,
		`{"deleted":["a"],"deleted":["a"]}`:   false,
		`{"deleted":null,"deleted":["a"]}`:    false,
		`{"deleted":["a"],"de\u006ceted":[]}`: false,
		`{"count":1,"count":1}`:               false,
		`{"count":0,"x":0,"count":0}`:         false,
		`{"deleted":"a"}`:                     false,
		`{"deleted":{}}`:                      false,
		`{"deleted":[1]}`:                     false,
		`{"deleted":[null]}`:                  false,
		`{"deleted":[["a"]]}`:                 false,
		`{"count":null}`:                      false,
		`{"count":"1"}`:                       false,
		`{"count":1.0}`:                       false,
		`{"count":1e0}`:                       false,
		`{"count":01}`:                        false,
		`{"count":99999999999999999999}`:      false,
		"{\"deleted\":[\"\xff\"]}":            false,
		"{\"deleted\":[\"a\nb\"]}":            false,
		`{"deleted":["\ud83d"]}`:              false,
		`{"deleted":["\ud83dx"]}`:             false,
		`{"deleted":["\ud83d\u0041"]}`:        false,
		`{"deleted":["\ude00"]}`:              false,
		`{"deleted":["\uD83D\uD83D\uDE00"]}`:  false,
	} {
		t.Run(body, func(t *testing.T) {
			_, err := readDeletion([]byte(body), 1)
			assert.Equal(t, accepted, err == nil, "error: %v", err)
		})
	}
}

// Nothing that a server sends makes an error that could forge a line of a log,
// shows the key, or is longer than a reader would bear.
func FuzzErrorResponse(f *testing.F) {
	const key = "sk-fuzz-key"
	f.Add(401, []byte(`{"error":"Invalid API key","text":"t","score":0.5}`), "", "")
	f.Add(307, []byte(``), "http://[::1", "5")
	f.Add(503, []byte("<html>\x1b[2J\n"), key, "Fri, 31 Dec 1999 23:59:59 GMT")
	f.Add(400, []byte(`{"error":["x"],"text":"sk-fuzz\u002dkey"}`), "\u202e", "-1")
	f.Add(429, []byte(strings.Repeat(key, 7000)), "x", "99999999999")
	f.Fuzz(func(t *testing.T, status int, body []byte, location, retryAfter string) {
		header := http.Header{"Location": {location}, "Retry-After": {retryAfter}}
		e := newErrorResponse(&http.Response{StatusCode: status, Header: header}, body, newSecret(key))
		text := e.Error()
		assert.NotContains(t, text+e.Message+e.Text+string(e.Body)+e.Header.Get("Location"), key)
		assert.NotContains(t, text, "\n")
		assert.NotContains(t, text, "\x1b")
		assert.Less(t, len(text), 700)
		assert.LessOrEqual(t, len(e.Body), maxErrorBody)
		assert.GreaterOrEqual(t, e.RetryAfter, time.Duration(0))
		if whole := json.Valid(body) && len(body) < maxErrorBody && !bytes.Contains(body, []byte(key)); whole && e.Message != "" {
			var fields map[string]any
			require.NoError(t, json.Unmarshal(body, &fields))
			if message, ok := fields["error"].(string); ok {
				assert.Equal(t, newSecret(key).strike(message), e.Message)
			}
		}
	})
}

// A megabyte of what is no id must not become hundreds in memory.
func TestAListOfSomethingElseIsRefusedAtItsFirstElement(t *testing.T) {
	body := []byte(`{"deleted":[0` + strings.Repeat(",0", 500_000) + `]}`)

	allocations := testing.AllocsPerRun(1, func() {
		_, err := readDeletion(body, 1)
		assert.ErrorContains(t, err, "not a string")
	})

	assert.Less(t, allocations, 200.0)
}
