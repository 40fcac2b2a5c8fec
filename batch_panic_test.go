package memoryplugin_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go"
)

// faultyRun is a run in which the caller's own code fails: in OnBatch, the
// RoundTripper, the limiter or the log handler. By then at least two requests
// are on the wire. When they are cancelled they take an hour to end.
type faultyRun struct {
	where string
	fault func()

	failed  atomic.Bool
	running atomic.Int32 // requests
	sent    atomic.Int32
}

// at fails if it is called from where the run shall fail.
func (f *faultyRun) at(here string) {
	if here == f.where && f.failed.CompareAndSwap(false, true) {
		synctest.Wait() // Everything else is on the wire.
		f.fault()
	}
}

func (f *faultyRun) RoundTrip(r *http.Request) (*http.Response, error) {
	f.running.Add(1)
	defer f.running.Add(-1)
	first := f.sent.Add(1) == 1
	f.at("RoundTripper")
	if first {
		return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody}, nil
	}
	<-r.Context().Done()
	<-time.After(time.Hour)
	return nil, context.Cause(r.Context())
}

func (f *faultyRun) Wait(context.Context) error {
	f.at("limiter")
	return nil
}

// faultyLog is a log handler that fails.
type faultyLog struct {
	slog.Handler
	run *faultyRun
}

func (l faultyLog) Handle(context.Context, slog.Record) error {
	l.run.at("log handler")
	return nil
}

// howItEnded says how a function has ended.
type howItEnded struct {
	returned bool
	panicked any
	running  int32 // requests, by then
}

func (f *faultyRun) run(t *testing.T) howItEnded {
	t.Helper()
	client := newClient(t, "http://localhost", through(f), memoryplugin.WithLimiter(f),
		memoryplugin.WithLogger(slog.New(faultyLog{slog.NewTextHandler(io.Discard, nil), f})))
	opts := memoryplugin.BatchOptions{Size: 1, Concurrency: 3, Stop: make(chan struct{})}
	opts.OnBatch = func(*memoryplugin.DeleteConversationsResult, error) { f.at("OnBatch") }
	ended := make(chan howItEnded)
	go func() {
		var how howItEnded
		defer func() {
			how.panicked, how.running = recover(), f.running.Load()
			ended <- how
		}()
		_, _ = client.DeleteConversationsInBatches(t.Context(), numberedIDs(50), opts)
		how.returned = true
	}()
	return <-ended
}

var callersCode = []string{"OnBatch", "RoundTripper", "limiter", "log handler"}

func TestAPanicInCallersCodeReachesTheCallerOfARun(t *testing.T) {
	for _, where := range callersCode {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := errors.New("broken")
				faulty := &faultyRun{where: where, fault: func() { panic(broken) }}
				start := time.Now()

				how := faulty.run(t)

				assert.Same(t, broken, how.panicked)
				assert.Zero(t, how.running, "requests are left")
				assert.Equal(t, time.Hour, time.Since(start), "what is on the wire is cancelled at once, and awaited")
				sent := faulty.sent.Load()
				<-time.After(24 * time.Hour)
				assert.Equal(t, sent, faulty.sent.Load(), "sent after the panic")
			})
		})
	}
}

// As a failed require does, in a fake transport for one.
func TestGoexitInCallersCodeEndsTheCallerOfARun(t *testing.T) {
	for _, where := range callersCode {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faulty := &faultyRun{where: where, fault: runtime.Goexit}
				start := time.Now()

				how := faulty.run(t)

				assert.False(t, how.returned)
				assert.Nil(t, how.panicked)
				assert.Zero(t, how.running, "requests are left")
				assert.Equal(t, time.Hour, time.Since(start), "what is on the wire is cancelled at once, and awaited")
				sent := faulty.sent.Load()
				<-time.After(24 * time.Hour)
				assert.Equal(t, sent, faulty.sent.Load(), "sent after the end")
			})
		})
	}
}

func TestAPanicOnEveryGoroutineOfARunReachesTheCallerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, "http://localhost", through(transport(func(*http.Request) (*http.Response, error) {
			<-time.After(time.Second) // All at once.
			panic("broken")
		})))

		assert.PanicsWithValue(t, "broken", func() {
			_, _ = client.DeleteConversationsInBatches(t.Context(), numberedIDs(1000), memoryplugin.BatchOptions{Size: 1})
		})
	})
}

// What the unsent ids are reported with is a call of OnBatch like any other.
func TestAPanicInTheLastCallOfOnBatchReachesTheCaller(t *testing.T) {
	srv := serveBatches(t, confirmDeleted)
	stop := make(chan struct{})
	close(stop)
	opts := memoryplugin.BatchOptions{Stop: stop}
	opts.OnBatch = func(*memoryplugin.DeleteConversationsResult, error) { panic("broken") }

	assert.PanicsWithValue(t, "broken", func() {
		_, _ = newClient(t, srv.URL).DeleteConversationsInBatches(t.Context(), numberedIDs(3), opts)
	})
}

// A bubble panics if one of its goroutines is blocked for ever.
func TestNothingIsLeftRunningWhenARunReturns(t *testing.T) {
	for name, test := range map[string]struct {
		step       batchStep
		stop, done time.Duration // after which Stop is closed, or the context cancelled
	}{
		"when all is deleted":        {step: takes(time.Second, confirmDeleted)},
		"after a stop":               {step: takes(2*time.Second, confirmDeleted), stop: time.Second},
		"when the context is done":   {step: takes(2*time.Second, confirmDeleted), done: time.Second},
		"after a 401":                {step: takes(time.Second, always(reply(401, ``)))},
		"after a Retry-After":        {step: takes(time.Second, always(reply(429, ``, "Retry-After", "3600")))},
		"after five failures in row": {step: takes(time.Second, always(reply(404, ``)))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &batchServer{step: test.step}
				var running atomic.Int32
				counted := transport(func(r *http.Request) (*http.Response, error) {
					running.Add(1)
					defer running.Add(-1)
					return srv.RoundTrip(r)
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stop := make(chan struct{})
				if test.stop > 0 {
					time.AfterFunc(test.stop, func() { close(stop) })
				}
				if test.done > 0 {
					time.AfterFunc(test.done, cancel)
				}

				result, err := newClient(t, "http://localhost", through(counted)).DeleteConversationsInBatches(ctx, numberedIDs(40),
					memoryplugin.BatchOptions{Size: 2, Stop: stop})

				assert.Zero(t, running.Load())
				assertAccounted(t, result, err, 40)
				sent := len(srv.received())
				<-time.After(24 * time.Hour)
				assert.Len(t, srv.received(), sent)
			})
		})
	}
}

func TestAPanicCancelsWhatIsOnTheWireWhileOnBatchTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var cancelled time.Duration
		tr := transport(func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			switch string(body) {
			case `{"ids":["a"]}`:
				return &http.Response{StatusCode: 403, Body: http.NoBody}, nil
			case `{"ids":["b"]}`:
				<-time.After(time.Second)
				panic("b")
			}
			<-r.Context().Done()
			cancelled = time.Since(start)
			return nil, r.Context().Err()
		})
		busy := func(*memoryplugin.DeleteConversationsResult, error) { <-time.After(time.Minute) }

		assert.PanicsWithValue(t, "b", func() {
			_, _ = newClient(t, "http://localhost", through(tr)).DeleteConversationsInBatches(t.Context(), []string{"a", "b", "c"},
				memoryplugin.BatchOptions{Size: 1, OnBatch: busy})
		})

		assert.Equal(t, time.Second, cancelled)
	})
}
