package main

import (
	"context"
	stdjson "encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBadRequestIsRefusedAndTheFieldNamed(t *testing.T) {
	t.Parallel()
	api := memoryplugintest.NewServer(t)
	s := testSettings(t, "")
	s.baseURL = api.URL
	url, _ := startService(t, s)
	long := strings.Repeat("x", maxText+1)
	for name, test := range map[string]struct {
		body, key, contentType string
		status                 int
		field                  string
	}{
		"invalid UTF-8":        {body: "{\"account\":\"alice\",\"conversationIds\":[\"a\",\"b\xff\"]}", status: 400, field: "/conversationIds/1"},
		"half a surrogate":     {body: `{"account":"alice","conversationIds":["a","\ud800"]}`, status: 400, field: "/conversationIds/1"},
		"another type":         {body: `{"account":"alice","conversationIds":["a",7]}`, status: 400, field: "/conversationIds/1"},
		"null id":              {body: `{"account":"alice","conversationIds":["a",null]}`, status: 422, field: "/conversationIds/1"},
		"unknown member":       {body: `{"account":"alice","ids":["a"]}`, status: 400, field: "/ids"},
		"unknown member, cut":  {body: `{"x` + strings.Repeat("é", maxText) + `":1}`, status: 400, field: "/x" + strings.Repeat("é", maxText/2-1)},
		"long unknown member":  {body: `{"` + long + `x":1}`, status: 400, field: "/" + long[:maxText-1]},
		"member twice":         {body: `{"account":"alice","account":"bob","conversationIds":["a"]}`, status: 400, field: "/account"},
		"other case":           {body: `{"Account":"alice","conversationIds":["a"]}`, status: 400, field: "/Account"},
		"more after the end":   {body: erasureBody("alice", "a") + "{}", status: 400},
		"cut short":            {body: `{"account":"alice","conversationIds":["a"`, status: 400, field: "/conversationIds"},
		"empty body":           {body: "", status: 400},
		"no account":           {body: erasureBody("", "a"), status: 422, field: "/account"},
		"long account":         {body: erasureBody(long, "a"), status: 422, field: "/account"},
		"no ids":               {body: erasureBody("alice"), status: 422, field: "/conversationIds"},
		"too many ids":         {body: erasureBody("alice", numbered("c", maxIDs+1)...), status: 422, field: "/conversationIds"},
		"blank id":             {body: erasureBody("alice", "a", " \t"), status: 422, field: "/conversationIds/1"},
		"id with U+0000":       {body: erasureBody("alice", "a", "b\x00"), status: 422, field: "/conversationIds/1"},
		"long id":              {body: erasureBody("alice", "a", long), status: 422, field: "/conversationIds/1"},
		"long key":             {key: long, body: erasureBody("alice", "a"), status: 422, field: "Idempotency-Key"},
		"blank key":            {key: " ", body: erasureBody("alice", "a"), status: 422, field: "Idempotency-Key"},
		"key of invalid UTF-8": {key: "\xff", body: erasureBody("alice", "a"), status: 422, field: "Idempotency-Key"},
		"not JSON":             {contentType: "text/plain", body: erasureBody("alice", "a"), status: 415, field: "Content-Type"},
		"large body":           {body: erasureBody("alice", strings.Repeat("x", maxBody)), status: 413},
	} {
		t.Run(name, func(t *testing.T) {
			if test.contentType == "" {
				test.contentType = "application/json; charset=utf-8"
			}

			r, err := post(url, test.key, test.body, "Content-Type", test.contentType)

			require.NoError(t, err)
			assert.Equal(t, test.status, r.status, r.body)
			assert.Equal(t, test.field, r.field(t), r.body)
			assert.NotRegexp(t, "json(text)?:|Go ", r.body)
			assert.Empty(t, r.location)
		})
	}
	assert.Empty(t, api.Requests())
}

func TestIdempotencyKeyNamesOneErasure(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		s.baseURL = api.URL
		url, _ := startService(t, s)

		first, err := post(url, "key", erasureBody("alice", "conv-1", "conv-2"))
		require.NoError(t, err)
		require.Equal(t, http.StatusAccepted, first.status, first.body)
		waitFor(t, url+first.location, done)

		again, err := post(url, "key", erasureBody("alice", "conv-2", "conv-1", "conv-1"))
		require.NoError(t, err)
		assert.Equal(t, first, again, "the same ids in another order")

		for name, body := range map[string]string{
			"other ids":       erasureBody("alice", "conv-1"),
			"another account": erasureBody("bob", "conv-1", "conv-2"),
		} {
			r, err := post(url, "key", body)
			require.NoError(t, err)
			assert.Equal(t, http.StatusUnprocessableEntity, r.status, name)
			assert.Equal(t, "Idempotency-Key", r.field(t), name)
		}
		other, err := post(url, "", erasureBody("alice", "conv-1", "conv-2"))

		require.NoError(t, err)
		assert.NotEqual(t, first.location, other.location, "no key, so another erasure")
	})
}

func TestTwoIdempotencyKeysAreOneJoined(t *testing.T) {
	t.Parallel()
	s := testSettings(t, "")
	url, _ := startService(t, s)
	request, err := http.NewRequest(http.MethodPost, url+"/erasures", strings.NewReader(erasureBody("alice", "conv-1")))
	require.NoError(t, err)
	request.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"a", "b"}}

	two, err := do(request)
	require.NoError(t, err)
	joined, err := post(url, "a, b", erasureBody("alice", "conv-1"))
	require.NoError(t, err)
	first, err := post(url, "a", erasureBody("alice", "conv-1"))
	require.NoError(t, err)

	assert.Equal(t, two, joined)
	assert.NotEqual(t, two, first)
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		url, _ := startService(t, s)
		for path, field := range map[string]string{
			"/erasures/none": "id", "/erasures/%00": "id", "/erasures/%ff": "id",
			"/erasures": "", "/": "", "/erasures/a/b": "",
		} {
			request, err := http.NewRequest(http.MethodGet, url+path, nil)
			require.NoError(t, err)

			r, err := do(request)

			require.NoError(t, err)
			assert.Equal(t, http.StatusNotFound, r.status, path)
			assert.Equal(t, field, r.field(t), path)
		}
	})
}

// A web site can give its own name the address 127.0.0.1, and its scripts then talk to the service.
func TestWithoutTokenNoOtherNameIsAnsweredTo(t *testing.T) {
	t.Parallel()
	s := testSettings(t, "")
	url, _ := startService(t, s)
	for host, ok := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:8080": true, "localhost": true, "localhost:8080": true, "[::1]:8080": true,
		"example.com": false, "example.com:8080": false, "127.0.0.1.example.com": false, "localhost.example.com:80": false,
	} {
		request, err := http.NewRequest(http.MethodPost, url+"/erasures", strings.NewReader(erasureBody("alice", "conv-1")))
		require.NoError(t, err)
		request.Host = host
		request.Header.Set("Content-Type", "application/json")

		r, err := do(request)

		require.NoError(t, err)
		if ok {
			assert.Equal(t, http.StatusAccepted, r.status, host)
			continue
		}
		assert.Equal(t, http.StatusForbidden, r.status, host)
		assert.Equal(t, "Host", r.field(t), host)
	}
}

func TestTokenIsAskedFor(t *testing.T) {
	t.Parallel()
	s := testSettings(t, "")
	s.baseURL, s.token = memoryplugintest.NewServer(t).URL, "secret"
	url, _ := startService(t, s)
	for header, status := range map[string]int{
		"Bearer secret":  http.StatusAccepted,
		"Bearer secret2": http.StatusUnauthorized,
		"Bearer ":        http.StatusUnauthorized,
		"secret":         http.StatusUnauthorized,
		"":               http.StatusUnauthorized,
	} {
		r, err := post(url, "", erasureBody("alice", "conv-1"), "Authorization", header)

		require.NoError(t, err)
		assert.Equal(t, status, r.status, header)
	}

	response, err := http.Get(url + "/erasures/none")
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
}

func TestWithoutTokenOnlyLoopbackIsListenedOn(t *testing.T) {
	t.Parallel()
	for addr, ok := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:0": true, "localhost:0": true,
		":0": false, "0.0.0.0:0": false, "[::]:0": false, "192.0.2.1:0": false, "example.com:0": false, "": false,
	} {
		s := testSettings(t, "")
		s.baseURL, s.addr = "not a URL", addr // Whoever gets past the address fails there.

		err := serve(context.Background(), s)

		require.Error(t, err)
		assert.Equal(t, !ok, strings.Contains(err.Error(), "SERVICE_TOKEN"), "%q: %v", addr, err)
	}
}

// FuzzReadRequest looks for a body that is read as other ids than it has, or than
// another reader of JSON finds in it.
func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(erasureBody("alice", "conv-1", "Ünï", "\u2028")), "key")
	f.Add([]byte("{\"account\":\"a\",\"conversationIds\":[\"\xff\"]}"), "")
	f.Add([]byte(`{"account":"a","conversationIds":["\ud800","\ud83d\ude00"]}`), "\xff")
	f.Add([]byte(`{"account":"a","conversationIds":["a"],"conversationIds":["b"]}`), " ")
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		r := httptest.NewRequest(http.MethodPost, "/erasures", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", key)

		request, err := readRequest(httptest.NewRecorder(), r)

		if err != nil {
			require.IsType(t, (*problem)(nil), err, "every refusal is one that the caller is told")
			answer, err := json.Marshal(err)
			require.NoError(t, err)
			require.Less(t, len(answer), 4*maxText)
			return
		}
		require.Equal(t, key, request.key.String)
		require.True(t, utf8.ValidString(key) && strings.TrimSpace(key) != "")
		var other erasureRequest
		require.NoError(t, stdjson.Unmarshal(body, &other))
		other.key = request.key
		require.Equal(t, &other, request)
		require.NotEmpty(t, request.ConversationIDs)
		require.True(t, utf8.Valid(body))
		for _, id := range append(request.ConversationIDs, request.Account) {
			if strings.ContainsRune(id, utf8.RuneError) {
				text := strings.ToLower(string(body))
				require.True(t, strings.Contains(text, "\ufffd") || strings.Contains(text, `\ufffd`), "%q is made up", id)
			}
		}
	})
}
