// Package deletion deletes conversations for good and accounts for each of them. It
// sends them in rounds until nothing is left that may pass, and finds out what
// became of those without an answer.
package deletion

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/patience"
)

// Conversation is one that is to be deleted.
type Conversation struct {
	ID string
	// WasListed says that a listing had it, so if it is not there it is gone.
	WasListed bool
	// InDoubt says that an earlier run may have deleted it.
	InDoubt bool
	// IsMissing says that it seems to be gone already. It is not sent: what is there
	// after all has no copy.
	IsMissing bool
	// Withheld is why it must not be sent: it could not be copied.
	Withheld error
}

// Run is the settings of a run.
type Run struct {
	Client      *memoryplugin.Client
	Journal     *journal.Journal // nil keeps none
	BatchSize   int
	Concurrency int
	// Patience is how long to go on without progress.
	Patience *patience.Patience
	// NoVerify leaves open what became of those without an answer.
	NoVerify bool
	// Ready is called before each chunk leaves, if it is set. Its error ends the run.
	Ready func() error
	// OnDone is called when n more conversations are done.
	OnDone func(n int)
}

// state is where a run is.
type state struct {
	*Run
	fates    []*fate
	byID     map[string]*fate
	sending  context.Context // ends once nothing more may be sent
	stop     context.CancelFunc
	answered bool // by the server, so it is there

	summary  Summary
	endedBy  error // why the SDK left some unsent
	failure  error // the last one
	asked    time.Duration
	recorded error // the first failure of the journal
}

// fate is what is known of a conversation.
type fate struct {
	Conversation
	state   journal.State // "" if it was not sent
	failure *failure      // why it is left
}

// failure is why conversations are left.
type failure struct {
	reason  Reason
	err     error
	text    string
	mayPass bool // whatever err is
}

// Do deletes conversations. Once stop ends it sends nothing more, and waits for
// what is on the wire; the end of ctx cuts that off too. The Summary accounts for
// each conversation.
func (r *Run) Do(ctx, stop context.Context, conversations []Conversation) *Summary {
	s := &state{Run: r, byID: make(map[string]*fate, len(conversations))}
	s.sending, s.stop = context.WithCancel(stop)
	defer s.stop()
	for _, c := range conversations {
		f := &fate{Conversation: c}
		if c.Withheld != nil {
			f.failure = &failure{reason: NotSent, err: c.Withheld, text: errorText(c.Withheld)}
		}
		if c.IsMissing {
			f.failure = &failure{reason: NotSent, text: noTranscript}
		}
		s.fates = append(s.fates, f)
		s.byID[c.ID] = f
		s.answered = s.answered || c.WasListed
	}
	r.Patience.Progress()
	for s.sendRound(ctx) {
	}
	s.finish()
	return &s.summary
}

// sendRound sends what is left that may pass, settles what it can, and waits. It
// reports whether another round is worth it.
func (s *state) sendRound(ctx context.Context) bool {
	s.endedBy, s.failure, s.asked = nil, nil, 0
	s.sendAll(ctx, s.pending())
	s.settle()
	if s.sending.Err() != nil || !s.mayGoOn() {
		return false
	}
	return s.Patience.Wait(s.sending, s.asked, cmp.Or(s.failure, errStillThere))
}

// pending returns the ids that are to be sent.
func (s *state) pending() []string {
	var ids []string
	for _, f := range s.fates {
		if !f.state.IsDone() && !f.IsMissing && (f.failure == nil || s.mayPass(f)) {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// mayGoOn reports whether another round could achieve something.
func (s *state) mayGoOn() bool {
	if s.endedBy != nil && !patience.MayPass(s.endedBy, s.answered) {
		return false
	}
	for _, f := range s.fates {
		if !f.state.IsDone() && f.failure != nil && s.mayPass(f) {
			return true
		}
	}
	return false
}

// mayPass reports whether another round may achieve what f is left for. An unknown
// host may, once any request was answered.
func (s *state) mayPass(f *fate) bool {
	return f.failure.mayPass || f.Withheld == nil && patience.MayPass(f.failure.err, s.answered)
}

var errStillThere = errors.New("some are still there")

// settle finds out what became of the conversations without an answer.
func (s *state) settle() {
	open := map[journal.State]bool{journal.NotListed: true, journal.Unconfirmed: true}
	var ids []string
	for _, f := range s.fates {
		if open[f.state] || f.IsMissing && f.state == "" {
			ids = append(ids, f.ID)
		}
	}
	if s.NoVerify || len(ids) == 0 || s.sending.Err() != nil {
		return
	}
	round, end := s.Patience.Context(s.sending)
	defer end()
	result, err := s.Client.VerifyDeleted(round, ids)
	if err != nil {
		s.note(err)
		for _, id := range result.Unknown {
			f := s.byID[id]
			if f.state == "" { // It is missing, and was never sent.
				f.failure = &failure{reason: NotSent, err: err, text: errorText(err)}
			} else if !patience.MayPass(f.failure.err, s.answered) {
				f.failure = &failure{reason: Unanswered, err: err, text: errorText(err)}
			}
		}
	} else {
		s.answered = true
	}
	var gone, absent []string
	for _, id := range result.Gone {
		if s.byID[id].WasListed {
			gone = append(gone, id)
		} else {
			absent = append(absent, id)
		}
	}
	s.book(&journal.Record{State: journal.Gone, IDs: gone}, nil)
	s.book(&journal.Record{State: journal.Absent, IDs: absent}, nil)
	s.keep(result.Present)
}

// keep books what is still there. A failure of the request that should have deleted
// it says more than that.
func (s *state) keep(ids []string) {
	before := map[string]*failure{}
	for _, id := range ids {
		before[id] = s.byID[id].failure
	}
	s.book(&journal.Record{State: journal.Kept, IDs: ids}, &failure{StillThere, nil, "it is still there", true})
	for _, id := range ids {
		f := s.byID[id]
		f.WasListed = true
		if f.IsMissing {
			f.failure = &failure{reason: StillThere, text: noTranscript}
		} else if why := before[id]; why.err != nil {
			f.failure = &failure{StillThere, why.err, "it is still there, after: " + why.text, true}
		}
	}
}

const noTranscript = "the server has no transcript of it to copy, so it was not sent"

// book writes a record, and then counts what it says.
func (s *state) book(r *journal.Record, why *failure) {
	if why != nil {
		r.Error = why.text
	}
	err := s.Journal.Write(r)
	s.failJournal(err)
	for _, id := range r.IDs {
		f := s.byID[id]
		f.state, f.failure = r.State, why
		f.InDoubt = f.InDoubt || r.State == journal.Unconfirmed
	}
	if !r.State.IsDone() || len(r.IDs) == 0 {
		return
	}
	if err != nil {
		s.summary.Unrecorded = append(s.summary.Unrecorded, r.IDs...)
	}
	s.Patience.Progress()
	s.OnDone(len(r.IDs))
}

// failJournal stops the run if the journal does not take what happens.
func (s *state) failJournal(err error) {
	if err != nil && s.recorded == nil {
		s.recorded = err
		s.stop()
	}
}

// note keeps the failure that a wait is for.
func (s *state) note(err error) {
	s.failure = err
	if _, isReply := errorResponse(err); isReply {
		s.answered = true
	}
	s.asked = max(s.asked, patience.RetryAfter(err))
	if errors.Is(err, memoryplugin.ErrUnauthorized) {
		s.summary.KeyRefused, s.endedBy = true, err
		s.stop()
	}
}
