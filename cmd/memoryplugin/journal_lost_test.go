package main

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

func TestAJournalThatIsRemovedDuringARunIsSaidWithWhatItLacks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it does not remove a file that is open")
	}
	const lacks = "1 conversation done, but not recorded for sure. Keep this list:\n    a\n"
	for output, stream := range map[string]func(outcome) string{
		"text": func(o outcome) string { return o.stdout },
		"json": func(o outcome) string { return o.stderr }, // Standard output is one object.
	} {
		t.Run(output, func(t *testing.T) {
			t.Parallel()
			srv := memoryplugintest.NewServer(t)
			srv.AddConversations("a")
			p := command(t, srv.URL, "delete", "a", "--yes", "--quiet", "--journal", "journal.jsonl", "--output", output)
			srv.FailFunc(func(r memoryplugintest.Request) memoryplugintest.Fault {
				if r.Method == http.MethodDelete {
					assert.NoError(t, os.Remove(filepath.Join(p.Dir, "journal.jsonl")))
				}
				return memoryplugintest.Fault{}
			})

			got := p.run()

			assert.Equal(t, 1, got.code)
			assert.Contains(t, stream(got), `The journal is not complete: "journal.jsonl" was removed or replaced during the run`)
			assert.Contains(t, stream(got), lacks)
			assert.Empty(t, srv.Conversations())
		})
	}
}
