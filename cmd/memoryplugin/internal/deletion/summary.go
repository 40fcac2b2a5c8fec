package deletion

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

// Reason is why conversations are left.
type Reason string

const (
	Refused    Reason = "refused"
	Unanswered Reason = "unconfirmed" // no answer settles what became of it
	StillThere Reason = "kept"
	NotSent    Reason = "not_sent"
)

var reasons = []Reason{Refused, Unanswered, StillThere, NotSent}

// Summary accounts for every conversation of a run. Its numbers add up.
type Summary struct {
	Deleted, Gone, Absent, Kept, Unconfirmed, NotDeleted int

	Left         []Group
	KeyRefused   bool     // with a 401
	JournalError error    // the journal is not complete
	Unrecorded   []string // done in this run, but not in the journal for sure
}

// Group is conversations that are left for the same reason.
type Group struct {
	Reason Reason   `json:"reason"`
	Status int      `json:"status"` // of the refusing reply; 0 if there was none
	Error  string   `json:"error"`  // that of the first
	IDs    []string `json:"ids"`
	Err    error    `json:"-"` // nil if there was none
}

// IsComplete reports whether nothing is left.
func (s *Summary) IsComplete() bool { return len(s.Left) == 0 }

func (s *state) summarize() {
	counts := map[journal.State]int{}
	groups := map[key]*Group{}
	for _, f := range s.fates {
		counts[f.state]++
		if f.state.IsDone() {
			continue
		}
		k := key{reason: f.failure.reason}
		reply, isReply := errorResponse(f.failure.err)
		if isReply {
			k.status = reply.StatusCode
		}
		if groups[k] == nil {
			groups[k] = &Group{Reason: k.reason, Status: k.status, Error: f.failure.text, Err: f.failure.err}
		}
		groups[k].IDs = append(groups[k].IDs, f.ID)
	}
	for _, k := range slices.SortedFunc(maps.Keys(groups), key.compare) {
		s.summary.Left = append(s.summary.Left, *groups[k])
	}
	s.summary.Deleted, s.summary.Gone, s.summary.Absent = counts[journal.Deleted], counts[journal.Gone], counts[journal.Absent]
	s.summary.Kept, s.summary.NotDeleted = counts[journal.Kept], counts[journal.NotDeleted]
	s.summary.Unconfirmed = counts[journal.Unconfirmed] + counts[journal.NotListed]
}

// key is what groups are told apart by.
type key struct {
	reason Reason
	status int
}

func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(slices.Index(reasons, k.reason), slices.Index(reasons, other.reason)), cmp.Compare(k.status, other.status))
}

func errorResponse(err error) (*memoryplugin.ErrorResponse, bool) {
	return errors.AsType[*memoryplugin.ErrorResponse](err)
}
