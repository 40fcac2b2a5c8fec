package appendfile_test

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
)

func TestAFileThatIsRemovedOrReplacedIsNoticed(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps the name of a file that is open")
	}
	for name, damage := range map[string]func(path string) error{
		"removed": os.Remove,
		"renamed": func(path string) error { return os.Rename(path, path+".old") },
		"replaced by a copy": func(path string) error {
			content, _ := os.ReadFile(path)
			_ = os.Remove(path)
			return os.WriteFile(path, content, 0o600)
		},
		"replaced by a link to it": func(path string) error {
			_ = os.Rename(path, path+".old")
			return os.Symlink(path+".old", path)
		},
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"cut":     func(path string) error { return os.Truncate(path, 100) },
		"emptied and written anew": func(path string) error {
			return os.WriteFile(path, []byte(header), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			f, _ := open(t, path)
			require.NoError(t, f.Append([]byte("a line that is long enough\n")))
			require.NoError(t, f.Check())

			require.NoError(t, damage(path))

			err := f.Check()
			assert.ErrorContains(t, err, "file.jsonl")
			assert.ErrorContains(t, err, "was removed or replaced during the run")
			assert.ErrorIs(t, err, appendfile.ErrLost)
			assert.Equal(t, err, f.Append([]byte("2\n")), "nothing is written after that")
			assert.Equal(t, err, f.Sync())
			assert.Equal(t, err, f.Close())
		})
	}
}

func TestCloseNoticesThatTheFileIsGone(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps the name of a file that is open")
	}
	path := newPath(t)
	f, _ := open(t, path)
	require.NoError(t, os.Remove(path))

	assert.ErrorIs(t, f.Close(), appendfile.ErrLost)
}

func TestAFileThatGrowsIsWhatItWas(t *testing.T) {
	t.Parallel()
	f, _ := open(t, write(t, header+"1\n"+`{"torn`))

	for i := range 10 {
		require.NoError(t, f.Append(fmt.Appendf(nil, "%d\n", i)))
		require.NoError(t, f.Check())
		require.NoError(t, f.Flush())
	}
}

func TestLinesThatAreAppendedAtATimeAreWhole(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, _ := open(t, path)
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for i := range 100 {
				assert.NoError(t, f.Append(fmt.Appendf(nil, "%d\n%d\n", worker, i)))
				if i%20 == 0 {
					assert.NoError(t, f.Sync())
				}
			}
		})
	}
	workers.Wait()
	require.NoError(t, f.Close())

	_, lines := open(t, path)

	require.Len(t, lines, 800)
	next := map[string]int{}
	for i := 0; i < len(lines); i += 2 {
		assert.Equal(t, fmt.Sprint(next[lines[i]]), lines[i+1])
		next[lines[i]]++
	}
}

// Each run makes the file, and removes it again: none may remove another's.
func TestRunsThatComeAndGoAtATimeDoNotRemoveOneAnothersFile(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps the name of a file that is open")
	}
	path := newPath(t)
	var workers sync.WaitGroup
	var holders atomic.Int32
	for range 6 {
		workers.Go(func() {
			for range 200 {
				f, err := appendfile.Open(path, appendfile.Journal, account, func([]byte) error { return nil })
				if err != nil {
					continue
				}
				assert.EqualValues(t, 1, holders.Add(1), "two have it at a time")
				assert.NoError(t, f.Check(), "another run has removed it")
				holders.Add(-1)
				f.Discard()
			}
		})
	}
	workers.Wait()
}
