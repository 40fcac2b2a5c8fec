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
)

// ConversationFilter selects conversations. An empty field selects all of them:
// a filter that is empty by mistake, such as one from a variable that is not set,
// lists everything, and whoever deletes by that list deletes everything. A field
// of white space alone is [ErrInvalidArgument].
type ConversationFilter struct {
	// Provider is the platform that a conversation came from, such as "chatgpt"
	// or "claude". "all" selects all, as "" does.
	Provider string
	// Title selects the titles that contain it.
	Title string
	// DateFrom and DateTo are the first and the last day of creation, such as
	// "2026-01-31".
	DateFrom, DateTo string
	// PinnedOnly selects the pinned ones.
	PinnedOnly bool
	// ImportID selects those of one import.
	ImportID string
}

// ListConversationsOptions are the settings of [Client.ListConversations]. The
// zero value lists the first page of all conversations.
type ListConversationsOptions struct {
	ConversationFilter
	// Page is the number of the page, from 1. 0 leaves it to the server: the first.
	Page int
	// PageSize is the number of conversations on a page, at most 100. 0 leaves it
	// to the server: 25.
	PageSize int
}

// Conversation is a conversation as the server lists it. A nil pointer or a zero
// time is a field that the server did not send: whoever deletes by it must know.
type Conversation struct {
	// ID is MemoryPlugin's own, which [Client.DeleteConversations] takes, not that
	// of the platform that the conversation came from.
	ID           string `json:"id"`
	Title        string `json:"title"`
	Platform     string `json:"platform"`
	MessageCount *int   `json:"messageCount"`
	TokenCount   *int   `json:"tokenCount"`
	// CreatedAt and UpdatedAt are also zero if the server sends a time before the
	// year 2000, which stands for one that it does not know.
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

// ListConversations returns one page of the conversations that opts selects. For
// all of them use [Client.AllConversations]: pages shift while conversations come
// and go.
//
// The error is [ErrInvalidArgument] if an option can't be used, and nothing is
// sent then; an [*ErrorResponse] if the server refused; [ErrUnexpectedResponse]
// if the reply is not what the API documents; or ctx's error and its cause, if
// ctx ended the call. Failures that may pass are retried.
//
//	GET /api/chat-history/chats
func (c *Client) ListConversations(ctx context.Context, opts ListConversationsOptions) (*ConversationPage, error) {
	query, err := c.listQuery(ctx, opts)
	if err != nil {
		return nil, invalidArgument(listOperation, err)
	}
	return c.listPage(ctx, query)
}

// AllConversations returns every conversation that filter selects, or an error,
// but never a part of them. It reads page after page, and again from the start,
// three times in all, if conversations come or go meanwhile. If the list is not
// complete even then, the error is [ErrUnexpectedResponse], and says how many it
// saw of how many. One that goes while another comes can still hide a third: to
// be sure that one is gone, use [Client.VerifyDeleted].
//
// The whole list is there before any of it is returned, so it is safe to delete
// by it. Other errors are those of [Client.ListConversations].
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
		// there are more, the list can't be complete, and may go on for ever.
		isLast := len(all) == total && len(page.Items) < page.PageSize && page.TotalPages <= number
		if isLast || len(all) > total || len(all) == before {
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

// decodePage reads a page of a list, and its ids to the letter.
func decodePage(body []byte) (*ConversationPage, error) {
	var reply struct {
		Items []struct {
			Conversation
			otherIDs
			ID        exactID `json:"id"`
			CreatedAt *string `json:"createdAt"`
			UpdatedAt *string `json:"updatedAt"`
		} `json:"items"`
		Page       int  `json:"page"`
		PageSize   int  `json:"pageSize"`
		Total      *int `json:"total"`
		TotalPages int  `json:"totalPages"`
	}
	if err := decodeObject(body, &reply); err != nil {
		return nil, err
	}
	switch {
	case hasSeveral(body, "items"):
		return nil, unexpected("the reply has items twice")
	case reply.Items == nil:
		return nil, unexpected("the reply has no items")
	case reply.Total == nil || *reply.Total < 0:
		return nil, unexpected("the reply has no total")
	}
	page := &ConversationPage{
		Items: make([]Conversation, len(reply.Items)),
		Page:  reply.Page, PageSize: reply.PageSize, Total: *reply.Total, TotalPages: reply.TotalPages,
	}
	for i, item := range reply.Items {
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
