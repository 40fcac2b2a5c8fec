package memoryplugin

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	listOperation = "list conversations"
	maxPageSize   = 100
	maxPages      = 10_000 // of one listing: a million conversations
)

// ConversationFilter selects the conversations that match all of its fields. An
// empty field matches every conversation. Be careful with a field that comes from
// a variable: if it is not set, you list everything, and may delete everything.
// A field that has only white space is [ErrInvalidArgument].
type ConversationFilter struct {
	// Provider is the platform that a conversation came from, such as "chatgpt"
	// or "claude", spelt as in Conversation.Platform. The client does not check
	// it: a name that the server does not know may match nothing, without an
	// error. "all" matches every platform, like "".
	Provider string
	// Title is a part of the title.
	Title string
	// DateFrom and DateTo are the first and the last day of creation, both
	// included, such as "2026-01-31". The API does not say in which time zone.
	DateFrom, DateTo string
	// PinnedOnly leaves out conversations that are not pinned.
	PinnedOnly bool
	// ImportID is the import that a conversation came with.
	ImportID string
}

// ListConversationsOptions are the settings of [Client.ListConversations]. The
// zero value lists the first page of all conversations.
type ListConversationsOptions struct {
	ConversationFilter
	// Page is the number of the page. It starts at 1. If it is 0, the server
	// sends the first page.
	Page int
	// PageSize is the number of conversations on a page, at most 100. If it is 0,
	// the server chooses: 25.
	PageSize int
}

// Conversation is a conversation as the server lists it. A pointer is nil, and a
// time is zero, if the server did not send it. Check that before you choose what to
// delete by such a field.
type Conversation struct {
	// ID is MemoryPlugin's own id, the one that [Client.DeleteConversations] takes.
	// The platform has another id for the same conversation.
	ID           string `json:"id"`
	Title        string `json:"title"`
	Platform     string `json:"platform"`
	MessageCount *int   `json:"messageCount"`
	TokenCount   *int   `json:"tokenCount"`
	// CreatedAt and UpdatedAt are also zero if the server sends a time before the
	// year 2000: it does that if it does not know the time.
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
	Pinned    *bool     `json:"pinned"`
}

// ConversationPage is one page of a list. Items is never nil. Page, PageSize and
// TotalPages are 0 if the server did not send them.
type ConversationPage struct {
	Items                             []Conversation
	Page, PageSize, Total, TotalPages int
}

// ListConversations returns one page of the conversations that match opts. If you
// want all of them, use [Client.AllConversations]: pages shift if conversations are
// added or deleted between two calls.
//
// If an option can't be used, the error is [ErrInvalidArgument], and nothing is
// sent. If the server refuses, it is an [*ErrorResponse]. If the reply is not what
// the API documents, it is [ErrUnexpectedResponse]. If ctx ends the call, it is
// ctx's error and its cause. Failures that may be temporary are retried.
//
//	GET /api/chat-history/chats
func (c *Client) ListConversations(ctx context.Context, opts ListConversationsOptions) (*ConversationPage, error) {
	query, err := c.listQuery(ctx, opts)
	if err != nil {
		return nil, invalidArgument(listOperation, err)
	}
	return c.listPage(ctx, query)
}

// AllConversations returns every conversation that matches filter, or an error,
// never a part. It reads all pages. If it sees that conversations were added or
// deleted meanwhile, it reads the list again, three times in all. If the list is
// still not complete, or has more than 10,000 pages, the error is
// [ErrUnexpectedResponse] and says how many it saw of how many.
//
// There is one change that it can't see: if one conversation is deleted and
// another is added while it reads, the list can miss a third. Call it again to
// find that one. [Client.VerifyDeleted] does not rest on the list alone.
//
// It returns only after it has read every page, so you can delete what it lists.
// Other errors are those of [Client.ListConversations].
//
//	GET /api/chat-history/chats
func (c *Client) AllConversations(ctx context.Context, filter ConversationFilter) ([]Conversation, error) {
	query, err := c.listQuery(ctx, ListConversationsOptions{ConversationFilter: filter, PageSize: maxPageSize})
	if err != nil {
		return nil, invalidArgument(listOperation, err)
	}
	const rounds = 3
	var seen, total int
	for range rounds {
		all, complete, of, err := c.readList(ctx, query)
		if err != nil {
			return nil, err
		}
		if complete {
			return all, nil
		}
		seen, total = len(all), of
	}
	err = unexpected(fmt.Sprintf("read %d times, the list has %d of %d conversations", rounds, seen, total))
	return nil, &callError{asked: listOperation, happened: err.Error(), wrapped: []error{err}}
}

// readList reads page after page, from the first one on. The list is complete if
// it has as many conversations as the first page and the last one say.
func (c *Client) readList(ctx context.Context, query url.Values) (all []Conversation, complete bool, total int, err error) {
	var seen map[string]struct{}
	for number := 1; ; number++ {
		query.Set("page", strconv.Itoa(number))
		page, err := c.listPage(ctx, query)
		if err != nil {
			return nil, false, 0, err
		}
		if number > 1 && page.Total != total {
			return all, false, page.Total, nil // Conversations came or went.
		}
		total = page.Total
		if number == 1 {
			room := min(total, 100*maxPageSize) // Not more: it may be a lie.
			all, seen = make([]Conversation, 0, room), make(map[string]struct{}, room)
		}
		before := len(all)
		for _, conversation := range page.Items {
			if _, ok := seen[conversation.ID]; !ok {
				seen[conversation.ID] = struct{}{}
				all = append(all, conversation)
			}
		}
		// A total can be too low, so only a page with room to spare is the last. Once
		// there are more, or pages beyond the last, the list may go on for ever.
		isLast := len(all) == total && len(page.Items) < min(page.PageSize, maxPageSize) && page.TotalPages <= number
		beyond := page.TotalPages > 0 && number > page.TotalPages || number == maxPages
		if isLast || beyond || len(all) > total || len(all) == before {
			return all, len(all) == total, total, nil
		}
	}
}

// listQuery checks opts and returns them as a query.
func (c *Client) listQuery(ctx context.Context, opts ListConversationsOptions) (url.Values, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	switch {
	case opts.Page < 0:
		return nil, fmt.Errorf("the page is negative: %d", opts.Page)
	case opts.PageSize < 0 || opts.PageSize > maxPageSize:
		return nil, fmt.Errorf("the page size is %d: want 0 to %d", opts.PageSize, maxPageSize)
	case opts.DateTo != "" && opts.DateTo < opts.DateFrom:
		return nil, fmt.Errorf("the last date, %s, is before the first, %s", quote(opts.DateTo), quote(opts.DateFrom))
	}
	for _, date := range []string{opts.DateFrom, opts.DateTo} {
		if _, err := time.Parse(time.DateOnly, date); date != "" && err != nil {
			return nil, fmt.Errorf("a date is %s: want one such as 2026-01-31", quote(date))
		}
	}
	query := url.Values{}
	for name, value := range map[string]string{
		"provider": opts.Provider, "title": opts.Title, "importId": opts.ImportID,
		"dateFrom": opts.DateFrom, "dateTo": opts.DateTo,
	} {
		if value != "" && strings.TrimSpace(value) == "" {
			return nil, fmt.Errorf("the filter %s is white space alone", name)
		}
		if value != "" {
			query.Set(name, value)
		}
	}
	if opts.PinnedOnly {
		query.Set("pinnedOnly", "true")
	}
	if opts.Page > 0 {
		query.Set("page", strconv.Itoa(opts.Page))
	}
	if opts.PageSize > 0 {
		query.Set("pageSize", strconv.Itoa(opts.PageSize))
	}
	return query, nil
}

func (c *Client) listPage(ctx context.Context, query url.Values) (*ConversationPage, error) {
	var page *ConversationPage
	err := c.read(ctx, listOperation, conversationsPath, query, func(body []byte) (err error) {
		if page, err = decodePage(body); err != nil && query.Has("page") {
			err = fmt.Errorf("page %s: %w", query.Get("page"), err)
		}
		return err
	})
	return page, err
}

// listedConversation is a conversation as the API lists it.
type listedConversation struct {
	Conversation
	otherIDs
	ID        exactID `json:"id"`
	CreatedAt *string `json:"createdAt"`
	UpdatedAt *string `json:"updatedAt"`
}

// decodePage reads a page of a list, and its ids to the letter.
func decodePage(body []byte) (*ConversationPage, error) {
	page := &ConversationPage{}
	var items listOf[listedConversation]
	var total *int
	err := decodeObject(body, map[string]any{
		"items": &items, "page": &page.Page, "pageSize": &page.PageSize, "total": &total, "totalPages": &page.TotalPages,
	})
	switch {
	case err != nil:
		return nil, err
	case items == nil:
		return nil, unexpected("the reply has no items")
	case total == nil || *total < 0:
		return nil, unexpected("the reply has no total")
	}
	page.Total = *total
	page.Items = make([]Conversation, len(items))
	for i, item := range items {
		var created, updated error
		item.Conversation.ID = item.ID.text
		item.Conversation.CreatedAt, created = decodeTime("items.createdAt", item.CreatedAt)
		item.Conversation.UpdatedAt, updated = decodeTime("items.updatedAt", item.UpdatedAt)
		if err := cmp.Or(item.ID.check(), created, updated); err != nil {
			return nil, err
		}
		page.Items[i] = item.Conversation
	}
	return page, nil
}
