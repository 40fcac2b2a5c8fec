package memoryplugintest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

// Conversation is a conversation that a [Server] keeps.
type Conversation struct {
	memoryplugin.Conversation
	Messages []memoryplugin.Message
	// ImportID is for the filter of that name. No reply shows it.
	ImportID string
}

// list answers with a page of the conversations that query selects.
func (s *Server) list(query url.Values) *reply {
	selected, err := parseFilter(query)
	if err != nil {
		return refuse(http.StatusBadRequest, "Invalid query: %v", err)
	}
	page, err1 := parseNumber(query, "page", 1, 1<<31-1)
	size, err2 := parseNumber(query, "pageSize", 25, 100)
	if err := cmp.Or(err1, err2); err != nil {
		return refuse(http.StatusBadRequest, "Invalid query: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	matches := []memoryplugin.Conversation{}
	for _, c := range s.inOrder() {
		if selected(c) {
			matches = append(matches, c.Conversation)
		}
	}
	total := len(matches)
	from := min(min(page-1, total)*size, total) // The product alone can be too large for an int.
	return newReply(http.StatusOK, map[string]any{
		"items": matches[from:min(from+size, total)],
		"page":  page, "pageSize": size, "total": total, "totalPages": (total + size - 1) / size,
	})
}

// parseFilter returns what a conversation must be to be listed.
func parseFilter(query url.Values) (func(Conversation) bool, error) {
	for name := range query {
		if !strings.Contains(" page pageSize provider title dateFrom dateTo pinnedOnly importId ", " "+name+" ") {
			return nil, fmt.Errorf("unknown parameter %q", name)
		}
	}
	from, err1 := parseDate(query.Get("dateFrom"), time.Time{})
	to, err2 := parseDate(query.Get("dateTo"), time.Unix(1<<40, 0))
	pinnedOnly, err3 := strconv.ParseBool(cmp.Or(query.Get("pinnedOnly"), "false"))
	dated := query.Has("dateFrom") || query.Has("dateTo")
	return func(c Conversation) bool {
		provider := query.Get("provider")
		return (provider == "" || provider == "all" || provider == c.Platform) &&
			strings.Contains(strings.ToLower(c.Title), strings.ToLower(query.Get("title"))) &&
			(!dated || !c.CreatedAt.IsZero() && !c.CreatedAt.Before(from) && c.CreatedAt.Before(to.AddDate(0, 0, 1))) &&
			(!pinnedOnly || c.Pinned != nil && *c.Pinned) &&
			(!query.Has("importId") || query.Get("importId") == c.ImportID)
	}, cmp.Or(err1, err2, err3)
}

// parseDate reads a day in UTC.
func parseDate(text string, missing time.Time) (time.Time, error) {
	if text == "" {
		return missing, nil
	}
	return time.Parse(time.DateOnly, text)
}

func parseNumber(query url.Values, name string, missing, most int) (int, error) {
	if !query.Has(name) {
		return missing, nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s must be a number from 1 to %d", name, most)
	}
	return n, nil
}

// transcript answers with the messages of one conversation.
func (s *Server) transcript(query url.Values) *reply {
	id := query.Get("conversationId")
	if id == "" {
		return refuse(http.StatusBadRequest, "conversationId is missing")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.conversations[id]
	if !ok {
		return refuse(http.StatusNotFound, "Conversation not found")
	}
	return newReply(http.StatusOK, map[string]any{
		"id": c.ID, "title": c.Title, "messages": append([]memoryplugin.Message{}, c.Messages...),
		"total": len(c.Messages), "tokenCount": c.TokenCount,
	})
}

func (s *Server) count(url.Values) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	return newReply(http.StatusOK, map[string]any{"count": len(s.conversations)})
}
