package selection_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/selection"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// now is when all filters are read.
var now = time.Date(2026, 3, 10, 15, 4, 5, 600, time.UTC)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

var no, yes = false, true

// conversation is one that is not pinned.
func conversation(id, created string) memoryplugintest.Conversation {
	c := memoryplugintest.Conversation{Conversation: memoryplugin.Conversation{ID: id, Pinned: &no}}
	if created != "" {
		c.CreatedAt, c.UpdatedAt = at(created), at(created)
	}
	return c
}

func serve(t *testing.T, conversations ...memoryplugintest.Conversation) *memoryplugintest.Server {
	t.Helper()
	srv := memoryplugintest.NewServer(t)
	for _, c := range conversations {
		srv.AddConversation(c)
	}
	return srv
}

func parse(t *testing.T, f selection.Filters) *selection.Query {
	t.Helper()
	q, err := f.Parse(now)
	require.NoError(t, err)
	return q
}

func list(t *testing.T, srv *memoryplugintest.Server, f selection.Filters) *selection.Selection {
	t.Helper()
	s, err := parse(t, f).List(t.Context(), srv.Client())
	require.NoError(t, err)
	assert.True(t, s.WasListed)
	return s
}

func ids(conversations []memoryplugin.Conversation) []string {
	ids := []string{}
	for _, c := range conversations {
		ids = append(ids, c.ID)
	}
	return ids
}

func TestFiltersSelectWhatMatches(t *testing.T) {
	t.Parallel()
	a := conversation("a", "2026-01-01T00:00:00Z")
	a.Platform, a.Title, a.ImportID = "chatgpt", "A draft of MINE", "import-1"
	b := conversation("b", "2026-02-01T00:00:00Z")
	b.Platform, b.Title, b.ImportID = "claude", "Final", "import-2"
	b.UpdatedAt = at("2026-03-01T00:00:00Z")
	srv := serve(t, a, b)
	for name, test := range map[string]struct {
		filters selection.Filters
		want    []string
	}{
		"all":                {selection.Filters{All: true}, []string{"a", "b"}},
		"provider":           {selection.Filters{Provider: "claude"}, []string{"b"}},
		"title":              {selection.Filters{Title: "Draft of mine"}, []string{"a"}},
		"import":             {selection.Filters{ImportID: "import-2"}, []string{"b"}},
		"before":             {selection.Filters{Before: "2026-01-15"}, []string{"a"}},
		"after":              {selection.Filters{After: "2026-01-15"}, []string{"b"}},
		"after and before":   {selection.Filters{After: "2026-01-15", Before: "2026-01-20"}, []string{}},
		"updated before":     {selection.Filters{UpdatedBefore: "2026-02-15"}, []string{"a"}},
		"an age":             {selection.Filters{Before: "60d"}, []string{"a"}},
		"several":            {selection.Filters{Provider: "chatgpt", Title: "draft", Before: "1w"}, []string{"a"}},
		"several, not all":   {selection.Filters{Provider: "claude", Title: "draft"}, []string{}},
		"a provider nowhere": {selection.Filters{Provider: "gemini"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, ids(list(t, srv, test.filters).Conversations))
		})
	}
}

func TestDatesAreExactToTheInstant(t *testing.T) {
	t.Parallel()
	srv := serve(t,
		conversation("a nanosecond before", "2026-01-31T23:59:59.999999999Z"),
		conversation("at midnight", "2026-02-01T00:00:00Z"),
		conversation("at midnight, said otherwise", "2026-02-01T02:00:00+02:00"),
		conversation("before it, although its date is that", "2026-02-01T01:59:59+02:00"),
	)
	earlier := []string{"a nanosecond before", "before it, although its date is that"}
	later := []string{"at midnight", "at midnight, said otherwise"}

	assert.Equal(t, earlier, ids(list(t, srv, selection.Filters{Before: "2026-02-01"}).Conversations))
	assert.Equal(t, earlier, ids(list(t, srv, selection.Filters{UpdatedBefore: "2026-02-01"}).Conversations))
	assert.Equal(t, later, ids(list(t, srv, selection.Filters{After: "2026-02-01"}).Conversations))
}

func TestAgesAreExactToTheInstant(t *testing.T) {
	t.Parallel()
	instant := now.Add(-90 * 24 * time.Hour)
	srv := serve(t,
		conversation("younger", instant.Add(time.Nanosecond).Format(time.RFC3339Nano)),
		conversation("just as old", instant.Format(time.RFC3339Nano)),
		conversation("older", instant.Add(-time.Nanosecond).Format(time.RFC3339Nano)),
	)

	assert.Equal(t, []string{"older"}, ids(list(t, srv, selection.Filters{Before: "90d"}).Conversations))
	assert.Equal(t, []string{"younger", "just as old"}, ids(list(t, srv, selection.Filters{After: "90d"}).Conversations))
}

// A server may count its days in any zone.
func TestAServerInAnotherTimeZoneMakesNoDifference(t *testing.T) {
	t.Parallel()
	for _, zone := range []int{-12, -5, 0, 9, 14} {
		var all []memoryplugin.Conversation
		for hour := range 10 * 24 {
			c := conversation("", "").Conversation
			c.CreatedAt = at("2026-01-27T00:00:00Z").Add(time.Duration(hour) * time.Hour)
			c.ID = c.CreatedAt.Format(time.RFC3339)
			all = append(all, c)
		}
		client := inZone(t, all, time.FixedZone("", zone*3600))
		for _, f := range []selection.Filters{{Before: "2026-02-01"}, {After: "2026-02-01"}, {After: "38d", Before: "35d"}} {
			q := parse(t, f)

			got, err := q.List(t.Context(), client)

			require.NoError(t, err)
			want := slices.DeleteFunc(ids(all), func(id string) bool { return !isWithin(f, at(id)) })
			assert.Equal(t, want, ids(got.Conversations), "%+v, zone %d", f, zone)
		}
	}
}

func isWithin(f selection.Filters, created time.Time) bool {
	limits := map[string]time.Time{
		"2026-02-01": at("2026-02-01T00:00:00Z"), "38d": now.AddDate(0, 0, -38), "35d": now.AddDate(0, 0, -35),
	}
	return (f.Before == "" || created.Before(limits[f.Before])) && (f.After == "" || !created.Before(limits[f.After]))
}

// roundTripper is a server in memory.
type roundTripper func(*http.Request) *http.Response

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func clientOf(t *testing.T, f roundTripper) *memoryplugin.Client {
	t.Helper()
	client, err := memoryplugin.NewClient("sk-test", memoryplugin.WithHTTPClient(&http.Client{Transport: f}))
	require.NoError(t, err)
	return client
}

// page is a reply with all of some conversations.
func page(conversations []memoryplugin.Conversation, number string) *http.Response {
	total := len(conversations)
	if number != "1" {
		conversations = conversations[:0]
	}
	text, err := json.Marshal(map[string]any{"items": conversations, "page": 1, "pageSize": total + 1, "total": total, "totalPages": 1})
	if err != nil {
		panic(err)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: body{strings.NewReader(string(text))}}
}

type body struct{ *strings.Reader }

func (body) Close() error { return nil }

// inZone is a server whose days are those of a time zone.
func inZone(t *testing.T, all []memoryplugin.Conversation, zone *time.Location) *memoryplugin.Client {
	t.Helper()
	return clientOf(t, func(r *http.Request) *http.Response {
		query := r.URL.Query()
		var some []memoryplugin.Conversation
		for _, c := range all {
			day := c.CreatedAt.In(zone).Format(time.DateOnly)
			if day >= query.Get("dateFrom") && (query.Get("dateTo") == "" || day <= query.Get("dateTo")) {
				some = append(some, c)
			}
		}
		return page(some, "1")
	})
}

func TestTheServerIsAskedForADayMoreOnEitherSide(t *testing.T) {
	t.Parallel()
	srv := serve(t)

	list(t, srv, selection.Filters{After: "2024-03-01", Before: "2025-12-31", Provider: "claude", Title: "x"})

	query := srv.Requests()[0].Query
	assert.Equal(t, "2024-02-29", query.Get("dateFrom"), "2024 is a leap year")
	assert.Equal(t, "2026-01-01", query.Get("dateTo"))
	assert.Equal(t, "claude", query.Get("provider"))
	assert.Equal(t, "x", query.Get("title"))
}

func TestTheServerIsNotAskedForDatesThatAreNotGiven(t *testing.T) {
	t.Parallel()
	srv := serve(t)

	list(t, srv, selection.Filters{UpdatedBefore: "1y"})

	assert.NotContains(t, srv.Requests()[0].Query, "dateFrom")
	assert.NotContains(t, srv.Requests()[0].Query, "dateTo")
}

func TestAServerThatIgnoresAFilterIsNotTrusted(t *testing.T) {
	t.Parallel()
	matching := conversation("a", "2026-01-01T00:00:00Z").Conversation
	matching.Platform, matching.Title = "chatgpt", "A draft"
	other := conversation("b", "2026-01-01T00:00:00Z").Conversation
	other.Platform, other.Title = "claude", "Final\x1b[2J"
	untold := conversation("c", "2026-01-01T00:00:00Z").Conversation
	for name, test := range map[string]struct {
		filters selection.Filters
		listed  []memoryplugin.Conversation
		flag    string
	}{
		"provider":             {selection.Filters{Provider: "chatgpt"}, []memoryplugin.Conversation{matching, other}, "--provider"},
		"title":                {selection.Filters{Title: "draft"}, []memoryplugin.Conversation{matching, other}, "--title"},
		"one of two":           {selection.Filters{Title: "draft", Provider: "chatgpt", Before: "2020-01-01"}, []memoryplugin.Conversation{other}, "--provider"},
		"import":               {selection.Filters{ImportID: "x"}, []memoryplugin.Conversation{matching}, "--import-id"},
		"no provider was sent": {selection.Filters{Provider: "chatgpt"}, []memoryplugin.Conversation{untold}, "--provider"},
		"no title was sent":    {selection.Filters{Title: "draft"}, []memoryplugin.Conversation{untold}, "--title"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := clientOf(t, func(r *http.Request) *http.Response { return page(test.listed, "1") })

			got, err := parse(t, test.filters).List(t.Context(), client)

			require.ErrorIs(t, err, selection.ErrNotObeyed)
			assert.ErrorContains(t, err, test.flag)
			assert.NotContains(t, err.Error(), "\x1b")
			assert.Nil(t, got)
		})
	}
}

func TestAServerThatIgnoresDatesMakesNoDifference(t *testing.T) {
	t.Parallel()
	all := []memoryplugin.Conversation{
		conversation("old", "2020-01-01T00:00:00Z").Conversation, conversation("new", "2026-01-01T00:00:00Z").Conversation,
	}
	client := clientOf(t, func(r *http.Request) *http.Response { return page(all, "1") })
	for f, want := range map[selection.Filters]string{
		{Before: "2025-01-01"}: "old", {After: "2025-01-01"}: "new", {UpdatedBefore: "2025-01-01"}: "old",
	} {
		got, err := parse(t, f).List(t.Context(), client)

		require.NoError(t, err)
		assert.Equal(t, []string{want}, ids(got.Conversations))
	}
}

func TestTheServerIsAskedForAnImportThatDoesNotExist(t *testing.T) {
	t.Parallel()
	srv := serve(t)
	list(t, srv, selection.Filters{ImportID: "import-1"})
	list(t, srv, selection.Filters{ImportID: "import-1"})

	var asked []string
	for _, r := range srv.Requests() {
		asked = append(asked, r.Query.Get("importId"))
	}
	require.Len(t, asked, 4)
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, asked[0])
	assert.NotEqual(t, asked[0], asked[2])
	assert.Equal(t, "import-1", asked[1])
	assert.Equal(t, "import-1", asked[3])
}

func TestAFailureOfTheServerIsReturned(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]selection.Filters{"of a listing": {All: true}, "of a probe": {ImportID: "x"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t)
			srv.FailNext(memoryplugintest.Fault{Status: http.StatusUnauthorized})

			_, err := parse(t, f).List(t.Context(), srv.Client())

			assert.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
		})
	}
}

func TestWhatTheServerDidNotSendNeverMatchesADate(t *testing.T) {
	t.Parallel()
	undated := conversation("undated", "").Conversation
	client := clientOf(t, func(r *http.Request) *http.Response { return page([]memoryplugin.Conversation{undated}, "1") })
	for _, f := range []selection.Filters{{Before: "1d"}, {After: "1990-01-01"}, {After: "1970-01-01"}, {UpdatedBefore: "1d"}} {
		got, err := parse(t, f).List(t.Context(), client)

		require.NoError(t, err)
		assert.Empty(t, got.Conversations, "%+v", f)
		assert.Empty(t, got.Pinned, "%+v", f)
	}
	got, err := parse(t, selection.Filters{All: true}).List(t.Context(), client)
	require.NoError(t, err)
	assert.Len(t, got.Conversations, 1)
}

func TestPinnedConversationsAreLeftOutUnlessTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	loose, pinned, unknown := conversation("loose", ""), conversation("pinned", ""), conversation("unknown", "")
	pinned.Pinned, unknown.Pinned = &yes, nil
	srv := serve(t, loose, pinned, unknown)

	got := list(t, srv, selection.Filters{All: true})
	assert.Equal(t, []string{"loose"}, ids(got.Conversations))
	assert.Equal(t, []string{"pinned", "unknown"}, ids(got.Pinned))

	got = list(t, srv, selection.Filters{All: true, IncludePinned: true})
	assert.Equal(t, []string{"loose", "pinned", "unknown"}, ids(got.Conversations))
	assert.Empty(t, got.Pinned)
}

func TestAPinnedConversationThatDoesNotMatchIsNotCountedAsLeftOut(t *testing.T) {
	t.Parallel()
	pinned := conversation("pinned", "2026-01-01T00:00:00Z")
	pinned.Pinned = &yes

	assert.Empty(t, list(t, serve(t, pinned), selection.Filters{Before: "2025-01-01"}).Pinned)
}

func TestFiltersAreRefusedThatCanOnlyBeAMistake(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		filters selection.Filters
		says    string
	}{
		"all and another":        {selection.Filters{All: true, Title: "x"}, "--all and other filters"},
		"every provider":         {selection.Filters{Provider: "all"}, "use --all"},
		"every provider, loudly": {selection.Filters{Provider: "ALL"}, "use --all"},
		"before is after":        {selection.Filters{After: "2026-01-02", Before: "2026-01-01"}, "nothing lies between"},
		"nothing between":        {selection.Filters{After: "2026-01-01", Before: "2026-01-01"}, "nothing lies between"},
		"ages the wrong way":     {selection.Filters{After: "90d", Before: "91d"}, "nothing lies between"},
		"ages that are alike":    {selection.Filters{After: "7d", Before: "1w"}, "nothing lies between"},
		"a bad date":             {selection.Filters{Before: "90"}, `--before is "90"`},
		"another bad date":       {selection.Filters{After: "90"}, `--after is "90"`},
		"a third bad date":       {selection.Filters{UpdatedBefore: "90"}, `--updated-before is "90"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := test.filters.Parse(now)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

func TestAllCanBeSelectedWithPinnedOnes(t *testing.T) {
	t.Parallel()
	_, err := selection.Filters{All: true, IncludePinned: true}.Parse(now)
	assert.NoError(t, err)
}

func TestFiltersAreSetByAnyFlagButThatOfPins(t *testing.T) {
	t.Parallel()
	for _, f := range []selection.Filters{
		{All: true}, {Provider: "x"}, {Title: "x"}, {ImportID: "x"}, {Before: "x"}, {After: "x"}, {UpdatedBefore: "x"},
	} {
		assert.True(t, f.IsSet(), "%+v", f)
		f.IncludePinned = true
		assert.True(t, f.IsSet(), "%+v", f)
	}
	assert.False(t, (&selection.Filters{}).IsSet())
	assert.False(t, (&selection.Filters{IncludePinned: true}).IsSet())
}

func TestAQuerySaysWhatItSelects(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]selection.Filters{
		"everything":                             {All: true},
		`provider "claude"`:                      {Provider: "claude"},
		`title with "a\nb"`:                      {Title: "a\nb"},
		`import "i"`:                             {ImportID: "i"},
		"created before 2026-01-31 00:00 UTC":    {Before: "2026-01-31"},
		"created since 2025-12-10 15:04 UTC":     {After: "90d"},
		"not updated since 2025-03-10 15:04 UTC": {UpdatedBefore: "1y"},
		`provider "claude", created since 2026-01-01 00:00 UTC, created before 2026-02-01 00:00 UTC`: {
			Provider: "claude", After: "2026-01-01", Before: "2026-02-01",
		},
	} {
		assert.Equal(t, want, parse(t, f).String())
	}
}

func TestDescribeAddsWhatAListingHas(t *testing.T) {
	t.Parallel()
	a := conversation("a", "2026-01-01T00:00:00Z")
	a.Title = "A"
	srv := serve(t, a)
	s, err := selection.FromArguments([]string{"b", "a"})
	require.NoError(t, err)

	require.NoError(t, s.Describe(t.Context(), srv.Client()))

	assert.Equal(t, []string{"b", "a"}, ids(s.Conversations))
	assert.Equal(t, "A", s.Conversations[1].Title)
	assert.False(t, s.WasListed)

	srv.FailNext(memoryplugintest.Fault{Status: http.StatusUnauthorized})
	assert.ErrorIs(t, s.Describe(t.Context(), srv.Client()), memoryplugin.ErrUnauthorized)
}
