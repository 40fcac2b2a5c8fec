package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/backup"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/selection"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/terminal"
)

// plan is what a delete command is about to do.
type plan struct {
	*connection
	chosen  *selection.Selection
	query   *selection.Query // nil if ids were given
	journal *journal.Journal
	copies  *backup.Backup // nil without --backup

	start       time.Time
	pending     []memoryplugin.Conversation
	outcomes    []error         // of copying those; nil without --backup
	resumed     map[string]bool // an earlier run sent them
	skipped     int             // an earlier run has done them
	isBegun     bool            // the deletion
	keepsCopies bool            // although it has not begun
}

// plan opens the journal and selects conversations. A journal that can't be used is
// found before anything is sent.
func (d *deleting) plan(ctx context.Context, c *connection, args []string) (*plan, error) {
	p := &plan{connection: c, start: time.Now(), resumed: map[string]bool{}}
	var err error
	if p.journal, err = d.openJournal(c.account); err != nil {
		return nil, err
	}
	if p.chosen, p.query, err = d.choose(ctx, c.Client, args); err == nil {
		err = d.makeJournal(p)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	if err := p.takeUp(ctx); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// takeUp skips what the journal has as done, and takes up what it has in doubt.
func (p *plan) takeUp(ctx context.Context) error {
	if n := p.journal.CutOff(); n > 0 {
		p.progress.Say("The last line of %s was torn: %d bytes are cut off.", terminal.Quote(p.journal.Path()), n)
	}
	inDoubt := p.journal.InDoubt()
	unchosen := map[string]bool{}
	for _, id := range inDoubt {
		p.resumed[id], unchosen[id] = true, true
	}
	for _, conversation := range p.chosen.Conversations {
		delete(unchosen, conversation.ID)
		// What the server lists is there, whatever the journal says.
		if !p.chosen.WasListed && p.journal.State(conversation.ID).IsDone() {
			p.skipped++
			continue
		}
		p.pending = append(p.pending, conversation)
	}
	for _, conversation := range p.chosen.Pinned { // It is there, and was pinned meanwhile.
		delete(unchosen, conversation.ID)
	}
	var rest selection.Selection
	for _, id := range inDoubt {
		if unchosen[id] {
			rest.Conversations = append(rest.Conversations, memoryplugin.Conversation{ID: id})
		}
	}
	return p.addUnchosen(ctx, &rest)
}

// addUnchosen takes up what the filters don't find any more, but for what was pinned
// meanwhile.
func (p *plan) addUnchosen(ctx context.Context, rest *selection.Selection) error {
	if p.query == nil || p.query.IncludePinned || len(rest.Conversations) == 0 {
		p.pending = append(p.pending, rest.Conversations...)
		return nil
	}
	if err := rest.Describe(ctx, p.Client); err != nil {
		return apiError(ctx, err)
	}
	for _, c := range rest.Conversations {
		if rest.Described[c.ID] && (c.Pinned == nil || *c.Pinned) {
			p.chosen.Pinned = append(p.chosen.Pinned, c)
		} else {
			p.pending = append(p.pending, c)
		}
	}
	return nil
}

// close unlocks the files. Unless the deletion has begun, it removes those that
// this run made.
func (p *plan) close() {
	if p.isBegun {
		_ = p.journal.Close() // The summary has its failure.
	} else {
		p.journal.Discard()
	}
	switch {
	case p.copies == nil:
	case p.isBegun || p.keepsCopies:
		_ = p.copies.Close() // They are on disk since Fetch.
	default:
		p.copies.Discard()
	}
}

// question is about those that will be sent.
func (p *plan) question() *terminal.Question {
	q := &terminal.Question{Host: p.host, Journal: "none"}
	if p.copies != nil {
		q.Backup = p.copies.Path()
	}
	if p.query != nil {
		q.Selected = p.query.String()
	}
	if path := p.journal.Path(); path != "" {
		q.Journal = terminal.Quote(path)
		if !p.journal.IsNew() {
			q.Journal += " (of an earlier run)"
		}
	}
	for i, c := range p.pending {
		if p.outcomes != nil && p.outcomes[i] != nil {
			continue
		}
		q.Conversations = append(q.Conversations, c)
		if p.resumed[c.ID] {
			q.Resumed++
		}
	}
	return q
}

// toDelete returns what the deletion has to know of each conversation.
func (p *plan) toDelete() []deletion.Conversation {
	conversations := make([]deletion.Conversation, len(p.pending))
	for i, c := range p.pending {
		conversations[i] = deletion.Conversation{ID: c.ID, WasListed: p.chosen.WasListed || p.chosen.Described[c.ID], InDoubt: p.resumed[c.ID]}
		if p.outcomes == nil || p.outcomes[i] == nil {
			continue
		}
		if errors.Is(p.outcomes[i], backup.ErrMissing) {
			conversations[i].IsMissing = true
		} else {
			conversations[i].Withheld = fmt.Errorf("it could not be copied: %w", p.outcomes[i])
		}
	}
	return conversations
}
