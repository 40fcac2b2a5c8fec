//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

var (
	killRounds = flag.Int("kill.rounds", 10, "rounds of the kill test")
	killSeed   = flag.Uint64("kill.seed", 0, "seed of the only round of the kill test")
)

// A SIGKILL at any moment loses no id and makes no state false.
func TestARunThatIsKilledOverAndOverLosesNothing(t *testing.T) {
	t.Parallel()
	if *killSeed != 0 {
		newKilling(t, *killSeed).run()
		return
	}
	for range *killRounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("-kill.seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			newKilling(t, seed).run()
		})
	}
}

// killing is a round: an account, and runs of one command that are killed until one
// ends with exit code 0.
type killing struct {
	*testing.T
	srv      *memoryplugintest.Server
	folder   string
	args     []string
	selected []string
	others   []string          // pinned, or too new
	copies   map[string]string // what a backup has to have

	mu        sync.Mutex
	random    *rand.Rand
	running   *program
	killAfter int // requests; 0: never
}

func newKilling(t *testing.T, seed uint64) *killing {
	k := &killing{T: t, folder: t.TempDir(), random: rand.New(rand.NewPCG(seed, 0)), copies: map[string]string{}}
	k.srv = memoryplugintest.NewServer(t)
	for i := range 90 {
		k.add(i)
	}
	for _, id := range k.selected {
		k.copies[id] = k.transcript(id)
	}
	k.srv.FailFunc(k.disturb)
	k.args = []string{
		"delete", "--before", "2024-03-01", "--backup", "b", "--journal", "j", "--yes", "--output", "json",
		"--batch-size", fmt.Sprint(1 + k.random.IntN(9)), "--concurrency", fmt.Sprint(1 + k.random.IntN(4)),
		"--max-retries", fmt.Sprint(k.random.IntN(3)), "--patience", "1m",
	}
	return k
}

// add adds a conversation, of which 60 are old enough and some of those pinned.
func (k *killing) add(i int) {
	c := datedConversation(i)
	pinned := i%7 == 3
	c.Pinned = &pinned
	for n := range k.random.IntN(30) {
		c.Messages = append(c.Messages, memoryplugin.Message{Index: n, Sender: "user", Text: strings.Repeat("<ü>\u2028 ", n)})
	}
	k.srv.AddConversation(c)
	if c.CreatedAt.Before(time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)) && !pinned {
		k.selected = append(k.selected, c.ID)
	} else {
		k.others = append(k.others, c.ID)
	}
}

// transcript returns what the API itself says, on one line.
func (k *killing) transcript(id string) string {
	request, err := http.NewRequest(http.MethodGet, k.srv.URL+"/api/chat-history/conversation?conversationId="+id, nil)
	require.NoError(k, err)
	request.Header.Set("Authorization", "Bearer "+memoryplugintest.APIKey)
	reply, err := http.DefaultClient.Do(request)
	require.NoError(k, err)
	defer reply.Body.Close()
	require.Equal(k, http.StatusOK, reply.StatusCode)
	body, err := io.ReadAll(reply.Body)
	require.NoError(k, err)
	var line bytes.Buffer
	require.NoError(k, json.Compact(&line, body))
	return line.String()
}

func (k *killing) run() {
	for round := 0; ; round++ {
		require.Less(k, round, 60, "it does not come to an end")
		got := k.program(round).end()
		k.check()
		if got.code == 0 {
			k.Logf("done in run %d", round+1)
			break
		}
		if got.code != -1 { // Retries alone help a listing.
			require.Regexp(k, "^memoryplugin: list (all )?conversations", got.stderr, "%d %s", got.code, got.stdout)
		}
	}
	k.checkEnd()
}

// program starts a run that is killed at a random moment, or with a random request.
func (k *killing) program(round int) *program {
	p := command(k.T, k.srv.URL, k.args...)
	p.Dir = k.folder
	k.mu.Lock()
	defer k.mu.Unlock()
	k.killAfter, k.running = 0, p
	p.start()
	switch wait := time.Duration(k.random.IntN(400)) * time.Millisecond; {
	case round >= 20: // By now it was killed often enough.
	case k.random.IntN(2) == 0:
		k.killAfter = 1 + k.random.IntN(40)
	default:
		killer := time.AfterFunc(wait, p.kill)
		k.Cleanup(func() { killer.Stop() })
	}
	return p
}

func (p *program) kill() { _ = p.Process.Kill() }

// disturb makes requests fail in the ways that may pass, and lets some kill the run.
func (k *killing) disturb(r memoryplugintest.Request) memoryplugintest.Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.killAfter--; k.killAfter == 0 {
		defer k.running.kill()
	}
	faults := []memoryplugintest.Fault{
		{Status: http.StatusServiceUnavailable},
		{Status: http.StatusServiceUnavailable, Applied: true},
		{Status: http.StatusTooManyRequests},
		{Drop: true},
		{Drop: true, Applied: true},
		{Delay: 30 * time.Millisecond, Applied: true},
	}
	if id := r.Query.Get("conversationId"); id == "" || slices.Contains(k.srv.Conversations(), id) {
		faults = append(faults, memoryplugintest.Fault{CutReply: true}) // A 404 that is cut is a proxy's to the SDK.
	}
	if isDelete(r) {
		faults = append(faults,
			memoryplugintest.Fault{Status: http.StatusOK, Body: `{}`, Applied: true},
			memoryplugintest.Fault{Status: http.StatusOK, Body: `{"deleted":[],"count":7}`, Applied: true})
	}
	if len(r.IDs) > 1 {
		faults = append(faults, memoryplugintest.Fault{Status: http.StatusRequestEntityTooLarge})
	}
	odds := 40
	if isDelete(r) {
		odds = 3
	}
	if k.random.IntN(odds) > 0 {
		return memoryplugintest.Fault{Delay: time.Duration(k.random.IntN(5)) * time.Millisecond}
	}
	return faults[k.random.IntN(len(faults))]
}

// check holds the journal and the backup against what is true.
func (k *killing) check() {
	k.Helper()
	left := k.srv.Conversations()
	states := lastStates(k.T, k.file("j"))
	for id, state := range states {
		isThere := slices.Contains(left, id)
		switch state {
		case "deleted", "gone":
			require.False(k, isThere, "%s is %s in the journal, but there", id, state)
		case "kept", "not_deleted":
			require.True(k, isThere, "%s is %s in the journal, but gone", id, state)
		case "absent":
			require.Fail(k, "a listing had it", id)
		}
		require.Contains(k, k.selected, id)
	}
	copies := k.backup()
	for _, id := range k.selected {
		if slices.Contains(left, id) {
			continue
		}
		require.Contains(k, states, id, "it is gone, and not in the journal")
		require.Equal(k, k.copies[id], copies[id], "%s is gone, and its copy is not whole", id)
	}
	require.Subset(k, left, k.others)
}

func (k *killing) file(name string) string {
	k.Helper()
	content, err := os.ReadFile(filepath.Join(k.folder, name))
	if !os.IsNotExist(err) {
		require.NoError(k, err)
	}
	return string(content)
}

// backup returns the whole lines of the backup by id.
func (k *killing) backup() map[string]string {
	k.Helper()
	copies := map[string]string{}
	for line := range strings.Lines(k.file("b")) {
		text, isWhole := strings.CutSuffix(line, "\n")
		var transcript struct{ ID string }
		err := json.Unmarshal([]byte(text), &transcript)
		require.True(k, err == nil || !isWhole, "a torn line in the middle: %q", line)
		if err == nil && transcript.ID != "" {
			copies[transcript.ID] = text
		}
	}
	return copies
}

// checkEnd checks what an exit code 0 promises, and that nothing is left to do.
func (k *killing) checkEnd() {
	k.Helper()
	assert.ElementsMatch(k, k.others, k.srv.Conversations())
	for id, state := range lastStates(k.T, k.file("j")) {
		assert.Contains(k, []string{"deleted", "gone"}, state, id)
	}
	k.srv.FailFunc(nil)
	sent := len(deletions(k.srv))
	again := command(k.T, k.srv.URL, k.args...)
	again.Dir = k.folder
	got := again.run()
	assert.Equal(k, 0, got.code, got.stderr)
	assert.Len(k, deletions(k.srv), sent)
}
