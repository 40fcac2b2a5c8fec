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
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/time/rate"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/appendfile"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/terminal"
)

// settings are the flags that all commands have.
type settings struct {
	apiKeyFile, baseURL string
	rate                float64
	timeout             time.Duration
	maxRetries          int
	verbose, quiet      bool

	apiKey string // of the demo
}

func (s *settings) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.apiKeyFile, "api-key-file", "", "read the API key from `FILE`")
	flags.StringVar(&s.baseURL, "base-url", "", "use the API at `URL`")
	flags.Float64Var(&s.rate, "rate", 0, "send at most `N` requests a second, retries included (0: no limit)")
	flags.DurationVar(&s.timeout, "timeout", time.Minute, "wait at most `TIME` for a reply (0: no limit)")
	flags.IntVar(&s.maxRetries, "max-retries", 4, "send a request that failed at most `N` more times")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "log retries to standard error")
	flags.BoolVarP(&s.quiet, "quiet", "q", false, "show nothing on standard error unless something is wrong")
}

func (s *settings) check(flags *pflag.FlagSet) error {
	if !(s.rate >= 0) || math.IsInf(s.rate, 0) {
		return errors.New("--rate is not a number from 0 up")
	}
	if s.timeout < 0 {
		return errors.New("--timeout is less than 0")
	}
	if s.maxRetries < 0 {
		return errors.New("--max-retries is less than 0")
	}
	return checkNotEmpty(flags)
}

// connection is the API, and whose it is.
type connection struct {
	*memoryplugin.Client
	account  appendfile.Account
	host     string
	progress *terminal.Progress
}

func (s *settings) connect() (*connection, error) {
	apiKey, err := s.readAPIKey()
	if err != nil {
		return nil, err
	}
	progress := terminal.NewProgress(s.quiet)
	log := &terminal.Log{Progress: progress}
	if s.verbose {
		log.Next = slog.NewTextHandler(progress, nil)
	}
	baseURL := cmp.Or(s.baseURL, os.Getenv("MEMORYPLUGIN_BASE_URL"), memoryplugin.DefaultBaseURL)
	options := []memoryplugin.Option{
		memoryplugin.WithBaseURL(baseURL),
		memoryplugin.WithUserAgent("memoryplugin-cli/" + version()),
		memoryplugin.WithMaxRetries(s.maxRetries),
		memoryplugin.WithAttemptTimeout(s.timeout),
		memoryplugin.WithLogger(slog.New(log)),
	}
	if s.rate > 0 {
		options = append(options, memoryplugin.WithLimiter(rate.NewLimiter(rate.Limit(s.rate), 1)))
	}
	client, err := memoryplugin.NewClient(apiKey, options...)
	if err != nil {
		return nil, s.settingError(err)
	}
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, errors.New("the base URL can't be read")
	}
	u.Scheme, u.Host, u.Path = strings.ToLower(u.Scheme), strings.ToLower(u.Host), strings.TrimRight(u.Path, "/")
	return &connection{client, appendfile.Account{URL: u.String(), APIKey: apiKey}, u.Host, progress}, nil
}

// settingError is an error of the SDK without what only its callers can do.
func (s *settings) settingError(err error) error {
	text := strings.TrimPrefix(err.Error(), "memoryplugin: new client: invalid argument: ")
	text = strings.TrimSuffix(text, ", or WithInsecureHTTP")
	if s.baseURL == "" && strings.Contains(text, "base URL") {
		text += " (MEMORYPLUGIN_BASE_URL)"
	}
	return errors.New(text)
}

func (s *settings) readAPIKey() (string, error) {
	if s.apiKey != "" {
		return s.apiKey, nil
	}
	if s.apiKeyFile == "" {
		if key := os.Getenv("MEMORYPLUGIN_API_KEY"); key != "" {
			return key, nil
		}
		return "", errors.New("no API key: set MEMORYPLUGIN_API_KEY, or name a file that has it with --api-key-file")
	}
	content, err := readStart(s.apiKeyFile)
	if inPath, ok := errors.AsType[*fs.PathError](err); ok {
		err = inPath.Err // Without the path, which may be the key by mistake.
	}
	if err != nil {
		return "", fmt.Errorf("the file that --api-key-file names can't be read: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), nil
}

// readStart reads a file, or the beginning of one that is too large to be a key.
func readStart(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 1<<16))
}

// version is that of the tool if it was installed by version, or else the SDK's.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return memoryplugin.Version
}
