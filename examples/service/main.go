// Service takes requests to erase conversations, and works until it knows what became of each.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/memoryplugin/memoryplugin-go"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/trace"
)

type settings struct {
	addr, token, baseURL, databaseURL, sqlite string
	jobTimeout, keyWait                       time.Duration
	vault                                     func(ctx context.Context, account string) (key string, err error)
	listening                                 func(url string)
	log                                       *slog.Logger
}

func main() {
	log.SetOutput(io.Discard) // net/http logs what a server sends unasked, which may echo a key.
	s := settings{
		token:       os.Getenv("SERVICE_TOKEN"),
		databaseURL: os.Getenv("DATABASE_URL"),
		baseURL:     cmp.Or(os.Getenv("MEMORYPLUGIN_BASE_URL"), memoryplugin.DefaultBaseURL),
		log:         slog.New(slog.NewTextHandler(os.Stderr, nil)),
		keyWait:     time.Minute,
	}
	flag.StringVar(&s.addr, "addr", "127.0.0.1:8080", "`address` to listen on; loopback only, unless SERVICE_TOKEN is set")
	flag.StringVar(&s.sqlite, "sqlite", "erasures.db", "`file` of the SQLite database, unless DATABASE_URL names a PostgreSQL")
	keys := flag.String("keys", "keys.json", "`file` with the API key of each account, as a JSON object")
	flag.DurationVar(&s.jobTimeout, "job-timeout", 5*time.Minute, "how long a job may run; after half of it, it sends no more, and what is on the wire may take 1m")
	demonstrate := flag.Bool("demo", false, "show one erasure against a server in memory")
	flag.Parse()
	if flag.NArg() > 0 || s.jobTimeout < time.Second {
		fmt.Fprintln(os.Stderr, "service: it takes flags alone, and a -job-timeout of 1s or more; -help lists them")
		os.Exit(2)
	}
	s.vault = keysIn(*keys)
	s.listening = func(url string) { s.log.Info("listening", "url", url) }
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, restore) // A second signal ends the program at once.
	start := serve
	if *demonstrate {
		start = demo
	}
	if err := start(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

// serve runs the service until ctx ends, and then for as long as something is on the wire.
func serve(ctx context.Context, s settings) error {
	if s.token == "" && !isLoopback(s.addr) {
		return fmt.Errorf("without SERVICE_TOKEN anyone could delete: set it, or listen on 127.0.0.1 instead of %q", s.addr)
	}
	db, err := openDatabase(ctx, s.databaseURL, s.sqlite)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.migrate(ctx); err != nil {
		return err
	}
	tracing, err := newTracing(ctx, s.log)
	if err != nil {
		return err
	}
	defer func() { _ = tracing.Shutdown(context.WithoutCancel(ctx)) }() // It sends the last spans.
	stop, stopRuns := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRuns()
	queue, err := newQueue(s, db, tracing, stop)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: (&api{settings: s, store: store{db}, queue: queue}).handler(), ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelError)}
	// Not ctx: River would cancel what is on the wire when it ends.
	if err := queue.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(err, listener.Close())
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	s.listening("http://" + listener.Addr().String())
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stopRuns() // The SDK's Stop comes first: then River's waits only for what is on the wire.
	s.log.Info("shutting down")
	// A request of the SDK takes 60 s at most.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 70*time.Second)
	defer cancel()
	return errors.Join(err, queue.Stop(ctx), server.Shutdown(ctx))
}

func isLoopback(address string) bool {
	host := (&url.URL{Host: address}).Hostname() // It may have no port.
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// newQueue returns River's client, with a worker that uses the SDK.
func newQueue(s settings, db *database, tracing *trace.TracerProvider, stop context.Context) (*river.Client[*sql.Tx], error) {
	client, err := memoryplugin.NewClient("each-account-has-its-own",
		memoryplugin.WithBaseURL(s.baseURL), memoryplugin.WithUserAgent("erasure-service/1.0"),
		memoryplugin.WithHTTPClient(&http.Client{Transport: otelhttp.NewTransport(memoryplugin.NewTransport(), otelhttp.WithTracerProvider(tracing))}),
		memoryplugin.WithMaxRetryAfter(0), // The queue waits, not the worker.
		memoryplugin.WithLogger(s.log))
	if err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{settings: s, store: store{db}, client: client, stop: stop})
	return river.NewClient(db.queue, &river.Config{
		Logger: s.log, Workers: workers, JobTimeout: s.jobTimeout, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 8}},
		MaxAttempts: 30_000, // At ten minutes each (see backoff), more than half a year.
		// Jobs of a process that died. One without a timeout is never rescued.
		RescueStuckJobsAfter: s.jobTimeout + s.jobTimeout/5,
	})
}

// newTracing exports nothing unless OTEL_TRACES_EXPORTER names an exporter.
func newTracing(ctx context.Context, log *slog.Logger) (*trace.TracerProvider, error) {
	_ = os.Setenv("OTEL_TRACES_EXPORTER", cmp.Or(os.Getenv("OTEL_TRACES_EXPORTER"), "none"))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Error("traces are not exported", "error", err) }))
	exporter, err := autoexport.NewSpanExporter(ctx)
	return trace.NewTracerProvider(trace.WithBatcher(wordless{exporter})), err
}

// wordless exports no words of an error: net/http quotes what a server sends, which may echo a key.
type wordless struct{ trace.SpanExporter }

func (w wordless) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	spans = slices.Clone(spans)
	for i := range spans {
		spans[i] = silentSpan{spans[i]}
	}
	return w.SpanExporter.ExportSpans(ctx, spans)
}

type silentSpan struct{ trace.ReadOnlySpan }

func (s silentSpan) Status() trace.Status { return trace.Status{Code: s.ReadOnlySpan.Status().Code} }

// keysIn stands for your own vault. It reads the file each time, since keys are rotated.
func keysIn(file string) func(context.Context, string) (string, error) {
	return func(_ context.Context, account string) (string, error) {
		var keys map[string]string
		content, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(content, &keys) != nil || keys[account] == "" { // An error might quote a key.
			return "", errors.New("the keys file has none, can't be read, or is not a JSON object of strings")
		}
		return keys[account], nil
	}
}
