package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/time/rate"

	"github.com/memoryplugin/memoryplugin-go"
)

const examples = `  cleanup --file ids.txt --dry-run
  cleanup --file ids.txt --journal cleanup.jsonl
  cleanup --yes --output json conv-id-1 conv-id-2
  cleanup --demo 1000`

const about = `Deletes MemoryPlugin conversations, for good: nothing brings one back.

The ids come from the arguments, from --file, or from standard input where that
is not a terminal: one per line; blank lines, and lines that begin with #, are
skipped. What follows -- is an id, whatever it looks like.

With --journal a run that was stopped, or even killed, goes on where it was: start
it again with the same ids and the same journal. Without it the summary lists every
id that is left.

The API key is read from --api-key-file, or else from MEMORYPLUGIN_API_KEY. The API is
at --base-url, at MEMORYPLUGIN_BASE_URL, or at ` + memoryplugin.DefaultBaseURL + `.

Ctrl-C lets what is in flight finish, the halves of a batch that was too large
included, and the summary says what is left; a second one stops at once.

Exit codes:
    0  every id is deleted, now or by the journal; or a dry run
    1  some are not, or the journal or the summary could not be written
    2  nothing was sent: bad usage or input, no consent, or a journal that is
       locked, damaged, of another host or can't be opened
    3  the API key was refused (401), whatever else happened
  130  interrupted, with something left, or at the question`

// settings are what the flags say.
type settings struct {
	file, journal, output, baseURL, apiKeyFile   string
	json, yes, dryRun, quiet, verbose, keepGoing bool
	batchSize, concurrency, maxRetries, demo     int
	rate                                         float64
	timeout                                      time.Duration

	apiKey, host string // of the demo
}

func (s *settings) addFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&s.file, "file", "", "read the ids from `PATH`")
	flags.BoolVar(&s.json, "json", false, "read a JSON array of strings or objects with id, or one of these per line")
	flags.StringVar(&s.journal, "journal", "", "record what is sent, and what became of it, in `FILE`")
	flags.BoolVar(&s.yes, "yes", false, "delete without asking")
	flags.BoolVar(&s.dryRun, "dry-run", false, "say what would be deleted, and send nothing")
	flags.BoolVar(&s.keepGoing, "keep-going", false, fmt.Sprintf("go on when %d batches in a row fail", failuresInARow))
	flags.IntVar(&s.batchSize, "batch-size", 100, "send at most `N` ids per request")
	flags.IntVar(&s.concurrency, "concurrency", 4, "have at most `N` requests in flight")
	flags.Float64Var(&s.rate, "rate", 0, "send at most `N` requests per second, retries included (0: no limit)")
	flags.DurationVar(&s.timeout, "timeout", time.Minute, "wait at most `TIME` for the reply to one attempt (0: no limit)")
	flags.IntVar(&s.maxRetries, "max-retries", 4, "send a request that failed at most `N` more times")
	flags.StringVar(&s.baseURL, "base-url", "", "send to the API at `URL`")
	flags.StringVar(&s.apiKeyFile, "api-key-file", "", "read the API key from `PATH`")
	flags.StringVar(&s.output, "output", "text", "print the summary as `FORMAT`: text, or json with every failure")
	flags.BoolVar(&s.quiet, "quiet", false, "show no progress")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "log retries to standard error")
	flags.IntVar(&s.demo, "demo", 0, "delete `N` made-up conversations of a made-up server, to watch it work")
}

// check refuses what the SDK does not see.
func (s *settings) check(flags *pflag.FlagSet, args []string) error {
	var empty error
	flags.Visit(func(flag *pflag.Flag) {
		if flag.Value.String() == "" { // As of a script's variable that is not set.
			empty = fmt.Errorf("--%s is empty", flag.Name)
		}
	})
	switch {
	case empty != nil:
		return empty
	case s.output != "text" && s.output != "json":
		return fmt.Errorf("--output is text or json, not %q", s.output)
	case s.batchSize < 1:
		return errors.New("--batch-size is less than 1")
	case s.concurrency < 1:
		return errors.New("--concurrency is less than 1")
	case !(s.rate >= 0) || math.IsInf(s.rate, 0):
		return errors.New("--rate is not a number from 0 up")
	case !flags.Changed("demo"):
		return nil
	case s.demo < 1:
		return errors.New("--demo is less than 1")
	case s.baseURL != "" || s.file != "" || s.json || len(args) > 0:
		return errors.New("--demo has a server and ids of its own: no --base-url, --file, --json or arguments")
	}
	if !flags.Changed("batch-size") {
		s.batchSize = demoBatchSize
	}
	return nil
}

// newClient also returns the host that its Client sends to.
func newClient(s *settings, log io.Writer) (*memoryplugin.Client, string, error) {
	apiKey, err := s.readAPIKey()
	if err != nil {
		return nil, "", err
	}
	baseURL := cmp.Or(s.baseURL, os.Getenv("MEMORYPLUGIN_BASE_URL"), memoryplugin.DefaultBaseURL)
	options := []memoryplugin.Option{
		memoryplugin.WithBaseURL(baseURL),
		memoryplugin.WithUserAgent("memoryplugin-cleanup"),
		memoryplugin.WithMaxRetries(s.maxRetries),
		memoryplugin.WithMaxRetryAfter(maxRetryAfter),
		memoryplugin.WithAttemptTimeout(s.timeout),
	}
	if s.rate > 0 {
		options = append(options, memoryplugin.WithLimiter(rate.NewLimiter(rate.Limit(s.rate), 1)))
	}
	if s.verbose {
		options = append(options, memoryplugin.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	}
	client, err := memoryplugin.NewClient(apiKey, options...)
	if err != nil {
		return nil, "", settingError(err)
	}
	parsed, err := url.Parse(baseURL)
	if err != nil {
		return nil, "", err
	}
	return client, cmp.Or(s.host, strings.ToLower(parsed.Host)), nil
}

// settingError is an error of the SDK without what only its callers know.
func settingError(err error) error {
	text := strings.TrimPrefix(err.Error(), "memoryplugin: new client: invalid argument: ")
	return errors.New(strings.TrimSuffix(text, ", or WithInsecureHTTP"))
}

func (s *settings) readAPIKey() (string, error) {
	switch {
	case s.apiKey != "":
		return s.apiKey, nil
	case s.apiKeyFile == "":
		key := os.Getenv("MEMORYPLUGIN_API_KEY")
		if key == "" {
			return "", errors.New("no API key: set MEMORYPLUGIN_API_KEY, or name a file that has it with --api-key-file")
		}
		return key, nil
	}
	content, err := os.ReadFile(s.apiKeyFile)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // Without the path, which may be the key by mistake.
	}
	if err != nil {
		return "", fmt.Errorf("--api-key-file can't be read: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), nil
}
