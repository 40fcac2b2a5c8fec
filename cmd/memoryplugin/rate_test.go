package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestRateSpreadsTheRequestsOfACommand(t *testing.T) {
	const atTenASecond = 300 * time.Millisecond // of four requests: the first does not wait
	for _, args := range [][]string{
		{"backup", "a", "b", "c", "d", "--to", "copies.jsonl"},
		{"delete", "a", "b", "c", "d", "--yes", "--batch-size", "1"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			srv := memoryplugintest.NewServer(t)
			srv.AddConversations("a", "b", "c", "d")

			begin := time.Now()
			got := command(t, srv.URL, append(args, "--rate", "10")...).run()

			assert.Equal(t, 0, got.code, got.stderr)
			assert.GreaterOrEqual(t, time.Since(begin), atTenASecond)
			assert.Len(t, srv.Requests(), 4)
		})
	}
}
