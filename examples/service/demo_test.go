package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDemoPrintsWhatTheREADMEShows(t *testing.T) {
	t.Parallel()
	path, err := binary()
	require.NoError(t, err)
	cmd := exec.Command(path, "--demo")
	cmd.Env = []string{"DATABASE_URL=postgres:///not-used", "SERVICE_TOKEN=not-used"}
	cmd.Stderr = os.Stderr

	printed, err := cmd.Output()

	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, shown, _ := strings.Cut(string(readme), "<!-- ci:demo-output -->\n```\n")
	shown, _, _ = strings.Cut(shown, "```\n")
	id := regexp.MustCompile(`[A-Z2-7]{26}`)
	assert.Equal(t, id.ReplaceAllString(shown, "ID"), id.ReplaceAllString(string(printed), "ID"))
}
