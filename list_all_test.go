package memoryplugin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
)

// listPage is a page as a server sends it, without a PageSize if that is nil.
type listPage struct {
	Items    []listItem `json:"items"`
	PageSize *int       `json:"pageSize,omitempty"`
	Total    int        `json:"total"`
}

type listItem struct {
	ID string `json:"id"`
}

// servePages starts a server whose list is read page by page. Its answer is given
// the number of the request, from 1, and the page and the page size that it asks
// for. After a thousand requests it ends what would never end.
func servePages(t testing.TB, answer func(request, number, size int) listPage) *script {
	t.Helper()
	var mu sync.Mutex
	requests := 0
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.Atoi(r.URL.Query().Get("page"))
		size, _ := strconv.Atoi(r.URL.Query().Get("pageSize"))
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests > 1000 {
			reply(400, `{"error":"this goes on for ever"}`)(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(answer(requests, number, size))
	})
}

// cut is a page of ids, as the API documents it.
func cut(ids []string, number, size int) listPage {
	page := listPage{Items: []listItem{}, PageSize: &size, Total: len(ids)}
	for i := (number - 1) * size; i < min(number*size, len(ids)); i++ {
		page.Items = append(page.Items, listItem{ids[i]})
	}
	return page
}

// allIn lists all conversations of a server, and returns their ids.
func allIn(t *testing.T, srv *script) ([]string, error) {
	t.Helper()
	all, err := newClient(t, srv.URL).AllConversations(t.Context(), memoryplugin.ConversationFilter{})
	if err != nil {
		assert.Nil(t, all, "never a part")
		return nil, err
	}
	ids := make([]string, len(all))
	for i, conversation := range all {
		ids[i] = conversation.ID
	}
	return ids, nil
}

func TestAllConversationsAsksForTheLargestPagesOfWhatTheFilterSelects(t *testing.T) {
	srv := servePages(t, func(_, number, size int) listPage { return cut(numberedIDs(150), number, size) })
	filter := memoryplugin.ConversationFilter{
		Provider: "claude", Title: "a b", DateFrom: "2025-01-01", DateTo: "2025-12-31", PinnedOnly: true, ImportID: "i",
	}

	_, err := newClient(t, srv.URL).AllConversations(t.Context(), filter)

	require.NoError(t, err)
	require.Len(t, srv.received(), 2)
	for i, request := range srv.received() {
		assert.Equal(t, fmt.Sprintf("dateFrom=2025-01-01&dateTo=2025-12-31&importId=i&page=%d&pageSize=100&pinnedOnly=true&provider=claude&title=a+b", i+1),
			request.URL.RawQuery)
	}
}

func TestAllConversationsReturnsEveryPageInOrder(t *testing.T) {
	for _, n := range []int{0, 1, 99, 100, 101, 200, 250} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			srv := servePages(t, func(_, number, size int) listPage { return cut(numberedIDs(n), number, size) })

			ids, err := allIn(t, srv)

			require.NoError(t, err)
			assert.Equal(t, numberedIDs(n), ids)
			assert.Len(t, srv.received(), n/100+1)
		})
	}
}

func TestAllConversationsReturnsEverythingOfAConversation(t *testing.T) {
	srv := serve(t, reply(200, pageOf(`{"id":"a","title":"t","platform":"p","messageCount":1,"pinned":true}`, `{"id":"b"}`)))

	all, err := newClient(t, srv.URL).AllConversations(t.Context(), memoryplugin.ConversationFilter{})

	require.NoError(t, err)
	assert.Equal(t, []memoryplugin.Conversation{
		{ID: "a", Title: "t", Platform: "p", MessageCount: pointerTo(1), Pinned: pointerTo(true)}, {ID: "b"},
	}, all)
}

// change is what becomes of a list before a request is answered.
type change struct {
	request  int
	position int
	added    bool // otherwise it is deleted
}

func (c change) apply(ids []string) []string {
	if c.added {
		return slices.Insert(slices.Clone(ids), c.position, fmt.Sprintf("new-%d-%d-%d", c.request, c.position, len(ids)))
	}
	return slices.Delete(slices.Clone(ids), c.position, c.position+1)
}

// assertEveryMatch lists a server on which the changes are made meanwhile.
// Whatever was there all the time must be listed, and nothing that never was.
func assertEveryMatch(t *testing.T, changes ...change) {
	t.Helper()
	const pageSize = 3
	ids := numberedIDs(8)
	throughout, ever := ids, slices.Clone(ids)
	last := 0
	srv := servePages(t, func(request, number, _ int) listPage {
		for _, change := range changes {
			if change.request == request {
				ids = change.apply(ids)
				throughout = slices.DeleteFunc(slices.Clone(throughout), func(id string) bool { return !slices.Contains(ids, id) })
				ever = append(ever, ids...)
			}
		}
		last = request
		return cut(ids, number, pageSize)
	})

	listed, err := allIn(t, srv)

	require.NoError(t, err, "%v", changes)
	assert.Subset(t, listed, throughout, "%v", changes)
	assert.Subset(t, ever, listed, "%v", changes)
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(listed))), len(listed), "one is listed twice: %v", changes)
	assert.LessOrEqual(t, last, 3*5)
}

func TestAConversationThatIsDeletedMeanwhileHidesNoOther(t *testing.T) {
	for request := 1; request <= 7; request++ {
		for position := range 8 {
			assertEveryMatch(t, change{request, position, false})
		}
	}
}

func TestAConversationThatIsAddedMeanwhileHidesNoOther(t *testing.T) {
	for request := 1; request <= 7; request++ {
		for position := range 9 {
			assertEveryMatch(t, change{request, position, true})
		}
	}
}

func TestTwoThatAreDeletedMeanwhileHideNoOther(t *testing.T) {
	for first := 1; first <= 4; first++ {
		for second := first; second <= 5; second++ {
			for position := range 7 {
				assertEveryMatch(t, change{first, 0, false}, change{second, position, false})
				assertEveryMatch(t, change{first, 7, false}, change{second, position, false})
			}
		}
	}
}

func TestTwoThatAreAddedMeanwhileHideNoOther(t *testing.T) {
	for first := 1; first <= 4; first++ {
		for second := first; second <= 5; second++ {
			for position := range 9 {
				assertEveryMatch(t, change{first, 0, true}, change{second, position, true})
			}
		}
	}
}

// The first page shows that one is gone only in its total.
func TestAListThatChangedIsReadAgainFromTheStart(t *testing.T) {
	ids := numberedIDs(250)
	srv := servePages(t, func(request, number, size int) listPage {
		if request == 2 || request == 4 {
			ids = ids[1:]
		}
		return cut(ids, number, size)
	})

	listed, err := allIn(t, srv)

	require.NoError(t, err)
	assert.Equal(t, numberedIDs(250)[2:], listed)
	var pages []string
	for _, request := range srv.received() {
		pages = append(pages, request.URL.Query().Get("page"))
	}
	assert.Equal(t, []string{"1", "2", "1", "2", "1", "2", "3"}, pages)
}

func TestAListThatNeverRestsIsAnErrorThatSaysHowMuchWasSeen(t *testing.T) {
	ids := numberedIDs(250)
	srv := servePages(t, func(_, number, size int) listPage {
		ids = ids[1:]
		return cut(ids, number, size)
	})

	_, err := allIn(t, srv)

	require.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.EqualError(t, err, "memoryplugin: list conversations: unexpected response: read 3 times, the list has 100 of 244 conversations")
	assert.Len(t, srv.received(), 6)
}

// strangeServers have 250 conversations, and an odd way to list them.
var strangeServers = map[string]struct {
	answer   func(request, number, size int) listPage
	right    bool // every conversation is listed in spite of it
	requests int  // at most
}{
	"ignores the page size, and says so": {
		answer: func(_, number, _ int) listPage { return cut(numberedIDs(250), number, 20) }, right: true, requests: 13,
	},
	"ignores the page size, and claims it": {
		answer: func(_, number, size int) listPage { return sized(cut(numberedIDs(250), number, 20), &size) }, right: true, requests: 13,
	},
	"names no page size": {
		answer: func(_, number, size int) listPage { return sized(cut(numberedIDs(250), number, size), nil) }, right: true, requests: 4,
	},
	"sends all on each page": {
		answer: func(_, number, size int) listPage { return sized(cut(numberedIDs(250), 1, 250), &size) }, right: true, requests: 2,
	},
	"ignores the page": {
		answer: func(_, _, size int) listPage { return cut(numberedIDs(250), 1, size) }, requests: 6,
	},
	"counts pages from 0": {
		answer: func(_, number, size int) listPage { return cut(numberedIDs(250), number+1, size) }, requests: 9,
	},
	"repeats a page": {
		answer: func(_, number, size int) listPage { return cut(numberedIDs(250), max(1, number-1), size) }, requests: 12,
	},
	"repeats the last page for ever": {
		answer: func(_, number, size int) listPage { return totalling(cut(numberedIDs(250), min(number, 3), size), 251) }, requests: 12,
	},
	"lists ids twice, and counts them once": {
		answer: func(_, number, size int) listPage {
			return totalling(cut(slices.Concat(numberedIDs(200), numberedIDs(250)), number, size), 250)
		}, requests: 15,
	},
	"lists an id twice on a page, and counts it twice": {
		answer: func(_, number, size int) listPage {
			return cut(slices.Concat(numberedIDs(1), numberedIDs(250)), number, size)
		}, requests: 12,
	},
	"lists an id twice on the last page, and counts it once": {
		answer: func(_, number, size int) listPage {
			return totalling(cut(append(numberedIDs(250), "conv-00249"), number, size), 250)
		}, right: true, requests: 3,
	},
	"grows its total": {
		answer: func(request, number, size int) listPage {
			return totalling(cut(numberedIDs(250), number, size), 250+request)
		}, requests: 6,
	},
	"grows its total and its list for ever": {
		answer: func(_, number, size int) listPage { return cut(numberedIDs(number*size+1), number, size) }, requests: 6,
	},
	"shrinks its total": {
		answer: func(_, number, size int) listPage { return totalling(cut(numberedIDs(250), number, size), 250-number) }, requests: 6,
	},
	"sends an empty page before the last": {
		answer: func(_, number, size int) listPage { return totalling(cut(numberedIDs(100), number, size), 250) }, requests: 9,
	},
	"sends an empty page first": {
		answer: func(_, number, size int) listPage { return cut(numberedIDs(250), number+9, size) }, requests: 3,
	},
	"leaves one out of a page": {
		answer: func(_, number, size int) listPage {
			page := cut(numberedIDs(250), number, size)
			page.Items = page.Items[min(1, len(page.Items)):]
			return page
		}, requests: 12,
	},
	"claims a total of 0":                      {answer: claiming(0), requests: 9},
	"claims a total that is too low":           {answer: claiming(249), requests: 12},
	"claims a total that is lower than a page": {answer: claiming(60), requests: 12},
	"claims a total that is too high":          {answer: claiming(251), requests: 12},
	"claims the largest total":                 {answer: claiming(1<<31 - 1), requests: 12},
	"caps its total at a page":                 {answer: claiming(100), requests: 12},
	"caps its total at two pages":              {answer: claiming(200), requests: 12},
	"claims the number of a page's items as total": {
		answer: func(_, number, size int) listPage {
			page := cut(numberedIDs(250), number, size)
			return totalling(page, len(page.Items))
		}, requests: 12,
	},
	"invents ids for ever": {
		answer: func(request, _, size int) listPage {
			return totalling(cut(numberedIDs((request+1)*size), request, size), 250)
		}, requests: 12,
	},
	"gives other ids each time": {
		answer: func(request, number, size int) listPage {
			page := cut(numberedIDs(250), number, size)
			for i := range page.Items {
				page.Items[i].ID += fmt.Sprint("-", request)
			}
			return totalling(page, 1)
		}, requests: 12,
	},
}

func claiming(total int) func(request, number, size int) listPage {
	return func(_, number, size int) listPage { return totalling(cut(numberedIDs(250), number, size), total) }
}

func totalling(page listPage, total int) listPage {
	page.Total = total
	return page
}

func sized(page listPage, size *int) listPage {
	page.PageSize = size
	return page
}

func TestAStrangeServerIsListedWholeOrNotAtAll(t *testing.T) {
	for name, server := range strangeServers {
		t.Run(name, func(t *testing.T) {
			srv := servePages(t, server.answer)

			ids, err := allIn(t, srv)

			assert.LessOrEqual(t, len(srv.received()), server.requests)
			if server.right {
				require.NoError(t, err)
				assert.Equal(t, numberedIDs(250), ids)
				return
			}
			assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, "read 3 times")
		})
	}
}

func TestAFailureThatMayPassDoesNotEndAList(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{"503": reply(503, ``), "a lost reply": drop, "429": reply(429, ``)} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t,
				reply(200, `{"items":[{"id":"a"}],"pageSize":1,"total":2}`),
				fault,
				reply(200, `{"items":[{"id":"b"}],"pageSize":1,"total":2}`),
				fault,
				reply(200, `{"items":[],"pageSize":1,"total":2}`),
			)

			ids, err := allIn(t, srv)

			require.NoError(t, err)
			assert.Equal(t, []string{"a", "b"}, ids)
		})
	}
}

func TestAListThatIsRefusedHalfWayIsAnError(t *testing.T) {
	srv := serve(t, reply(200, `{"items":[{"id":"a"}],"pageSize":1,"total":2}`), reply(401, `{"error":"revoked"}`))

	_, err := allIn(t, srv)

	require.ErrorIs(t, err, memoryplugin.ErrUnauthorized)
	assert.EqualError(t, err, `memoryplugin: list conversations: 401 Unauthorized: "revoked" (1 attempt)`)
	assert.Len(t, srv.received(), 2, "it is not read again")
}

func TestAListWhosePagesGoOnBeyondTheLastEnds(t *testing.T) {
	requests := 0
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		fmt.Fprintf(w, `{"items":[{"id":"conv-%d"}],"total":9000000000000000000,"totalPages":1}`, requests)
	})

	all, err := newClient(t, srv.URL).AllConversations(t.Context(), memoryplugin.ConversationFilter{})

	assert.Nil(t, all)
	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.Less(t, requests, 10)
}

func TestAPageSizeThatIsMoreThanWasAskedForDoesNotHideTheRest(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		items := []string{}
		number, _ := strconv.Atoi(r.URL.Query().Get("page"))
		for i := range 100 {
			items = append(items, fmt.Sprintf(`{"id":"conv-%d-%d"}`, number, i))
		}
		fmt.Fprintf(w, `{"items":[%s],"total":100,"pageSize":1000}`, strings.Join(items, ","))
	})

	_, err := newClient(t, srv.URL).AllConversations(t.Context(), memoryplugin.ConversationFilter{})

	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
}

// So does a server that lists no more than the first hundred, and counts no more.
// If its refusal were the end of the list, the rest would be missed.
func TestARefusedPageAfterAFullOneIsAnError(t *testing.T) {
	for _, status := range []int{400, 404} {
		full := `{"id":"conv-0"}`
		for i := range 99 {
			full += fmt.Sprintf(`,{"id":"conv-%d"}`, i+1)
		}
		srv := serve(t, reply(200, `{"items":[`+full+`],"total":100,"pageSize":100,"totalPages":1}`), reply(status, `{"error":"no such page"}`))

		all, err := newClient(t, srv.URL).AllConversations(t.Context(), memoryplugin.ConversationFilter{})

		assert.Nil(t, all)
		hasReply(t, status, err)
	}
}

func TestARefusedPageBeforeTheLastIsAnError(t *testing.T) {
	srv := serve(t, reply(200, `{"items":[{"id":"a"}],"total":2,"pageSize":1}`), reply(404, `{"error":"no such page"}`))

	all, err := newClient(t, srv.URL).AllConversations(t.Context(), memoryplugin.ConversationFilter{})

	assert.Nil(t, all)
	assert.ErrorIs(t, err, memoryplugin.ErrNotFound)
}

// It sends 20 a page, claims 100, and claims them to be all.
func TestMorePagesThanTheTotalNeedsAreNotLeftOut(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		items := []string{}
		for i := range 20 {
			items = append(items, fmt.Sprintf(`{"id":"conv-%s-%d"}`, r.URL.Query().Get("page"), i))
		}
		fmt.Fprintf(w, `{"items":[%s],"total":20,"pageSize":100,"totalPages":13}`, strings.Join(items, ","))
	})

	_, err := newClient(t, srv.URL).AllConversations(t.Context(), memoryplugin.ConversationFilter{})

	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
}

func TestAListWithoutEndEnds(t *testing.T) {
	requests := 0
	endless := transport(func(r *http.Request) (*http.Response, error) {
		requests++
		page := fmt.Sprintf(`{"items":[{"id":"conv-%d"}],"total":2000000000}`, requests)
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(page)), Request: r}, nil
	})

	all, err := newClient(t, "http://localhost", through(endless)).AllConversations(t.Context(), memoryplugin.ConversationFilter{})

	assert.Nil(t, all)
	assert.ErrorIs(t, err, memoryplugin.ErrUnexpectedResponse)
	assert.Equal(t, 3*10_000, requests)
}
