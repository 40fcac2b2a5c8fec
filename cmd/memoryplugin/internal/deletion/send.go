package deletion

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/patience"
)

// batchesPerChunk is how many batches are in the journal as sent at a time, at
// least. The journal is synced once for each chunk.
const batchesPerChunk = 48

// sendAll hands chunk after chunk to the SDK, until it leaves some unsent. Each
// chunk is on disk as sent before it leaves, and while the one before is on its way.
func (s *state) sendAll(ctx context.Context, ids []string) {
	size := s.BatchSize * max(batchesPerChunk, 2*s.Concurrency)
	chunks := slices.Collect(slices.Chunk(ids, size))
	if len(chunks) == 0 || s.sending.Err() != nil {
		return
	}
	round, end := s.Patience.Context(s.sending)
	defer end()
	marked := s.mark(chunks[0])
	for i, chunk := range chunks {
		s.failJournal(<-marked)
		s.checkReady()
		if round.Err() != nil || s.endedBy != nil {
			s.leave(chunk, context.Cause(round))
			return
		}
		if i+1 < len(chunks) {
			marked = s.mark(chunks[i+1])
		}
		s.sendChunk(ctx, round, chunk)
	}
}

// checkReady ends the run if nothing more may be deleted.
func (s *state) checkReady() {
	if s.Ready == nil {
		return
	}
	if err := s.Ready(); err != nil {
		s.endedBy = err
		s.stop()
	}
}

// mark writes ids as sent.
func (s *state) mark(ids []string) <-chan error {
	marked := make(chan error, 1)
	go func() { marked <- s.Journal.Send(ids) }()
	return marked
}

// leave takes back that ids were sent.
func (s *state) leave(ids []string, why error) {
	if !errors.Is(why, patience.ErrOver) {
		why = memoryplugin.ErrStopped
	}
	s.receive(&memoryplugin.DeleteConversationsResult{NotDeleted: ids}, s.whyUnsent(why))
}

func (s *state) sendChunk(ctx, round context.Context, ids []string) {
	_, _ = s.Client.DeleteConversationsInBatches(ctx, ids, memoryplugin.BatchOptions{
		Size:        s.BatchSize,
		Concurrency: s.Concurrency,
		Stop:        round.Done(),
		OnBatch: func(result *memoryplugin.DeleteConversationsResult, err error) {
			if errors.Is(err, memoryplugin.ErrStopped) && errors.Is(context.Cause(round), patience.ErrOver) {
				err = patience.ErrOver
			}
			s.receive(result, err)
		},
	})
}

// receive books what became of a batch. One without an attempt was never sent.
func (s *state) receive(result *memoryplugin.DeleteConversationsResult, err error) {
	neverSent := err != nil && result.Attempts == 0
	if neverSent {
		s.endedBy = s.whyUnsent(err)
	}
	if err != nil {
		s.note(err)
	}
	if errors.Is(err, memoryplugin.ErrUnexpectedResponse) { // An answer that contradicts itself confirms nothing here.
		result.Unconfirmed, result.Deleted = append(result.Unconfirmed, result.Deleted...), nil
	}
	if len(result.Deleted)+len(result.NotListed) > 0 {
		s.answered = true
	}
	text := errorText(err)
	refused := &failure{reason: Refused, err: err, text: text}
	if neverSent {
		refused = &failure{reason: NotSent, err: s.endedBy, text: errorText(s.endedBy)}
	}
	doubtful, notListed := s.divide(result.NotListed)
	inDoubt, notDeleted := s.divide(result.NotDeleted)
	book := func(state journal.State, ids []string, why *failure) {
		s.book(&journal.Record{State: state, IDs: ids, RequestID: result.RequestID}, why)
	}
	book(journal.Deleted, result.Deleted, nil)
	book(journal.NotListed, notListed, &failure{Unanswered, nil, "the server answered, but did not list it", false})
	book(journal.Unconfirmed, doubtful, &failure{Unanswered, nil, "an earlier request may have deleted it, and the server did not list it now", !s.NoVerify})
	book(journal.Unconfirmed, result.Unconfirmed, &failure{Unanswered, err, text, true})
	book(journal.Unconfirmed, inDoubt, &failure{reason: Unanswered, err: refused.err, text: "an earlier request may have deleted it, and now: " + refused.text})
	book(journal.NotDeleted, notDeleted, refused)
}

// whyUnsent returns what err of the SDK comes from, if the run itself has stopped it.
func (s *state) whyUnsent(err error) error {
	if !errors.Is(err, memoryplugin.ErrStopped) {
		return err
	}
	return cmp.Or(s.recorded, s.endedBy, memoryplugin.ErrStopped)
}

// divide sets apart the ids that an earlier request may have deleted: that this one
// did not does not mean that they are there.
func (s *state) divide(ids []string) (inDoubt, rest []string) {
	for _, id := range ids {
		if s.byID[id].InDoubt {
			inDoubt = append(inDoubt, id)
		} else {
			rest = append(rest, id)
		}
	}
	return inDoubt, rest
}

// finish gives those that were never sent their reason, and sums up.
func (s *state) finish() {
	why := s.whyUnsent(memoryplugin.ErrStopped)
	unsent := map[string][]string{} // by the reason
	for _, f := range s.fates {
		if f.state != "" {
			continue
		}
		if f.failure == nil {
			f.failure = &failure{reason: NotSent, err: why, text: errorText(why)}
		}
		if f.InDoubt { // The journal has it as what it is.
			f.state = journal.Unconfirmed
			f.failure = &failure{reason: Unanswered, err: f.failure.err, text: "an earlier run may have deleted it; not sent again: " + f.failure.text}
			continue
		}
		f.state = journal.NotDeleted
		unsent[f.failure.text] = append(unsent[f.failure.text], f.ID)
	}
	for text, ids := range unsent {
		s.failJournal(s.Journal.Write(&journal.Record{State: journal.NotDeleted, IDs: ids, Error: "not sent: " + text}))
	}
	s.failJournal(s.Journal.Flush())
	s.summary.JournalError = s.recorded
	if errors.Is(s.recorded, appendfile.ErrLost) {
		s.summary.Unrecorded = s.done()
	}
	s.summarize()
}

func (s *state) done() []string {
	var ids []string
	for _, f := range s.fates {
		if f.state.IsDone() {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// counts is how an error of the SDK says how many ids of a batch it is about. Here a
// group of conversations has it, and they are not those of one batch.
var counts = regexp.MustCompile(`^(delete conversations: )?([0-9]+ of [0-9]+ (unconfirmed|not deleted)(, [0-9]+ not deleted)?: )?`)

// errorText is an error of the SDK without what all of them have.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return counts.ReplaceAllString(strings.Replace(err.Error(), "memoryplugin: ", "", 1), "")
}
