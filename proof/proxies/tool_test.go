//go:build unix

package proxies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/proof/backend"
)

// toolDir is where the command line tool is built.
var toolDir string

// buildTool builds the tool in the workspace, since this module doesn't require its.
var buildTool = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(toolDir, "memoryplugin")
	output, err := exec.Command("go", "build", "-C", "../../cmd/memoryplugin", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("the tool can't be built: %w: %s", err, output)
	}
	return path, err
})

// toolSummary is what the tool prints. Its numbers are those of the last states.
type toolSummary struct {
	Selected, Deleted, Gone, Absent, Kept, Unconfirmed int
	NotDeleted                                         int `json:"not_deleted"`
	Left                                               []struct{ IDs []string }
}

// deleteByTool runs the tool on ids. What it calls gone or absent is judged here:
// the lists that it returns are about what the replies to deletions said.
func deleteByTool(t *testing.T, srv *backend.Backend, url string, ids []string, size int) *memoryplugin.DeleteConversationsResult {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	summary := runTool(t, url, ids, "--journal", path, "--batch-size", fmt.Sprint(size))
	states := readJournal(t, path)

	last := map[string][]string{}
	result := &memoryplugin.DeleteConversationsResult{}
	for _, id := range ids {
		if len(states[id]) == 0 {
			t.Errorf("%s is not in the journal", id)
			continue
		}
		state := states[id][len(states[id])-1]
		last[state] = append(last[state], id)
		list := listOf(result, states[id])
		*list = append(*list, id)
	}

	srv.JudgeGone(slices.Concat(last["gone"], last["absent"])...)
	assert.Equal(t, toolSummary{
		Selected: len(ids), Deleted: len(last["deleted"]), Gone: len(last["gone"]), Absent: len(last["absent"]), Kept: len(last["kept"]),
		Unconfirmed: len(last["unconfirmed"]) + len(last["not_listed"]), NotDeleted: len(last["not_deleted"]), Left: summary.Left,
	}, summary)
	return result
}

// listOf returns the list that an id belongs to, by the states that the journal has
// of it. What was in doubt once stays in doubt, even if it is not there any more:
// only the server's word makes it deleted.
func listOf(r *memoryplugin.DeleteConversationsResult, states []string) *[]string {
	last := states[len(states)-1]
	inDoubt := slices.Contains(states, "unconfirmed")
	switch {
	case last == "deleted":
		return &r.Deleted
	case last == "not_deleted":
		return &r.NotDeleted
	case !inDoubt && (last == "not_listed" || last == "absent" || last == "gone"):
		return &r.NotListed
	}
	return &r.Unconfirmed
}

// runTool returns the summary of the tool. Its exit code is 0 exactly if nothing is left.
func runTool(t *testing.T, url string, ids []string, args ...string) (summary toolSummary) {
	t.Helper()
	program, err := buildTool()
	require.NoError(t, err)
	var stderr bytes.Buffer
	tool := exec.CommandContext(t.Context(), program, append([]string{"delete"}, append(args, "--base-url", url, "--file", "-", "--yes",
		"--output", "json", "--concurrency", "8", "--patience", "5s")...)...)
	tool.Env = append(os.Environ(), "MEMORYPLUGIN_API_KEY=key-of-nobody")
	tool.Stdin, tool.Stderr = strings.NewReader(strings.Join(ids, "\n")), &stderr
	output, err := tool.Output()
	require.NoError(t, json.Unmarshal(output, &summary), "%v: %s", err, &stderr)
	left, _ := errors.AsType[*exec.ExitError](err)
	if len(summary.Left) == 0 {
		assert.NoError(t, err)
	} else if assert.NotNil(t, left, "%v", err) {
		assert.Equal(t, 1, left.ExitCode(), "%s", &stderr)
	}
	return summary
}

// readJournal returns the states of each id, the first one first.
func readJournal(t *testing.T, path string) map[string][]string {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	states := map[string][]string{}
	for lines := json.NewDecoder(file); lines.More(); {
		var line struct {
			State string
			IDs   []string
		}
		require.NoError(t, lines.Decode(&line))
		for _, id := range line.IDs {
			states[id] = append(states[id], line.State)
		}
	}
	return states
}
