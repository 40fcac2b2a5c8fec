package memoryplugin_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// Whoever copies from the README must get what compiles: each of its Go snippets
// stands in a test file, this one or another, line by line.
func TestEverySnippetOfTheREADMEIsCompiled(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	tests, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var compiled strings.Builder
	for _, name := range tests {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		compiled.WriteString(unindented(string(source)))
	}
	snippets := regexp.MustCompile("(?s)```go\r?\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, snippets)
	for _, snippet := range snippets {
		assert.Contains(t, compiled.String(), unindented(snippet[1]))
	}
}

func unindented(source string) string {
	lines := strings.Split(source, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}

func deleteTwo(ctx context.Context) error {
	client, err := memoryplugin.NewClient(os.Getenv("MEMORYPLUGIN_API_KEY"))
	if err != nil {
		return err
	}
	result, err := client.DeleteConversations(ctx, []string{"conv-id-1", "conv-id-2"})
	log.Print(result)
	return err
}

func logReply(err error) {
	if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok {
		log.Println(reply.StatusCode, reply.Message, reply.RequestID)
	}
}

func TestTheREADMEsFirstSnippetNeedsAKey(t *testing.T) {
	t.Setenv("MEMORYPLUGIN_API_KEY", "")
	err := deleteTwo(t.Context())
	assert.ErrorIs(t, err, memoryplugin.ErrInvalidArgument)
	logReply(err)
}

func forgetUser(ctx context.Context, client *memoryplugin.Client) error {
	_, err := client.DeleteConversations(ctx, []string{"conv-1", "conv-2"})
	return err
}

func TestForgetUser(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("conv-1", "conv-2")
	srv.FailNext(memoryplugintest.Fault{Status: http.StatusServiceUnavailable})

	err := forgetUser(t.Context(), srv.Client()) // your code

	require.NoError(t, err)
	require.Empty(t, srv.Conversations())
}
