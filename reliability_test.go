package memoryplugin_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// A promise counts only with a test that shows it: each line of a table names
// one, and each that is named stands in the file that it links to.
func TestEveryLineOfRELIABILITYNamesATestThatExists(t *testing.T) {
	page, err := os.ReadFile("RELIABILITY.md")
	require.NoError(t, err)
	link := regexp.MustCompile(`\[(Test\w+)\]\(([\w./-]+_test\.go)\)`)
	links := link.FindAllStringSubmatch(string(page), -1)
	assert.Len(t, regexp.MustCompile(`\bTest\w+`).FindAllString(string(page), -1), len(links), "a test is named without its file")
	for _, named := range links {
		source, err := os.ReadFile(filepath.FromSlash(named[2]))
		require.NoError(t, err)
		assert.Contains(t, string(source), "\nfunc "+named[1]+"(t *testing.T)", named[2])
	}
	var rows int
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| ") && !strings.HasSuffix(strings.TrimSpace(line), "| shown by |") {
			rows++
			assert.Regexp(t, link, line)
		}
	}
	assert.Positive(t, rows)
}

// What follows is not promised, because no client can know it.

func TestARefusalAfterADeletionIsTakenAtItsWord(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")
	srv.FailNext(memoryplugintest.Fault{Applied: true, Status: 403})

	result, err := deleteA(t.Context(), srv.Client())

	requireNotDeleted(t, result, err)
	assert.Empty(t, srv.Conversations())
}

func TestAConversationThatTheServerHidesEverywhereIsTakenForGone(t *testing.T) {
	srv := serve(t, listAndTranscripts(listing("b"), notFound))

	result, err := newClient(t, srv.URL).VerifyDeleted(t.Context(), []string{"a"})

	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, result.Gone)
}

func TestOneThatGoesWhileAnotherComesCanHideAThirdFromAList(t *testing.T) {
	ids := numberedIDs(150)
	srv := servePages(t, func(request, number, size int) listPage {
		if request == 2 {
			ids = append(ids[1:], "new") // The 101st is now on the page that was read.
		}
		return cut(ids, number, size)
	})

	listed, err := allIn(t, srv)

	require.NoError(t, err)
	assert.Len(t, listed, 150)
	assert.NotContains(t, listed, "conv-00100")
}
