package appendfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
)

func TestLinesComeBackInTheirOrder(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, lines := open(t, path)
	assert.Empty(t, lines)
	require.NoError(t, f.Append([]byte("1\n2\n")))
	require.NoError(t, f.Append([]byte("3\n")))
	require.NoError(t, f.Close())

	_, lines = open(t, path)

	assert.Equal(t, []string{"1", "2", "3"}, lines)
}

func TestALineThatIsRefusedMakesTheFileUnusable(t *testing.T) {
	t.Parallel()
	path := write(t, header+"1\n2\n3\n"+`{"torn`)
	check := unchanged(t, path)

	_, err := appendfile.Open(path, appendfile.Journal, account, func(line []byte) error {
		if string(line) == "2" {
			return errors.New("it is a two")
		}
		return nil
	})

	assert.ErrorContains(t, err, "file.jsonl")
	assert.ErrorContains(t, err, "line 3 can't be read: it is a two. It is left as it is")
	check()
}

func TestAPathThatIsNoFileIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "folder", "in it"), 0o700))

	for _, test := range []struct{ path, want string }{
		{filepath.Join(folder, "folder"), "it is a folder"},
		{filepath.Join(folder, "nowhere", "file"), filepath.Join("nowhere", "file")},
	} {
		assert.ErrorContains(t, openError(t, test.path), test.want)
	}

	assert.DirExists(t, filepath.Join(folder, "folder", "in it"))
	assert.NoDirExists(t, filepath.Join(folder, "nowhere"))
}

func TestASymbolicLinkIsRefusedWhereverItLeads(t *testing.T) {
	t.Parallel()
	target := write(t, header)
	check := unchanged(t, target)
	nowhere := newPath(t)
	for _, to := range []string{target, nowhere, t.TempDir()} {
		link := newPath(t)
		if err := os.Symlink(to, link); err != nil {
			t.Skip(err) // On Windows that is a privilege.
		}

		err := openError(t, link)

		assert.ErrorContains(t, err, "it is a symbolic link: name the file that it leads to")
		assert.ErrorContains(t, appendfile.Look(link, appendfile.Journal, account, nil), "symbolic link")
		is, err := os.Readlink(link)
		require.NoError(t, err)
		assert.Equal(t, to, is)
	}
	assert.NoFileExists(t, nowhere)
	check()
}

func TestANewFileIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such permissions")
	}
	path := newPath(t)

	open(t, path)

	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestAFileInUseIsRefusedAndGoesOn(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	first, _ := open(t, path)
	require.NoError(t, first.Append([]byte("1\n")))
	check := unchanged(t, path)

	assert.ErrorContains(t, openError(t, path), "another run has it in use")

	check()
	require.NoError(t, first.Append([]byte("2\n")))
	require.NoError(t, first.Close())
	_, lines := open(t, path)
	assert.Equal(t, []string{"1", "2"}, lines, "after the first one has closed it, it can be opened")
}

func TestAFileInUseCanBeLookedAt(t *testing.T) {
	t.Parallel()
	path := write(t, header+"1\n"+`{"torn`)
	f, _ := open(t, path)
	require.NoError(t, f.Append([]byte("2\n")))
	n := 0

	err := appendfile.Look(path, appendfile.Journal, account, func([]byte) error { n++; return nil })

	require.NoError(t, err)
	assert.Equal(t, 2, n)
}

func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	for _, end := range []string{`{"torn`, "1", "\x00\x00"} {
		path := write(t, header+"1\n"+end)
		check := unchanged(t, path)

		assert.NoError(t, appendfile.Look(path, appendfile.Journal, account, func([]byte) error { return nil }))

		check()
	}
}

func TestLookingMakesNoFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)

	require.NoError(t, appendfile.Look(path, appendfile.Journal, account, nil))

	assert.NoFileExists(t, path)
}

func TestDiscardRemovesWhatOpenMade(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, _ := open(t, path)
	assert.True(t, f.IsMade())

	f.Discard()

	assert.NoFileExists(t, path)
}

func TestDiscardLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	path := write(t, header+"1\n")
	check := unchanged(t, path)
	f, _ := open(t, path)
	assert.False(t, f.IsMade())

	f.Discard()

	check()
	open(t, path) // It is unlocked.
}

func TestDiscardLeavesAnotherFileOfTheSameName(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, _ := open(t, path)
	require.NoError(t, os.Rename(path, path+".old"))
	require.NoError(t, os.WriteFile(path, []byte("another's"), 0o600))

	f.Discard()

	assert.Equal(t, "another's", read(t, path))
	assert.FileExists(t, path+".old")
}

func TestAFileThatWasMadeMeanwhileIsNoOwn(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	first, _ := open(t, path)
	require.NoError(t, first.Close())
	require.True(t, first.IsMade())

	second, _ := open(t, path)

	assert.False(t, second.IsMade())
	second.Discard()
	assert.True(t, strings.HasPrefix(read(t, path), `{"journal":`))
}
