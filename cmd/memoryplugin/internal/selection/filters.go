// Package selection turns filters, or ids, into the conversations that a command is
// about.
package selection

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

// ErrNotObeyed says that the server ignores a filter.
var ErrNotObeyed = errors.New("the server did not obey")

// Filters are what the flags say.
type Filters struct {
	All                          bool
	Provider, Title, ImportID    string
	Before, After, UpdatedBefore string
	IncludePinned                bool
}

// IsSet reports whether a filter is given.
func (f *Filters) IsSet() bool { return *f != Filters{IncludePinned: f.IncludePinned} }

// Query is filters whose dates are instants.
type Query struct {
	Filters
	before, after, updatedBefore time.Time // zero if not given
}

// Parse reads the dates, and refuses what can't match anything.
func (f Filters) Parse(now time.Time) (*Query, error) {
	q := &Query{Filters: f}
	narrow := f
	narrow.All = false
	if f.All && narrow.IsSet() {
		return nil, errors.New("--all and other filters exclude each other")
	}
	if strings.EqualFold(f.Provider, "all") {
		return nil, errors.New("--provider all would match everything: use --all")
	}
	for _, date := range []struct {
		flag, text string
		into       *time.Time
	}{
		{"before", f.Before, &q.before}, {"after", f.After, &q.after}, {"updated-before", f.UpdatedBefore, &q.updatedBefore},
	} {
		if date.text == "" {
			continue
		}
		instant, err := parseInstant(date.text, now)
		if err != nil {
			return nil, fmt.Errorf("--%s is %s: %w", date.flag, strconv.Quote(date.text), err)
		}
		*date.into = instant
	}
	if !q.before.IsZero() && !q.after.Before(q.before) {
		return nil, fmt.Errorf("nothing lies between --after (%s) and --before (%s)", Instant(q.after), Instant(q.before))
	}
	return q, nil
}

// Instant is how a moment is shown.
func Instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// String says what is selected: "provider chatgpt, created before 2025-11-26 00:00 UTC".
func (q *Query) String() string {
	var parts []string
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+" "+value)
		}
	}
	addTime := func(what string, t time.Time) {
		if !t.IsZero() {
			add(what, Instant(t))
		}
	}
	if q.Provider != "" {
		add("provider", strconv.Quote(q.Provider))
	}
	if q.Title != "" {
		add("title with", strconv.Quote(q.Title))
	}
	if q.ImportID != "" {
		add("import", strconv.Quote(q.ImportID))
	}
	addTime("created since", q.after)
	addTime("created before", q.before)
	addTime("not updated since", q.updatedBefore)
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, ", ")
}

// Selection is the conversations that a command is about.
type Selection struct {
	Conversations []memoryplugin.Conversation
	// Pinned were left out: they are pinned, or may be.
	Pinned []memoryplugin.Conversation
	// Duplicates is how many ids were given more than once.
	Duplicates int
	// WasListed says that a listing had the conversations. Otherwise they are ids
	// alone.
	WasListed bool
	// Described are the ids that a listing had, once Describe has asked for one.
	Described map[string]bool
}

// List returns the conversations that match. If the server lists one that does not,
// it ignores a filter, and List returns an error.
func (q *Query) List(ctx context.Context, client *memoryplugin.Client) (*Selection, error) {
	if q.ImportID != "" {
		if err := probeImportID(ctx, client); err != nil {
			return nil, err
		}
	}
	listed, err := client.AllConversations(ctx, q.ask())
	if err != nil {
		return nil, err
	}
	s := &Selection{WasListed: true}
	for _, c := range listed {
		if err := q.check(c); err != nil {
			return nil, err
		}
		switch {
		case !q.matches(c):
		case !q.IncludePinned && (c.Pinned == nil || *c.Pinned):
			s.Pinned = append(s.Pinned, c)
		default:
			s.Conversations = append(s.Conversations, c)
		}
	}
	return s, nil
}

// ask returns what the server is asked for: a day more on either side, since its
// days may be those of another time zone.
func (q *Query) ask() memoryplugin.ConversationFilter {
	filter := memoryplugin.ConversationFilter{Provider: q.Provider, Title: q.Title, ImportID: q.ImportID}
	if !q.after.IsZero() {
		filter.DateFrom = q.after.UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	}
	if !q.before.IsZero() {
		filter.DateTo = q.before.UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	}
	return filter
}

// check returns an error if the server ignored a filter. Dates are applied here.
func (q *Query) check(c memoryplugin.Conversation) error {
	flag := ""
	switch {
	case q.Provider != "" && !strings.EqualFold(c.Platform, q.Provider):
		flag = "--provider"
	case q.Title != "" && !strings.Contains(strings.ToLower(c.Title), strings.ToLower(q.Title)):
		flag = "--title"
	default:
		return nil
	}
	return fmt.Errorf("%w %s: it lists %.80q, with title %.80q and provider %.80q", ErrNotObeyed, flag, c.ID, c.Title, c.Platform)
}

// matches applies the dates. A date that the server did not send never matches.
func (q *Query) matches(c memoryplugin.Conversation) bool {
	dated := !q.before.IsZero() || !q.after.IsZero()
	return !(dated && c.CreatedAt.IsZero()) &&
		(q.before.IsZero() || c.CreatedAt.Before(q.before)) &&
		!c.CreatedAt.Before(q.after) &&
		(q.updatedBefore.IsZero() || !c.UpdatedAt.IsZero() && c.UpdatedAt.Before(q.updatedBefore))
}

// probeImportID returns an error if the server ignores the filter: no reply shows
// a conversation's import, so it is asked for one that does not exist.
func probeImportID(ctx context.Context, client *memoryplugin.Client) error {
	random := make([]byte, 16)
	rand.Read(random) // It never fails.
	random[6], random[8] = random[6]&0x0f|0x40, random[8]&0x3f|0x80
	id := fmt.Sprintf("%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
	page, err := client.ListConversations(ctx, memoryplugin.ListConversationsOptions{
		ConversationFilter: memoryplugin.ConversationFilter{ImportID: id}, PageSize: 1,
	})
	if err != nil {
		return err
	}
	if page.Total > 0 || len(page.Items) > 0 {
		return fmt.Errorf("%w --import-id: it lists conversations of an import that does not exist", ErrNotObeyed)
	}
	return nil
}

// Describe adds what a listing says of the conversations, if it has them.
func (s *Selection) Describe(ctx context.Context, client *memoryplugin.Client) error {
	all, err := client.AllConversations(ctx, memoryplugin.ConversationFilter{})
	if err != nil {
		return err
	}
	byID := make(map[string]memoryplugin.Conversation, len(all))
	for _, c := range all {
		byID[c.ID] = c
	}
	s.Described = map[string]bool{}
	for i, c := range s.Conversations {
		if listed, ok := byID[c.ID]; ok {
			s.Conversations[i], s.Described[c.ID] = listed, true
		}
	}
	return nil
}
