package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofrs/flock"
)

// state is what a journal says of an id.
type state string

const (
	sent        state = "sent" // and nothing more is known: it may be gone
	deleted     state = "deleted"
	notDeleted  state = "not_deleted"
	unconfirmed state = "unconfirmed"
)

// record is a line of a journal.
type record struct {
	Time      string   `json:"time"`
	State     state    `json:"state"`
	Host      string   `json:"host,omitempty"` // of sent alone
	IDs       []string `json:"ids"`
	RequestID string   `json:"request_id,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// journal is a file that says what became of each id. Without a path it keeps
// nothing.
type journal struct {
	path, host string
	states     map[string]state
	unsure     map[string]struct{} // may be gone already, by an earlier run

	end  int64  // of the lines in the file
	torn []byte // what follows them

	file *os.File // nil where nothing is written
	lock *flock.Flock
	err  error // of the write that failed
}

// openJournal opens a journal for a run, and makes it where it is not there. A
// dry run only looks at it.
func openJournal(path, host string, dryRun bool) (*journal, error) {
	j := &journal{path: path, host: host, states: map[string]state{}, unsure: map[string]struct{}{}}
	if path == "" {
		return j, nil
	}
	err := checkRegular(path)
	switch {
	case err != nil:
	case dryRun:
		err = j.look()
	default:
		err = j.open()
	}
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *journal) look() error {
	file, err := os.Open(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer file.Close()
	return j.read(file)
}

func (j *journal) open() error {
	// The file itself is locked: any path to it is one to its lock.
	lockPath := j.path
	if runtime.GOOS == "windows" {
		lockPath += ":lock" // A stream of the same file, since a lock there keeps its holder from reading too.
	}
	j.lock = flock.New(lockPath)
	if locked, err := j.lock.TryLock(); err != nil {
		return err
	} else if !locked {
		return fmt.Errorf("%s is in use by another run", j.path)
	}
	var err error
	if j.file, err = os.OpenFile(j.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	syncFolder(j.path)
	return j.read(j.file)
}

// checkRegular refuses what is there but no file: a pipe would be waited for, a
// device has no disk below it.
func checkRegular(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil // Opening says what else is wrong.
}

// syncFolder puts the name of a new file on disk, where the system can.
func syncFolder(path string) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if folder, err := os.Open(filepath.Dir(path)); err == nil {
		_ = folder.Sync()
		_ = folder.Close()
	}
}

// read reads what earlier runs have written, line by line.
func (j *journal) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			j.torn = line
			break
		} else if err != nil {
			return err
		}
		rec, err := parseRecord(line)
		if err == nil {
			err = j.take(rec)
		}
		if err != nil {
			return fmt.Errorf("%s, line %d %w", j.path, number, err)
		}
		j.end += int64(len(line))
	}
	if rec, err := parseRecord(j.torn); err == nil {
		if err := j.take(rec); err != nil {
			return fmt.Errorf("the last line of %s %w", j.path, err)
		}
	} else if j.end == 0 && !isTornRecord(j.torn) {
		return fmt.Errorf("%s is no journal, but another file", j.path)
	}
	for id, state := range j.states {
		if state == sent || state == unconfirmed {
			j.unsure[id] = struct{}{}
		}
	}
	return nil
}

// isTornRecord reports whether a line that is no record may be what a crash has
// left of one.
func isTornRecord(line []byte) bool {
	line = bytes.TrimRight(line, "\x00") // As some file systems leave behind.
	beginning := []byte(`{"time":"`)
	n := min(len(line), len(beginning))
	return bytes.Equal(line[:n], beginning[:n]) && !jsontext.Value(line).IsValid()
}

func parseRecord(line []byte) (*record, error) {
	rec := &record{}
	if err := json.Unmarshal(line, rec); err != nil {
		return nil, fmt.Errorf("is damaged: %w", badJSON(err))
	}
	if !slices.Contains([]state{sent, deleted, notDeleted, unconfirmed}, rec.State) {
		return nil, fmt.Errorf("is damaged: it has no known state, but %q", rec.State)
	}
	if rec.State == sent && rec.Host == "" {
		return nil, errors.New("is damaged: it has no host")
	}
	if len(rec.IDs) == 0 {
		return nil, errors.New("is damaged: it has no ids")
	}
	for _, id := range rec.IDs {
		if err := checkID(id); err != nil {
			return nil, fmt.Errorf("is damaged: one of its ids %w", err)
		}
	}
	return rec, nil
}

// take notes what a record of the file says.
func (j *journal) take(rec *record) error {
	if rec.Host != "" && rec.Host != j.host {
		return fmt.Errorf("is of another host: %s, not %s, which needs a journal of its own", printable(rec.Host), printable(j.host))
	}
	j.note(rec)
	return nil
}

func (j *journal) note(rec *record) {
	for _, id := range rec.IDs {
		if j.states[id] != deleted { // Nothing brings it back.
			j.states[id] = rec.State
		}
	}
}

// repair completes a last line that is torn, or cuts it off. What it said was
// never acted on: a run goes on when the whole line is on disk.
func (j *journal) repair() error {
	if len(j.torn) == 0 {
		return nil
	}
	var err error
	if _, damaged := parseRecord(j.torn); damaged == nil {
		_, err = j.file.WriteString("\n")
	} else {
		fmt.Fprintf(os.Stderr, "cleanup: the last line of %s is torn: %d bytes are cut off\n", j.path, len(j.torn))
		err = j.truncate(j.end)
	}
	if err != nil {
		return err
	}
	return j.file.Sync()
}

func (j *journal) truncate(size int64) error {
	if runtime.GOOS == "windows" { // Which can't by a file that is open for appending, nor put another in its place.
		return os.Truncate(j.path, size)
	}
	return j.file.Truncate(size)
}

// append returns when the records are on disk. After a write that failed
// nothing is written any more: it would follow a torn line.
func (j *journal) append(records ...*record) error {
	if j.err == nil && j.file != nil && len(records) > 0 {
		j.err = j.write(records)
	}
	return j.err
}

func (j *journal) write(records []*record) error {
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	var lines []byte
	for _, rec := range records {
		rec.Time = now
		line, err := json.Marshal(rec, jsontext.AllowInvalidUTF8(true)) // In a request id, not in an id.
		if err != nil {
			return err
		}
		lines = append(append(lines, escaped(line)...), '\n')
	}
	if _, err := j.file.Write(lines); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	for _, rec := range records {
		j.note(rec)
	}
	return nil
}

func (j *journal) isUnsure(id string) bool {
	_, ok := j.unsure[id]
	return ok
}

// withoutState are those of ids that are sent, with nothing said of what became
// of them.
func (j *journal) withoutState(ids iter.Seq[string]) []string {
	var open []string
	for id := range ids {
		if j.states[id] == sent {
			open = append(open, id)
		}
	}
	return open
}

func (j *journal) close() {
	if j.file != nil {
		_ = j.file.Close() // All that counts has been synced.
	}
	if j.lock != nil {
		_ = j.lock.Close()
	}
}
