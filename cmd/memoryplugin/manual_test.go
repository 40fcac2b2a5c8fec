package main

import (
	"html"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	return string(text)
}

func TestThePictureShowsWhatTheManualShows(t *testing.T) {
	picture, err := os.ReadFile("../../docs/tool-demo.svg")
	require.NoError(t, err)
	_, after, found := strings.Cut(manual(t), "<!-- ci:demo-output -->\n```\n")
	require.True(t, found)
	documented, _, _ := strings.Cut(after, "```\n")
	shown := strings.ReplaceAll(html.UnescapeString(string(picture)), "\u00a0", " ")

	for line := range strings.Lines(documented) {
		line, _, _ = strings.Cut(line, " on 127.0.0.1:") // The port and the duration differ each time.
		assert.True(t, strings.Contains(shown, strings.TrimSuffix(line, "\n")), "run ./screenshot: it lacks %q", line)
	}
}

func TestEveryFlagInTheManualExists(t *testing.T) {
	known := map[string]bool{"help": true, "version": true}
	root := newRoot()
	for _, command := range root.Commands() {
		for _, help := range []string{command.LocalFlags().FlagUsages(), command.InheritedFlags().FlagUsages()} {
			for _, flag := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(help, -1) {
				known[flag[1]] = true
			}
		}
	}
	for _, flag := range regexp.MustCompile("[ `(]--([a-z]+[a-z-]*)").FindAllStringSubmatch(manual(t), -1) {
		assert.True(t, known[flag[1]], "--%s", flag[1])
	}
}
