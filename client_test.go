package memoryplugin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// badKeys can't be right: no header carries them, or they were copied with their surroundings.
var badKeys = map[string]string{
	"empty":                    "",
	"blank":                    " \n",
	"newline at its end":       testKey + "\n",
	"CRLF at its end":          testKey + "\r\n",
	"newline within":           "sk-test\n0123456789",
	"space at its beginning":   " " + testKey,
	"space within":             "sk-test 0123456789",
	"tab":                      testKey + "\t",
	"control character":        testKey + "\x1b",
	"delete":                   testKey + "\x7f",
	"NUL":                      testKey + "\x00",
	"letter outside ASCII":     testKey + "é",
	"space outside ASCII":      testKey + "\u00a0",
	"byte order mark":          "\ufeff" + testKey,
	"zero-width space":         testKey + "\u200b",
	"byte that is not UTF-8":   testKey + "\xff",
	"quotation marks of prose": "“" + testKey + "”",
	"in quotes":                `"` + testKey + `"`,
	"in single quotes":         "'" + testKey + "'",
	"in backquotes":            "`" + testKey + "`",
}

func TestAKeyThatCannotBeRightIsRefusedAndNotRepeated(t *testing.T) {
	for name, key := range badKeys {
		t.Run(name, func(t *testing.T) {
			client, err := memoryplugin.NewClient(key)

			assert.Nil(t, client)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.NotContains(t, err.Error(), "0123456789")
			assert.NotContains(t, err.Error(), "sk-test")
		})
	}
}

func TestTheLikelyCauseOfABadKeyIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		key    string
		causes []string
	}{
		"newline at its end": {testKey + "\n", []string{"newline", "file"}},
		"newline within":     {"sk-test\n0123456789", []string{"control", "file"}},
		"in quotes":          {`"` + testKey + `"`, []string{"quotes", "--env-file"}},
		"zero-width space":   {testKey + "\u200b", []string{"non-ASCII", "copied"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := memoryplugin.NewClient(test.key)

			for _, cause := range test.causes {
				assert.ErrorContains(t, err, cause)
			}
		})
	}
}

func TestAKeyMayHaveAnyPrintableCharacterOfASCII(t *testing.T) {
	const key = `!"#$%&'()*+,-./09:;<=>?@AZ[\]^_az{|}~`
	srv := serve(t, aDeleted)
	client, err := memoryplugin.NewClient(key, memoryplugin.WithBaseURL(srv.URL))
	require.NoError(t, err)

	_, err = deleteA(t.Context(), client)

	require.NoError(t, err)
	assert.Equal(t, "Bearer "+key, srv.received()[0].Header.Get("Authorization"))
}

func TestAMissingKeyIsNamedByItsVariable(t *testing.T) {
	t.Setenv("MEMORYPLUGIN_API_KEY", "")

	_, err := memoryplugin.NewClientFromEnv()

	assert.ErrorContains(t, err, "MEMORYPLUGIN_API_KEY is not set")
}

func TestNewClientFromEnvTakesKeyAndBaseURLFromTheEnvironment(t *testing.T) {
	srv := serve(t, aDeleted)
	t.Setenv("MEMORYPLUGIN_API_KEY", testKey)
	t.Setenv("MEMORYPLUGIN_BASE_URL", srv.URL)

	client, err := memoryplugin.NewClientFromEnv()
	require.NoError(t, err)
	_, err = deleteA(t.Context(), client)

	require.NoError(t, err)
	assert.Equal(t, "Bearer "+testKey, srv.received()[0].Header.Get("Authorization"))
}

func TestNewClientFromEnvHasADefaultBaseURL(t *testing.T) {
	t.Setenv("MEMORYPLUGIN_API_KEY", testKey)
	t.Setenv("MEMORYPLUGIN_BASE_URL", "")
	var sent *http.Request

	client, err := memoryplugin.NewClientFromEnv(recording(&sent))
	require.NoError(t, err)
	_, err = deleteA(t.Context(), client)

	require.NoError(t, err)
	assert.Equal(t, "www.memoryplugin.com", sent.URL.Host)
}

func TestAnOptionWinsOverTheEnvironment(t *testing.T) {
	for _, inEnv := range []string{"https://example.com", "not a URL", "http://user:hunter2@example.com"} {
		t.Run(inEnv, func(t *testing.T) {
			srv := serve(t, aDeleted)
			t.Setenv("MEMORYPLUGIN_API_KEY", testKey)
			t.Setenv("MEMORYPLUGIN_BASE_URL", inEnv)

			client, err := memoryplugin.NewClientFromEnv(memoryplugin.WithBaseURL(srv.URL))
			require.NoError(t, err)
			_, err = deleteA(t.Context(), client)

			require.NoError(t, err)
			assert.Len(t, srv.received(), 1)
		})
	}
}

func TestNewClientFromEnvRefusesWhatCannotBeUsed(t *testing.T) {
	for name, env := range map[string]struct{ key, baseURL string }{
		"no key":              {"", ""},
		"a key with newline":  {testKey + "\n", ""},
		"a key in quotes":     {`"` + testKey + `"`, ""},
		"a URL with password": {testKey, "https://user:hunter2@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("MEMORYPLUGIN_API_KEY", env.key)
			t.Setenv("MEMORYPLUGIN_BASE_URL", env.baseURL)

			client, err := memoryplugin.NewClientFromEnv()

			assert.Nil(t, client)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.ErrorContains(t, err, "new client from the environment")
			assert.NotContains(t, err.Error(), testKey)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// otherKey is the API key of another account.
const otherKey = "sk-other-fedcba9876543210"

// forAccount returns client for another account.
func forAccount(t testing.TB, client *memoryplugin.Client, key string) *memoryplugin.Client {
	t.Helper()
	other, err := client.WithAPIKey(key)
	require.NoError(t, err)
	return other
}

func TestWithAPIKeySendsItsOwnKey(t *testing.T) {
	srv := serve(t, aDeleted)
	client := newClient(t, srv.URL)
	other := forAccount(t, client, otherKey)

	for _, c := range []*memoryplugin.Client{client, other, client} {
		_, err := deleteA(t.Context(), c)
		require.NoError(t, err)
	}

	var sent []string
	for _, r := range srv.received() {
		sent = append(sent, r.Header["Authorization"]...)
	}
	assert.Equal(t, []string{"Bearer " + testKey, "Bearer " + otherKey, "Bearer " + testKey}, sent)
}

// A server that deletes the conversation that the key is named for.
func TestManyAccountsAtOnceEachSendTheirOwnKey(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer sk-")
		reply(200, fmt.Sprintf(`{"deleted":[%q]}`, id))(w, r)
	})
	client := newClient(t, srv.URL)

	var wg sync.WaitGroup
	for _, id := range numberedIDs(50) {
		wg.Go(func() {
			other, err := client.WithAPIKey("sk-" + id)
			if assert.NoError(t, err) {
				result, err := other.DeleteConversations(t.Context(), []string{id})
				assert.NoError(t, err)
				assert.Equal(t, []string{id}, result.Deleted)
			}
		})
	}
	wg.Wait()
}

func TestWithAPIKeyKeepsTheSettings(t *testing.T) {
	srv := serve(t, reply(503, ""))
	client := newClient(t, srv.URL+"/prefix",
		memoryplugin.WithUserAgent("my-service/1.4"),
		memoryplugin.WithHeader("X-Gateway", "s3cret"),
		memoryplugin.WithMaxRetries(1))

	result, err := deleteA(t.Context(), forAccount(t, client, otherKey))

	require.Error(t, err)
	assert.Equal(t, 2, result.Attempts)
	sent := srv.received()[0]
	assert.Equal(t, "/prefix/api/chat-history/chats", sent.URL.Path)
	assert.Equal(t, "my-service/1.4 memoryplugin-go/"+memoryplugin.Version, sent.UserAgent())
	assert.Equal(t, "s3cret", sent.Header.Get("X-Gateway"))
}

func TestWithAPIKeySharesTheConnections(t *testing.T) {
	srv := listen(t, func(c *wireConn) {
		for c.receive() != nil {
			c.send(ok(onlyADeleted))
		}
	})
	client := newClient(t, srv.URL)

	for _, c := range []*memoryplugin.Client{client, forAccount(t, client, otherKey), client} {
		_, err := deleteA(t.Context(), c)
		require.NoError(t, err)
	}

	assert.EqualValues(t, 3, srv.requests.Load())
	assert.EqualValues(t, 1, srv.accepted.Load())
}

func TestWithAPIKeySharesTheLimiter(t *testing.T) {
	turns := 0
	client := remember(aDeleted).client(t, memoryplugin.WithLimiter(limiterFunc(func(context.Context) error {
		if turns++; turns > 1 {
			return errors.New("no more for today")
		}
		return nil
	})))

	_, err := deleteA(t.Context(), client)
	require.NoError(t, err)
	_, err = deleteA(t.Context(), forAccount(t, client, otherKey))

	assert.ErrorContains(t, err, "no more for today")
}

// A service that erases for many users does not multiply an outage.
func TestWithAPIKeySharesTheRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(503, ""))
		client := srv.client(t, memoryplugin.WithBackoff(0, 0))

		for _, id := range numberedIDs(1000) {
			_, err := deleteA(t.Context(), forAccount(t, client, "sk-"+id))
			hasReply(t, 503, err)
		}

		assert.Len(t, srv.arrived(), 1000+fullBudget)
	})
}

func TestWithAPIKeyHasARetryAfterHoldOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(429, "", "Retry-After", "5"), aDeleted)
		client := once(t, srv)
		_, err := deleteA(t.Context(), client)
		require.Error(t, err)

		_, err = deleteA(t.Context(), forAccount(t, client, otherKey))
		require.NoError(t, err)
		_, err = deleteA(t.Context(), client)
		require.NoError(t, err)

		assert.Equal(t, []time.Duration{0, 0, 5 * time.Second}, srv.arrived())
	})
}

func TestTheHoldOfAnotherAccountHoldsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := remember(reply(429, "", "Retry-After", "5"), aDeleted)
		client := once(t, srv)
		other := forAccount(t, client, otherKey)
		_, err := deleteA(t.Context(), other)
		require.Error(t, err)

		_, err = deleteA(t.Context(), client)
		require.NoError(t, err)
		_, err = deleteA(t.Context(), other)
		require.NoError(t, err)

		assert.Equal(t, []time.Duration{0, 0, 5 * time.Second}, srv.arrived())
	})
}

func TestWithAPIKeyRefusesABadKeyAndDoesNotRepeatIt(t *testing.T) {
	client := newClient(t, "http://localhost")
	for name, key := range badKeys {
		t.Run(name, func(t *testing.T) {
			other, err := client.WithAPIKey(key)

			assert.Nil(t, other)
			require.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
			assert.NotContains(t, err.Error(), "0123456789")
			assert.NotContains(t, err.Error(), "sk-test")
		})
	}
}

func TestTheKeyOfAnotherAccountIsStruckFromWhatTheServerEchoes(t *testing.T) {
	srv := serve(t, reply(401, `{"error":"no such key: `+otherKey+`"}`))

	_, err := deleteA(t.Context(), forAccount(t, newClient(t, srv.URL), otherKey))

	require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	assert.ErrorContains(t, err, "no such key")
	assert.NotContains(t, err.Error(), otherKey)
}

func TestWithAPIKeyRefusesAClientThatWasNotMadeByNewClient(t *testing.T) {
	for name, client := range map[string]*memoryplugin.Client{"zero": {}, "nil": nil} {
		t.Run(name, func(t *testing.T) {
			other, err := client.WithAPIKey(otherKey)

			assert.Nil(t, other)
			assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
		})
	}
}

func TestABadOptionIsNamedByItsIndexWhateverIsInTheEnvironment(t *testing.T) {
	t.Setenv("MEMORYPLUGIN_API_KEY", testKey)
	t.Setenv("MEMORYPLUGIN_BASE_URL", "http://localhost")

	_, err := memoryplugin.NewClientFromEnv(nil)

	assert.ErrorContains(t, err, "opts[0] is nil")
}
