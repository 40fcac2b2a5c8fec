package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestErrorsEscapeWhatWasGiven(t *testing.T) {
	const hostile = "x\x1b[2J\u009b\u202ey"
	for name, args := range map[string][]string{
		"a command":        {hostile},
		"a flag":           {"count", "--" + hostile},
		"a flag's value":   {"count", "--rate", hostile},
		"an output":        {"list", "--output", hostile},
		"a date":           {"list", "--before", hostile},
		"an id":            {"delete", "--yes", hostile},
		"an input file":    {"delete", "--yes", "--file", hostile},
		"a journal":        {"delete", "--yes", "a", "--journal", "no/" + hostile},
		"a backup":         {"delete", "--yes", "a", "--backup", "no/" + hostile},
		"a key file":       {"count", "--api-key-file", hostile},
		"a URL":            {"count", "--base-url", "http://" + hostile},
		"a number of demo": {"demo", hostile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got := command(t, memoryplugintest.NewServer(t).URL, args...).run()

			assert.Equal(t, 3, got.code)
			assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f\x{80}-\x{9f}\x{202e}]`, got.stderr+got.stdout)
			assert.Regexp(t, `^memoryplugin: .+\n$`, got.stderr)
		})
	}
}
