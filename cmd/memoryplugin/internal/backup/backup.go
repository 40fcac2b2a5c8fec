// Package backup keeps a file with the transcripts of conversations, each as the
// API sent it.
package backup

import (
	"bytes"
	"crypto/sha256"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
)

// clockError is how much the clocks of this machine and of the server may differ.
const clockError = 24 * time.Hour

// Backup is a file of transcripts. Only Has can be called while Fetch runs.
type Backup struct {
	file   *appendfile.File
	mu     sync.Mutex
	copies map[string][sha256.Size]byte // of the last copy of each conversation
}

// Open opens the backup of an account, or makes it, and locks it.
func Open(path string, account appendfile.Account) (*Backup, error) {
	b := &Backup{copies: map[string][sha256.Size]byte{}}
	var err error
	if b.file, err = appendfile.Open(path, appendfile.Backup, account, b.read); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Backup) read(line []byte) error {
	id, err := parse(line)
	if err != nil {
		return err
	}
	b.copies[id] = sha256.Sum256(line)
	return nil
}

// parse returns the id of a transcript. Whatever else it has is the API's.
func parse(line []byte) (string, error) {
	var transcript struct {
		ID   string         `json:"id"`
		Rest jsontext.Value `json:",inline"`
	}
	// Messages that were cut may end with half of a surrogate pair.
	err := json.Unmarshal(line, &transcript, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return "", appendfile.BadJSON(err)
	}
	if strings.TrimSpace(transcript.ID) == "" {
		return "", errors.New("it has no id")
	}
	return transcript.ID, nil
}

// Has reports whether there is a copy that can't be older than the conversation.
// The file says when it was begun, and a copy may be as old as that.
func (b *Backup) Has(c memoryplugin.Conversation) bool {
	began := b.file.Time
	return b.HasAny(c.ID) && began.Before(time.Now()) && !c.UpdatedAt.IsZero() && c.UpdatedAt.Before(began.Add(-clockError))
}

// HasAny reports whether there is a copy of a conversation, however old.
func (b *Backup) HasAny(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.copies[id]
	return ok
}

// checkWhole refuses a transcript that lacks messages.
func checkWhole(t *memoryplugin.Transcript, listed memoryplugin.Conversation) error {
	total := t.Total
	if listed.MessageCount != nil && len(t.Messages) == 0 {
		total = max(total, *listed.MessageCount)
	}
	if len(t.Messages) < total {
		return fmt.Errorf("%w: it has %d of %d messages", errPart, len(t.Messages), total)
	}
	var raw struct {
		Messages *jsontext.Value `json:"messages"`
	}
	err := json.Unmarshal(t.Raw, &raw, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err != nil || raw.Messages == nil {
		return fmt.Errorf("%w: it has no messages", errPart)
	}
	return nil
}

// add appends a transcript, unless the last copy is the same.
func (b *Backup) add(t *memoryplugin.Transcript) error {
	var line bytes.Buffer
	if err := stdjson.Compact(&line, t.Raw); err != nil { // On one line, but otherwise unchanged.
		return fmt.Errorf("%w: %w", errPart, err)
	}
	sum := sha256.Sum256(line.Bytes())
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.copies[t.ID] == sum {
		return nil
	}
	if err := b.file.Append(append(line.Bytes(), '\n')); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	b.copies[t.ID] = sum
	return nil
}

var (
	errPart  = errors.New("the transcript is not whole")
	errWrite = errors.New("the backup")
)

// Path returns where the backup is.
func (b *Backup) Path() string { return b.file.Path() }

// IsNew reports whether Open made the file.
func (b *Backup) IsNew() bool { return b.file.IsMade() }

// CutOff returns how many bytes of a torn last line were cut off.
func (b *Backup) CutOff() int { return b.file.CutOff }

// Check returns an error if the file was removed or replaced, or if a write failed.
// A nil Backup has none.
func (b *Backup) Check() error {
	if b == nil {
		return nil
	}
	return b.file.Check()
}

// Close unlocks the file. Its error is the first failure of a write, or says that
// the file was removed or replaced.
func (b *Backup) Close() error { return b.file.Close() }

// Discard unlocks the file, and removes it if Open made it.
func (b *Backup) Discard() { b.file.Discard() }
