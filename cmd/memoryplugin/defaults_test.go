package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheDefaultsOfFlags(t *testing.T) {
	flags := newDelete(&settings{}).Flags()
	for name, want := range map[string]string{
		"patience": "5m0s", "concurrency": "4", "batch-size": "100", "output": "text", "yes": "false", "include-pinned": "false",
	} {
		assert.Equal(t, want, flags.Lookup(name).DefValue, name)
	}
	assert.Zero(t, firstWait, "only tests set it")
}
