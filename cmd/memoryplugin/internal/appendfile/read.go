package appendfile

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind is what a file is for. It is the name of the header's first property.
type Kind string

const (
	Journal Kind = "journal"
	Backup  Kind = "backup"
)

const (
	program = "memoryplugin"
	version = 1

	mostStart = 1 << 12 // of a file, that is looked at before the rest
)

// Account is whose conversations a file is about.
type Account struct {
	URL    string // of the API, path included
	APIKey string
}

// header is the first line of a file.
type header struct {
	Journal string    `json:"journal,omitzero"`
	Backup  string    `json:"backup,omitzero"`
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	URL     string    `json:"url"`
	Account string    `json:"account"` // <salt>:<fingerprint>
}

func newHeader(kind Kind, account Account, now time.Time) []byte {
	salt := make([]byte, 16)
	rand.Read(salt) // It never fails.
	h := header{Version: version, Time: now.UTC().Truncate(time.Millisecond), URL: account.URL, Account: fingerprint(salt, account.APIKey)}
	switch kind {
	case Journal:
		h.Journal = program
	case Backup:
		h.Backup = program
	}
	line, err := json.Marshal(h)
	if err != nil {
		panic(err) // A URL is valid UTF-8.
	}
	return append(line, '\n')
}

// fingerprint tells keys apart without revealing them.
func fingerprint(salt []byte, apiKey string) string {
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(apiKey))
	return hex.EncodeToString(salt) + ":" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// check refuses a header of another kind, version, URL or key.
func (h *header) check(kind Kind, account Account) error {
	found := map[Kind]string{Journal: h.Journal, Backup: h.Backup}
	if found[kind] != program {
		return errOther(kind)
	}
	if h.Version != version {
		return fmt.Errorf("its version is %d, and this tool knows %d: use a newer one", h.Version, version)
	}
	if h.URL != account.URL {
		return fmt.Errorf("it belongs to another URL: %s, not %s. Use a %s of its own for each", strconv.Quote(h.URL), strconv.Quote(account.URL), kind)
	}
	text, _, _ := strings.Cut(h.Account, ":")
	salt, err := hex.DecodeString(text)
	if err != nil || len(salt) != 16 || !hmac.Equal([]byte(fingerprint(salt, account.APIKey)), []byte(h.Account)) {
		return fmt.Errorf("it belongs to another API key. Check the key, or use another %s", kind)
	}
	return nil
}

// content is what a file has, besides its lines.
type content struct {
	hasHeader bool
	began     time.Time // that the header says
	end       int64     // of its whole lines
	torn      []byte    // what follows them
	isWhole   bool      // torn is a line that only lacks its end
}

// readAll reads a file, and calls read for each line after the header.
func readAll(r io.Reader, kind Kind, account Account, read func(line []byte) error) (content, error) {
	var c content
	take := func(number int, line []byte) error {
		if number > 1 {
			return read(line)
		}
		h := header{}
		if err := json.Unmarshal(line, &h); err != nil {
			return errOther(kind)
		}
		c.hasHeader, c.began = true, h.Time
		return h.check(kind, account)
	}
	lines := bufio.NewReaderSize(r, 1<<16)
	if start, _ := lines.Peek(mostStart); !mayBegin(start, kind) { // Whatever its size is.
		return c, errOther(kind)
	}
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return c, err
		}
		if err == io.EOF {
			c.torn = line
			// A crash leaves the beginning of an object, or zeros: neither is valid JSON.
			if c.isWhole = jsontext.Value(line).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); c.isWhole {
				return c, inLine(number, take(number, line))
			}
			return c, nil
		}
		if err := take(number, line[:len(line)-1]); err != nil {
			return c, inLine(number, err)
		}
		c.end += int64(len(line))
	}
}

func inLine(number int, err error) error {
	if err != nil && number > 1 {
		return fmt.Errorf("line %d can't be read: %w. It is left as it is", number, err)
	}
	return err
}

// mayBegin reports whether a file that starts so has a header, or what a crash left
// of one: its beginning, and zeros on some file systems.
func mayBegin(start []byte, kind Kind) bool {
	beginning := fmt.Appendf(nil, `{"%s":"%s",`, kind, program)
	text := bytes.TrimRight(start, "\x00")
	n := min(len(text), len(beginning))
	return bytes.Equal(text[:n], beginning[:n]) && (n == len(beginning) || len(start) < mostStart)
}

func errOther(kind Kind) error {
	return fmt.Errorf("it is not a %s of this tool, but another file", kind)
}

// BadJSON returns an error of the JSON library in words of its own.
func BadJSON(err error) error {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		at := string(semantic.JSONPointer)
		if at == "" {
			at = "its top"
		}
		return fmt.Errorf("the value at %s is of another type", strconv.Quote(at))
	}
	return errors.New("bad JSON: " + strings.TrimPrefix(strings.TrimPrefix(err.Error(), "json: "), "jsontext: "))
}
