package terminal

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
)

// MostIDs is how many ids of a group are shown.
const MostIDs = 10

// Summary is what a deletion has come to.
type Summary struct {
	*deletion.Summary
	Host       string
	Selected   int
	Skipped    int // an earlier run has done them
	Pinned     int // left out
	Duplicates int
	Took       time.Duration
	Journal    string // its path, or ""
	Rest       string // where all ids are that are left, or "" if they are shown
}

// WriteJSON writes the summary as one JSON object on a line.
func (s *Summary) WriteJSON(w io.Writer) error {
	object := struct {
		Host        string           `json:"host"`
		Selected    int              `json:"selected"`
		Skipped     int              `json:"skipped"`
		Deleted     int              `json:"deleted"`
		Gone        int              `json:"gone"`
		Absent      int              `json:"absent"`
		Kept        int              `json:"kept"`
		Unconfirmed int              `json:"unconfirmed"`
		NotDeleted  int              `json:"not_deleted"`
		Seconds     float64          `json:"seconds"`
		Left        []deletion.Group `json:"left"`
	}{
		s.Host, s.Selected, s.Skipped, s.Deleted, s.Gone, s.Absent, s.Kept, s.Unconfirmed, s.NotDeleted,
		s.Took.Round(time.Millisecond).Seconds(), s.Left,
	}
	line, err := json.Marshal(object, jsontext.AllowInvalidUTF8(true))
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", Escape(line))
	}
	return err
}

// WriteText writes the summary for a person.
func (s *Summary) WriteText(w io.Writer) error {
	var text strings.Builder
	done := s.Skipped + s.Deleted + s.Gone + s.Absent
	fmt.Fprintf(&text, "%d of %s done on %s in %v.\n\n", done, Plural(s.Selected), Quote(s.Host), s.Took.Round(100*time.Millisecond))
	for _, row := range []struct {
		n    int
		what string
	}{
		{s.Skipped, "skipped: done by an earlier run"},
		{s.Deleted, "deleted: the server said so"},
		{s.Gone, "gone: no answer, but not there any more"},
		{s.Absent, "absent: not there, and no list had them: deleted, or mistyped"},
		{s.Kept, "kept: still there"},
		{s.Unconfirmed, "unconfirmed: may be gone or there"},
		{s.NotDeleted, "not deleted"},
		{s.Pinned, "left out: pinned, or may be"},
		{s.Duplicates, "given twice, and sent once"},
	} {
		if row.n > 0 {
			fmt.Fprintf(&text, "%8d  %s\n", row.n, row.what)
		}
	}
	for _, g := range s.Left {
		s.writeGroup(&text, g)
	}
	s.WriteUnrecorded(&text)
	_, err := io.WriteString(w, text.String())
	return err
}

func (s *Summary) writeGroup(w io.Writer, g deletion.Group) {
	fmt.Fprintf(w, "\n%d %s: %s\n  What to do: %s\n", len(g.IDs), titles[g.Reason], g.Error, s.advice(g))
	shown := g.IDs
	if s.Rest != "" && len(shown) > MostIDs {
		shown = shown[:MostIDs]
	}
	for _, id := range shown {
		fmt.Fprintf(w, "    %s\n", Quote(id))
	}
	if more := len(g.IDs) - len(shown); more > 0 {
		fmt.Fprintf(w, "    and %d more, in %s\n", more, Quote(s.Rest))
	}
}

var titles = map[deletion.Reason]string{
	deletion.Refused:    "not deleted",
	deletion.Unanswered: "unconfirmed",
	deletion.StillThere: "kept",
	deletion.NotSent:    "not sent",
}

// advice says what to do about a group.
func (s *Summary) advice(g deletion.Group) string {
	again := "run the command again."
	if s.Journal != "" {
		again = "run the command again with --journal " + Quote(s.Journal) + ": it goes on where this run ended."
	}
	host, _ := errors.AsType[*net.DNSError](g.Err)
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](g.Err)
	switch {
	case g.Status == http.StatusUnauthorized:
		return "check the API key, then " + again
	case g.Status == http.StatusForbidden:
		return "check what the API key may do, then " + again
	case g.Status == http.StatusRequestEntityTooLarge:
		return "use a smaller --batch-size, and " + again
	case g.Status == http.StatusTooManyRequests:
		return fmt.Sprintf("from %s on it is worth trying; then %s", worthTrying(g.Err).Format(time.TimeOnly), again)
	case g.Status == http.StatusNotFound || g.Status >= 300 && g.Status < 400 || errors.Is(g.Err, memoryplugin.ErrUnexpectedResponse):
		return "check --base-url, or MEMORYPLUGIN_BASE_URL: a proxy or a login page may answer instead of the API. Then " + again
	case badCertificate || host != nil:
		return "check --base-url and the network, then " + again
	case g.Reason == deletion.StillThere && g.Err == nil:
		return "the server keeps them: look at them in MemoryPlugin."
	case g.Status > 0 && g.Status < 500:
		return "fix what the error says, then " + again
	}
	return again
}

// worthTrying returns from when on another request may succeed.
func worthTrying(err error) time.Time {
	wait := time.Minute
	if reply, ok := errors.AsType[*memoryplugin.ErrorResponse](err); ok && reply.RetryAfter > 0 {
		wait = reply.RetryAfter
	}
	return time.Now().Add(wait)
}

// WriteUnrecorded says what is done but may be missing in the journal.
func (s *Summary) WriteUnrecorded(w io.Writer) {
	if s.JournalError == nil {
		return
	}
	fmt.Fprintf(w, "\nThe journal is not complete: %v.\n", s.JournalError)
	if len(s.Unrecorded) == 0 {
		return
	}
	fmt.Fprintf(w, "%s done, but not recorded for sure. Keep this list:\n", Plural(len(s.Unrecorded)))
	for _, id := range s.Unrecorded {
		fmt.Fprintf(w, "    %s\n", Quote(id))
	}
}
