// Package appendfile keeps a file of JSON lines that only grows. Its first line is
// a header, which says whose conversations the file is about. One program at a time
// can write it.
package appendfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// syncAfter is how long what is appended may be missing on disk.
const syncAfter = 500 * time.Millisecond

// ErrLost says that lines which were appended may be lost.
var ErrLost = errors.New("lines that were written may be lost")

// File is a file that was opened for appending. Its methods can be called
// concurrently.
type File struct {
	// Time is when the file was begun.
	Time time.Time
	// CutOff is the number of bytes of a torn last line that Open cut off.
	CutOff int

	path   string
	file   *os.File
	lock   *flock.Flock
	isMade bool // by Open

	mu    sync.Mutex
	size  int64 // that the file has, unless someone cuts it
	err   error // the first failure: nothing is written after it
	dirty bool
	timer *time.Timer // syncs what is appended
}

// Open opens a file of a kind, or makes it, and locks it. It calls read for each
// line after the header. If the file can't be used, it is left as it is.
func Open(path string, kind Kind, account Account, read func(line []byte) error) (*File, error) {
	f := &File{path: path}
	if err := f.open(kind, account, read); err != nil {
		f.Discard()
		return nil, refuse(path, kind, err)
	}
	f.timer = time.AfterFunc(time.Hour, func() { _ = f.Sync() })
	return f, nil
}

// Look reads a file without locking or changing it. One that is not there has no
// lines.
func Look(path string, kind Kind, account Account, read func(line []byte) error) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := checkRegular(path)
	if err == nil {
		err = look(path, kind, account, read)
	}
	if err != nil {
		return refuse(path, kind, err)
	}
	return nil
}

func look(path string, kind Kind, account Account, read func(line []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = readAll(file, kind, account, read)
	return err
}

// refuse says what can't be used, once.
func refuse(path string, kind Kind, err error) error {
	return fmt.Errorf("the %s %s can't be used: %w", kind, strconv.Quote(path), cause(err))
}

// cause is an error of the system without the path that it was about.
func cause(err error) error {
	if inPath, ok := errors.AsType[*fs.PathError](err); ok {
		return inPath.Err
	}
	return err
}

func (f *File) open(kind Kind, account Account, read func(line []byte) error) error {
	err := checkRegular(f.path)
	wasMissing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !wasMissing {
		return err
	}
	f.isMade = wasMissing
	if err := f.takeLock(); err != nil {
		return err
	}
	f.isMade = false // Another run may have made it, or made it anew, just now.
	if f.file, err = os.OpenFile(f.path, os.O_RDWR|os.O_APPEND, 0); err != nil {
		return err
	}
	if err := f.checkLock(); err != nil {
		return err
	}
	content, err := readAll(f.file, kind, account, read)
	if err != nil {
		return err
	}
	f.isMade = wasMissing && !content.hasHeader
	f.Time = content.began
	if err := f.repair(content); err != nil {
		return err
	}
	if !content.hasHeader {
		f.Time = time.Now()
		if _, err := f.file.Write(newHeader(kind, account, f.Time)); err != nil {
			return err
		}
	}
	if err := f.syncFirst(); err != nil {
		return err
	}
	info, err := f.file.Stat()
	if err == nil {
		f.size = info.Size()
	}
	return err
}

// checkRegular refuses what is no file. A symbolic link could lead to another
// place by the next time.
func checkRegular(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return errors.New("it is a symbolic link: name the file that it leads to")
	case info.IsDir():
		return errors.New("it is a folder")
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	}
	return nil
}

func (f *File) takeLock() error {
	path := f.path
	if runtime.GOOS == "windows" {
		path += ":lock" // A stream of the same file: a lock keeps even its holder from reading.
	}
	f.lock = flock.New(path, flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(0o600))
	locked, err := f.lock.TryLock()
	if inPath, ok := errors.AsType[*fs.PathError](err); ok {
		return inPath
	}
	if err != nil {
		return fmt.Errorf("it can't be locked, as on some network disks: %w", err)
	}
	if !locked {
		f.isMade = false // The other one may have made it just now.
		return errors.New("another run has it in use")
	}
	return nil
}

// checkLock makes sure that the file that is locked is the one that is open:
// another run may have removed the first in between.
func (f *File) checkLock() error {
	locked, err := f.lock.Stat()
	if err != nil {
		return err
	}
	opened, err := f.file.Stat()
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" && !os.SameFile(locked, opened) {
		return errors.New("another run has removed it just now")
	}
	return nil
}

// repair completes a last line that only lacks its end, or cuts it off if it is
// torn. Nobody acted on it: a line counts once it is whole.
func (f *File) repair(c content) error {
	if len(c.torn) == 0 {
		return nil
	}
	if c.isWhole {
		_, err := f.file.WriteString("\n")
		return err
	}
	f.CutOff = len(c.torn)
	if runtime.GOOS == "windows" { // It can't cut off a file that is open for appending.
		return os.Truncate(f.path, c.end)
	}
	return f.file.Truncate(c.end)
}

// syncFirst finds out whether the disk can sync, before anything rests on it.
func (f *File) syncFirst() error {
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("it can't be synced to its disk: %w", cause(err))
	}
	if folder, err := os.Open(filepath.Dir(f.path)); err == nil {
		_ = folder.Sync() // So that a new file keeps its name, if the system can.
		_ = folder.Close()
	}
	return nil
}

// Path returns the path that Open was given.
func (f *File) Path() string { return f.path }

// IsMade reports whether Open made the file.
func (f *File) IsMade() bool { return f.isMade }

// Append writes whole lines. They are on disk after the next Sync, or within a
// second. After a failure it writes nothing more, and returns the same error.
func (f *File) Append(lines []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	n, err := f.file.Write(lines)
	f.size += int64(n)
	if err != nil {
		f.fail(err)
		return f.err
	}
	if !f.dirty {
		f.dirty = true
		f.timer.Reset(syncAfter)
	}
	return nil
}

// Sync returns once everything that was appended is on disk.
func (f *File) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && f.dirty {
		f.dirty = false
		if err := f.file.Sync(); err != nil {
			f.fail(fmt.Errorf("%w: %w", ErrLost, cause(err)))
		}
	}
	return f.err
}

// Check returns an error if the file was removed, replaced or cut since Open, or if
// a write failed.
func (f *File) Check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		opened, err1 := f.file.Stat()
		named, err2 := os.Lstat(f.path)
		if err1 != nil || err2 != nil || !os.SameFile(opened, named) || opened.Size() < f.size {
			f.err = fmt.Errorf("%s was removed or replaced during the run: %w", strconv.Quote(f.path), ErrLost)
		}
	}
	return f.err
}

func (f *File) fail(err error) {
	f.err = fmt.Errorf("%s can't be written: %w", strconv.Quote(f.path), cause(err))
}

// Flush returns once everything is on disk. Its error is that of the first write
// that failed, or of [File.Check].
func (f *File) Flush() error {
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Check()
}

// Close unlocks the file, after a last [File.Flush].
func (f *File) Close() error {
	err := f.Flush()
	f.release()
	return err
}

// Discard unlocks the file, and removes it if Open made it.
func (f *File) Discard() {
	isOwn := f.isMade && (f.file == nil || f.Check() == nil)
	if runtime.GOOS == "windows" {
		f.release() // It can't remove a file that is open.
	}
	if isOwn {
		_ = os.Remove(f.path) // While it is locked, if possible: another run may be about to take it.
	}
	f.release()
}

func (f *File) release() {
	if f.timer != nil {
		f.timer.Stop()
	}
	if f.file != nil {
		_ = f.file.Close()
	}
	if f.lock != nil {
		_ = f.lock.Close()
	}
}
