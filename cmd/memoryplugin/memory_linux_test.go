//go:build !race

// The race detector takes several times the memory.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// crowded is an account with n conversations, without room for them.
func crowded(t *testing.T, n int) *httptest.Server {
	t.Helper()
	const size = 100
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		var items strings.Builder
		for i := (page - 1) * size; i < min(page*size, n); i++ {
			fmt.Fprintf(&items, `,{"id":"3f2504e0-4f89-41d3-9a0c-%012d","title":"A title of some words, the %d-th","platform":"chatgpt","messageCount":12,`+
				`"tokenCount":3456,"createdAt":"%d-05-06T07:08:09.123Z","updatedAt":"2025-05-06T07:08:09.123Z","pinned":false}`, i, i, 2020+i%10)
		}
		fmt.Fprintf(w, `{"items":[%s],"page":%d,"pageSize":%d,"total":%d,"totalPages":%d}`,
			strings.TrimPrefix(items.String(), ","), page, size, n, (n+size-1)/size)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestSelectingAmongAHundredThousandTakesLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it lists a hundred thousand conversations")
	}
	t.Parallel()
	srv := crowded(t, 100_000)
	for _, args := range [][]string{
		{"delete", "--before", "2025-01-01", "--dry-run"},
		{"list"},
		{"list", "--output", "ids"},
		{"list", "--output", "json"},
	} {
		p := command(t, srv.URL, args...)
		p.Stdout = io.Discard

		got := p.run()

		require.Equal(t, 0, got.code, got.stderr)
		most := p.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
		t.Logf("%v: %d MB", args, most)
		assert.Less(t, most, int64(300))
	}
}
