package appendfile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAHeaderThatIsTornAnywhereIsWrittenAnew(t *testing.T) {
	t.Parallel()
	for n := range len(header) - 1 { // Then only the line end is missing.
		for _, zeros := range []string{"", "\x00", strings.Repeat("\x00", len(header)-n)} {
			path := write(t, header[:n]+zeros)

			f, lines := open(t, path)

			assert.Empty(t, lines)
			assert.False(t, f.IsMade())
			if n+len(zeros) > 0 && n < len(header)-1 {
				assert.Equal(t, n+len(zeros), f.CutOff, "%q", header[:n]+zeros)
			}
			require.NoError(t, f.Close())
			assert.Equal(t, 1, strings.Count(read(t, path), "\n"))
			open(t, path)
		}
	}
}

func TestAHeaderThatOnlyLacksItsEndIsCompleted(t *testing.T) {
	t.Parallel()
	path := write(t, strings.TrimSuffix(header, "\n"))

	f, _ := open(t, path)

	assert.Zero(t, f.CutOff)
	assert.Equal(t, header, read(t, path))
}

func TestATornLastLineIsCutOff(t *testing.T) {
	t.Parallel()
	for _, torn := range []string{
		"{", `{"a"`, `{"a":"\n`, `{"a":{}`, "\x00", strings.Repeat("\x00", 5000), `{"a":` + strings.Repeat("\x00", 100),
		" ", "\xff", `{"a":1}` + "\x00", "[", `"`, "nul", strings.Repeat(`{"a":[`, 50_000),
	} {
		path := write(t, header+"1\n2\n"+torn)

		f, lines := open(t, path)

		assert.Equal(t, []string{"1", "2"}, lines)
		assert.Equal(t, len(torn), f.CutOff)
		require.NoError(t, f.Append([]byte("3\n")))
		assert.Equal(t, header+"1\n2\n3\n", read(t, path))
	}
}

func TestALastLineThatOnlyLacksItsEndCounts(t *testing.T) {
	t.Parallel()
	path := write(t, header+"1\n"+`{"a":[1.0e2,"\ud83d\ude00"],"a":2}`)

	f, lines := open(t, path)

	assert.Equal(t, []string{"1", `{"a":[1.0e2,"\ud83d\ude00"],"a":2}`}, lines)
	assert.Zero(t, f.CutOff)
	require.NoError(t, f.Append([]byte("3\n")))
	assert.Equal(t, header+"1\n"+`{"a":[1.0e2,"\ud83d\ude00"],"a":2}`+"\n3\n", read(t, path))
}
