package backend

import (
	"net"
	"net/http"
	"time"
)

// Fault answers a deletion, or doesn't. It calls apply if it deletes.
type Fault func(w http.ResponseWriter, r *http.Request, apply func() []string)

// Applied deletes, then fails.
func Applied(fault Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, apply func() []string) {
		apply()
		fault(w, r, apply)
	}
}

// Slow takes a time, and is no fault otherwise: so that others meet requests on the wire.
func Slow(d time.Duration) Fault {
	return func(w http.ResponseWriter, _ *http.Request, apply func() []string) {
		<-time.After(d)
		confirm(w, apply())
	}
}

// Status replies with a status, and with headers as name, value, name, value.
func Status(status int, header ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func() []string) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		reply(w, status, map[string]string{"error": http.StatusText(status)})
	}
}

// Drop closes the connection without a reply.
func Drop(http.ResponseWriter, *http.Request, func() []string) { panic(http.ErrAbortHandler) }

// Reset ends the connection with a TCP reset.
func Reset(w http.ResponseWriter, _ *http.Request, _ func() []string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// Stall gives no reply until the client gives up.
func Stall(_ http.ResponseWriter, r *http.Request, _ func() []string) { <-r.Context().Done() }

// Late deletes once the client has given up.
func Late(_ http.ResponseWriter, r *http.Request, apply func() []string) {
	<-r.Context().Done()
	apply()
}

// Cut deletes, and closes the connection in the middle of the reply.
func Cut(w http.ResponseWriter, _ *http.Request, apply func() []string) {
	apply()
	w.Header().Set("Content-Length", "1000000")
	_, _ = w.Write([]byte(`{"deleted":[`))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// Mute deletes, and confirms nothing.
func Mute(w http.ResponseWriter, _ *http.Request, apply func() []string) {
	apply()
	reply(w, http.StatusOK, map[string]bool{"ok": true})
}

// Miscount deletes, and confirms one deletion too many.
func Miscount(w http.ResponseWriter, _ *http.Request, apply func() []string) {
	deleted := apply()
	reply(w, http.StatusOK, map[string]any{"deleted": deleted, "count": len(deleted) + 1})
}
