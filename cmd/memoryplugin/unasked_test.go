package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

// net/http logs what follows a reply, as it is.
func TestWhatAServerSendsUnaskedIsNotPrinted(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) > 1 {
			fmt.Fprint(w, `{"count": 3}`)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if assert.NoError(t, err) {
			_, _ = conn.Write([]byte("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}" + memoryplugintest.APIKey))
			t.Cleanup(func() { _ = conn.Close() })
		}
	}))
	t.Cleanup(srv.Close)

	got := command(t, srv.URL, "count").run()

	assert.Equal(t, outcome{0, "3\n", ""}, got)
}
