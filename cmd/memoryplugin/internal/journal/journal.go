// Package journal keeps a file that says what became of each conversation, so that
// an interrupted run can go on.
package journal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
)

// State is what is known of a conversation.
type State string

const (
	Sent        State = "sent"        // and no answer yet: it may be gone
	Deleted     State = "deleted"     // the server said so
	NotListed   State = "not_listed"  // the server answered, and did not list it
	NotDeleted  State = "not_deleted" // it was refused, or never sent
	Unconfirmed State = "unconfirmed" // it may be gone
	Gone        State = "gone"        // it is not there any more
	Absent      State = "absent"      // it is not there, and no listing had it
	Kept        State = "kept"        // it is still there
)

var states = []State{Sent, Deleted, NotListed, NotDeleted, Unconfirmed, Gone, Absent, Kept}

// IsDone reports whether nothing is left to be done.
func (s State) IsDone() bool { return s == Deleted || s == Gone || s == Absent }

// IsInDoubt reports whether a request may have deleted it. One that is not listed may
// be gone too, if a server lists less than it deletes.
func (s State) IsInDoubt() bool { return s == Sent || s == Unconfirmed || s == NotListed }

// Record is a line of a journal: what became of some conversations.
type Record struct {
	Time      string   `json:"time"`
	State     State    `json:"state"`
	IDs       []string `json:"ids"`
	RequestID string   `json:"request_id,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// Journal is the states that earlier runs wrote, and the file that takes those of
// this one. A nil Journal keeps nothing. Send and Write can be called concurrently.
type Journal struct {
	file   *appendfile.File // nil if it was only looked at
	states map[string]State
}

// Open opens the journal of an account, or makes it, and locks it.
func Open(path string, account appendfile.Account) (*Journal, error) {
	j := &Journal{states: map[string]State{}}
	var err error
	if j.file, err = appendfile.Open(path, appendfile.Journal, account, j.read); err != nil {
		return nil, err
	}
	return j, nil
}

// Look reads a journal and changes nothing.
func Look(path string, account appendfile.Account) (*Journal, error) {
	j := &Journal{states: map[string]State{}}
	if err := appendfile.Look(path, appendfile.Journal, account, j.read); err != nil {
		return nil, err
	}
	return j, nil
}

func (j *Journal) read(line []byte) error {
	r, err := parse(line)
	if err != nil {
		return err
	}
	for _, id := range r.IDs {
		j.states[id] = r.State
	}
	return nil
}

func parse(line []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(line, r); err != nil {
		return nil, appendfile.BadJSON(err)
	}
	if !slices.Contains(states, r.State) {
		return nil, fmt.Errorf("its state is %s, which is unknown", strconv.Quote(string(r.State)))
	}
	if len(r.IDs) == 0 {
		return nil, fmt.Errorf("it has no ids")
	}
	for _, id := range r.IDs {
		if strings.TrimSpace(id) == "" || !utf8.ValidString(id) {
			return nil, fmt.Errorf("one of its ids is blank")
		}
	}
	return r, nil
}

// State returns the last state that earlier runs wrote of a conversation, or "".
func (j *Journal) State(id string) State {
	if j == nil {
		return ""
	}
	return j.states[id]
}

// InDoubt returns the conversations that earlier runs may have deleted, sorted.
func (j *Journal) InDoubt() []string {
	if j == nil {
		return nil
	}
	var ids []string
	for id, state := range j.states {
		if state.IsInDoubt() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Send returns once it is on disk that ids are about to be sent.
func (j *Journal) Send(ids []string) error {
	if j == nil {
		return nil
	}
	if err := j.file.Check(); err != nil {
		return err
	}
	if err := j.Write(&Record{State: Sent, IDs: ids}); err != nil {
		return err
	}
	return j.file.Sync()
}

// mostIDs is how many ids a line has.
const mostIDs = 1000

// Write appends a record, which is on disk with the next [Journal.Send] or within a
// second. A record without ids is nothing.
func (j *Journal) Write(r *Record) error {
	if j == nil || len(r.IDs) == 0 {
		return nil
	}
	var lines []byte
	for ids := range slices.Chunk(r.IDs, mostIDs) {
		part := *r
		part.Time, part.IDs = time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), ids
		line, err := json.Marshal(&part, jsontext.AllowInvalidUTF8(true)) // In a request id, not in an id.
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	return j.file.Append(lines)
}

// Path returns where the journal is, or "".
func (j *Journal) Path() string {
	if j == nil || j.file == nil {
		return ""
	}
	return j.file.Path()
}

// IsNew reports whether Open made the file.
func (j *Journal) IsNew() bool { return j != nil && j.file != nil && j.file.IsMade() }

// CutOff returns how many bytes of a torn last line were cut off.
func (j *Journal) CutOff() int {
	if j == nil || j.file == nil {
		return 0
	}
	return j.file.CutOff
}

// Flush returns once everything is on disk. Its error is the first failure of a
// write, or says that the file was removed or replaced.
func (j *Journal) Flush() error {
	if j == nil || j.file == nil {
		return nil
	}
	return j.file.Flush()
}

// Close unlocks the file, after a last Flush.
func (j *Journal) Close() error {
	if j == nil || j.file == nil {
		return nil
	}
	return j.file.Close()
}

// Discard unlocks the file, and removes it if Open made it.
func (j *Journal) Discard() {
	if j != nil && j.file != nil {
		j.file.Discard()
	}
}
