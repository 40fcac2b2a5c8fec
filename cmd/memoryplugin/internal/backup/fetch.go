package backup

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/patience"
)

const (
	mostFailures = 5  // transcripts in a row that may pass, before a round ends
	mostHopeless = 20 // transcripts that can't pass, before the first copy
)

var (
	// ErrMissing is the outcome of a conversation that the API has no transcript of.
	ErrMissing = errors.New("the server has no transcript of it")

	errNotTried = errors.New("not tried, since others failed")
)

// Fetch is the settings of fetching transcripts.
type Fetch struct {
	Client      *memoryplugin.Client
	Concurrency int
	Patience    *patience.Patience
	OnCopy      func() // one more is done
}

// fetching is the state of a Fetch.
type fetching struct {
	*Fetch
	backup *Backup

	mu       sync.Mutex
	done     int // with a copy, or missing
	answered bool
	inRow    int   // failures since the last success
	hopeless int   // failures that can't pass, before any success
	fatal    error // ends everything
}

// Fetch copies conversations, a few at a time, and returns the outcome of each: nil
// if its copy is on disk, or why not. What fails for a reason that may pass is
// fetched again after a wait. The error is what ended it early: the disk, the key,
// or ctx.
func (b *Backup) Fetch(ctx context.Context, settings *Fetch, conversations []memoryplugin.Conversation) ([]error, error) {
	f := &fetching{Fetch: settings, backup: b}
	outcomes := make([]error, len(conversations))
	for i := range outcomes {
		outcomes[i] = errNotTried
	}
	f.Patience.Progress()
	for again := true; again; {
		before := f.done
		f.round(ctx, conversations, outcomes)
		if f.done > before {
			f.Patience.Progress()
		}
		asked, failure := f.waitFor(outcomes)
		again = failure != nil && f.fatal == nil && f.Patience.Wait(ctx, asked, failure)
	}
	if err := b.file.Flush(); err != nil {
		f.fatal = cmp.Or(f.fatal, err)
		loseCopies(outcomes, err)
	}
	if f.fatal == nil && f.done < len(conversations) {
		f.fatal = ctx.Err()
	}
	return outcomes, f.fatal
}

// loseCopies says of the copies that they may be lost, if err does.
func loseCopies(outcomes []error, err error) {
	for i := range outcomes {
		if outcomes[i] == nil && errors.Is(err, appendfile.ErrLost) {
			outcomes[i] = err
		}
	}
}

// round fetches what has no copy and may have one.
func (f *fetching) round(ctx context.Context, conversations []memoryplugin.Conversation, outcomes []error) {
	f.inRow = 0
	var left []int
	for i, err := range outcomes {
		if errors.Is(err, errNotTried) || f.mayPass(err) {
			left = append(left, i)
		}
	}
	var workers errgroup.Group
	workers.SetLimit(f.Concurrency)
	for _, i := range left {
		workers.Go(func() error {
			if f.mayFetch(ctx) {
				outcomes[i] = f.fetch(ctx, conversations[i])
				f.judge(outcomes[i])
			}
			return nil
		})
	}
	_ = workers.Wait() // The outcomes have the errors.
}

// waitFor returns the failure that is worth a wait, if any, and how long the server
// asked to wait.
func (f *fetching) waitFor(outcomes []error) (asked time.Duration, failure error) {
	for _, err := range outcomes {
		if f.mayPass(err) {
			asked, failure = max(asked, patience.RetryAfter(err)), err
		}
	}
	return asked, failure
}

func (f *fetching) mayPass(err error) bool {
	for _, final := range []error{ErrMissing, errNotTried, errPart, errWrite} {
		if errors.Is(err, final) {
			return false
		}
	}
	return err != nil && patience.MayPass(err, f.answered)
}

func (f *fetching) mayFetch(ctx context.Context) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return ctx.Err() == nil && f.fatal == nil && f.inRow < mostFailures && (f.done > 0 || f.hopeless < mostHopeless)
}

func (f *fetching) fetch(ctx context.Context, c memoryplugin.Conversation) error {
	if f.backup.Has(c) {
		return nil
	}
	t, err := f.Client.GetTranscript(ctx, c.ID)
	if err == nil {
		err = checkWhole(t, c)
	}
	switch {
	case err == nil:
		return f.backup.add(t)
	case errors.Is(err, memoryplugin.ErrNotFound) && !errors.Is(err, memoryplugin.ErrUnexpectedResponse):
		return ErrMissing
	}
	return err
}

// judge decides whether a round goes on after an outcome.
func (f *fetching) judge(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil || errors.Is(err, ErrMissing):
		f.done++
		f.answered, f.inRow = true, 0
		if err == nil {
			f.OnCopy()
		}
	case errors.Is(err, errWrite) || errors.Is(err, memoryplugin.ErrUnauthorized):
		f.fatal = err
	case f.mayPass(err):
		f.inRow++
	case f.done == 0 && !errors.Is(err, errPart):
		f.hopeless++
	}
}
