package terminal_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/terminal"
)

// text writes a summary in which a group is left.
func text(t *testing.T, s *terminal.Summary, left ...deletion.Group) string {
	t.Helper()
	if s.Summary == nil {
		s.Summary = &deletion.Summary{}
	}
	s.Left = left
	var written strings.Builder
	require.NoError(t, s.WriteText(&written))
	return written.String()
}

func status(code int) deletion.Group {
	return deletion.Group{Reason: deletion.Refused, Status: code, IDs: []string{"a"}, Err: &memoryplugin.ErrorResponse{StatusCode: code}}
}

func TestASummarySaysWhatToDo(t *testing.T) {
	unanswered := func(err error) deletion.Group {
		return deletion.Group{Reason: deletion.Unanswered, IDs: []string{"a"}, Err: err}
	}
	for _, test := range []struct {
		name, want string
		group      deletion.Group
	}{
		{"401", "check the API key", status(401)},
		{"403", "check what the API key may do", status(403)},
		{"404", "check --base-url, or MEMORYPLUGIN_BASE_URL: a proxy or a login page", status(404)},
		{"a redirect", "check --base-url, or MEMORYPLUGIN_BASE_URL: a proxy or a login page", status(302)},
		{"413", "use a smaller --batch-size", status(413)},
		{"422", "fix what the error says", status(422)},
		{"503", "run the command again", status(503)},
		{"HTML", "check --base-url, or MEMORYPLUGIN_BASE_URL: a proxy or a login page", unanswered(fmt.Errorf("a page: %w", memoryplugin.ErrUnexpectedResponse))},
		{"an unknown host", "check --base-url and the network", unanswered(&net.DNSError{IsNotFound: true})},
		{"a bad certificate", "check --base-url and the network", unanswered(&tls.CertificateVerificationError{})},
		{"what is still there", "the server keeps them: look at them in MemoryPlugin", deletion.Group{Reason: deletion.StillThere, IDs: []string{"a"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Contains(t, text(t, &terminal.Summary{}, test.group), "What to do: "+test.want)
		})
	}
}

func TestASummarySaysFromWhenItIsWorthTrying(t *testing.T) {
	group := status(429)
	group.Err = &memoryplugin.ErrorResponse{StatusCode: 429, RetryAfter: time.Hour}

	before := time.Now().Add(time.Hour).Truncate(time.Second)
	got := text(t, &terminal.Summary{}, group)
	after := time.Now().Add(time.Hour)

	_, rest, _ := strings.Cut(got, "What to do: from ")
	require.GreaterOrEqual(t, len(rest), 8, got)
	assert.Contains(t, []string{before.Format(time.TimeOnly), after.Format(time.TimeOnly)}, rest[:8])
}

func TestASummaryShowsTenIDsAndSaysWhereTheRestIs(t *testing.T) {
	group := status(400)
	group.IDs = strings.Split("a b c d e f g h i j k l", " ")

	short := text(t, &terminal.Summary{Rest: "left.txt"}, group)
	whole := text(t, &terminal.Summary{}, group)

	assert.Contains(t, short, "    j\n    and 2 more, in left.txt\n")
	assert.Contains(t, whole, "    k\n    l\n")
}

func TestASummaryNamesWhatTheJournalLacks(t *testing.T) {
	s := &terminal.Summary{Summary: &deletion.Summary{JournalError: errors.New("no room"), Unrecorded: []string{"a", "b"}}}

	assert.Contains(t, text(t, s), "The journal is not complete: no room.\n2 conversations done, but not recorded for sure. Keep this list:\n    a\n    b\n")
}

func TestQuoteQuotesWhatCouldDeceive(t *testing.T) {
	for text, want := range map[string]string{
		"conv-1": "conv-1", "日本": "日本",
		"": `""`, "a b": `"a b"`, `a"`: `"a\""`, "a\x1b[2J": `"a\x1b[2J"`, "a\u202e": `"a\u202e"`, "a\u009b": `"a\u009b"`,
	} {
		assert.Equal(t, want, terminal.Quote(text))
	}
}

func TestEscapeKeepsJSONTheSame(t *testing.T) {
	assert.Equal(t, `{"a":"\u009b\u202e\ue0001"}`+"\n", string(terminal.Escape([]byte("{\"a\":\"\u009b\u202e\ue0001\"}\n"))))
	assert.Equal(t, `\udb40\udc01`, string(terminal.Escape([]byte("\U000e0001"))), "a pair")
}
