package terminal

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Log is where the SDK logs to: it shows waits, and passes on every record to
// another handler, if there is one.
type Log struct {
	Progress *Progress
	Next     slog.Handler // nil if nothing else is logged
}

// Enabled implements [slog.Handler].
func (l *Log) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements [slog.Handler].
func (l *Log) Handle(ctx context.Context, r slog.Record) error {
	why := "the server asked for it"
	wait := time.Duration(0)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "wait":
			wait = a.Value.Duration()
		case "status":
			status := int(a.Value.Int64())
			why = fmt.Sprintf("%d %s", status, http.StatusText(status))
		case "error":
			why = a.Value.String()
		}
		return true
	})
	if wait > 0 {
		l.Progress.Wait(r.Time.Add(wait), why)
	}
	if l.Next == nil {
		return nil
	}
	return l.Next.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler]. The SDK does not call it.
func (l *Log) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements [slog.Handler]. The SDK does not call it.
func (l *Log) WithGroup(string) slog.Handler { return l }
