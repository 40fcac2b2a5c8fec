package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// TestMain is the program itself if start has started this binary.
func TestMain(m *testing.M) {
	if os.Getenv("QUICKSTART_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start runs the program with an account on srv, or without one.
func start(t *testing.T, srv *memoryplugintest.Server, args ...string) (output string, code int) {
	t.Helper()
	program := exec.Command(os.Args[0], args...)
	program.Env = append(os.Environ(), "QUICKSTART_TEST_MAIN=1", "MEMORYPLUGIN_API_KEY=", "MEMORYPLUGIN_BASE_URL=")
	if srv != nil {
		program.Env = append(program.Env, "MEMORYPLUGIN_API_KEY="+memoryplugintest.APIKey, "MEMORYPLUGIN_BASE_URL="+srv.URL)
	}
	text, err := program.CombinedOutput()
	if program.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(text), program.ProcessState.ExitCode()
}

func TestWithoutAKeyItShowsAnUnconfirmedDeletion(t *testing.T) {
	output, code := start(t, nil)

	assert.Equal(t, 0, code)
	assert.Contains(t, output, `Deleted (the server says so; gone for good): ["conv-1" "conv-2"]`)
	assert.Contains(t, output, `Unconfirmed (may be gone): ["conv-3" "conv-4"]`)
	assert.Contains(t, output, `Gone: ["conv-3" "conv-4"]`)
	assert.Contains(t, output, "Conversations left: [conv-5]")
}

func TestWithAKeyItDeletesTheGivenConversations(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a", "b", "c")

	output, code := start(t, srv, "a", "b")

	assert.Equal(t, 0, code)
	assert.Contains(t, output, `["a" "b"]`)
	assert.Equal(t, []string{"c"}, srv.Conversations())
}

func TestWithAKeyAndWithoutIDsItDeletesNothing(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.AddConversations("a")

	output, code := start(t, srv)

	assert.Equal(t, 1, code)
	assert.Contains(t, output, "Give the ids")
	assert.Empty(t, srv.Requests())
}

func TestAFailedDeletionIsExitCode1(t *testing.T) {
	srv := memoryplugintest.NewServer(t)
	srv.FailNext(memoryplugintest.Fault{Status: 403})

	output, code := start(t, srv, "a")

	assert.Equal(t, 1, code)
	assert.Contains(t, output, `NotDeleted (certainly not; send them again): ["a"]`)
}
