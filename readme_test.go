package memoryplugin_test

import (
	"context"
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
// stands in a test file or in an example, line by line.
func TestEverySnippetOfTheREADMEIsCompiled(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	tests, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	examples, err := filepath.Glob("examples/*/*.go")
	require.NoError(t, err)
	var compiled strings.Builder
	for _, name := range append(tests, examples...) {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		compiled.WriteString(unindented(string(source)))
	}
	snippets := regexp.MustCompile("(?s)```go\r?\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, snippets)
	for _, snippet := range snippets {
		assert.True(t, strings.Contains(compiled.String(), unindented(snippet[1])), "compiled nowhere:\n%s", snippet[1])
	}
}

func unindented(source string) string {
	lines := strings.Split(source, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
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
