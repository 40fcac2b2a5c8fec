package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSpeedPrintsATableAndDrawsAPicture(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "speed.svg")
	var out bytes.Buffer

	require.NoError(t, run(t.Context(), &out, 1, 0, picture))

	assert.Contains(t, out.String(), "| 10,000 ids, loopback |")
	assert.Contains(t, out.String(), "1000000 ids in batches need")
	svg, err := os.ReadFile(picture)
	require.NoError(t, err)
	assert.Contains(t, string(svg), "<svg")
}

func TestMemoryOfARunInBatchesIsBoundedByItsLists(t *testing.T) {
	const stringHeader = 16

	perID, err := memoryPerID(t.Context(), 100_000)

	require.NoError(t, err)
	assert.InDelta(t, stringHeader, perID, 16)
}
