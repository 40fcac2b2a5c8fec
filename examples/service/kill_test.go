package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var binaryDir string

// binary builds the service once, without -race whatever the tests are built with.
var binary = sync.OnceValues(func() (path string, err error) {
	if binaryDir, err = os.MkdirTemp("", "service"); err != nil {
		return "", err
	}
	path = filepath.Join(binaryDir, "service.exe")
	output, err := exec.Command("go", "build", "-race=false", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, output)
	}
	return path, nil
})

// process is the service in a process of its own.
type process struct {
	url  string
	cmd  *exec.Cmd
	runs chan struct{} // closed once a run has ended
	done chan struct{} // closed once it has ended itself
}

func startProcess(t *testing.T, s settings) *process {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	p := &process{runs: make(chan struct{}), done: make(chan struct{})}
	p.cmd = exec.Command(path, "-addr", s.addr, "-sqlite", s.sqlite, "-keys", keysFile(filepath.Dir(s.sqlite)),
		"-job-timeout", s.jobTimeout.String(), "-key-wait", s.keyWait.String())
	p.cmd.Env = []string{"DATABASE_URL=" + s.databaseURL, "MEMORYPLUGIN_BASE_URL=" + s.baseURL}
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	urls := make(chan string, 1)
	var output strings.Builder
	go func() {
		defer close(p.done)
		ran := sync.OnceFunc(func() { close(p.runs) })
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			line := lines.Text()
			output.WriteString(line + "\n")
			if _, url, ok := strings.Cut(line, "msg=listening url="); ok {
				urls <- url
			}
			if strings.Contains(line, `msg="run ended"`) {
				ran()
			}
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.kill)
	select {
	case p.url = <-urls:
	case <-p.done:
		require.Fail(t, "the service did not start", output.String())
	}
	return p
}

// kill ends the process without a warning.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// restartable is a service whose process changes, for clients that try again.
type restartable struct {
	mu sync.Mutex
	p  *process
}

func (r *restartable) set(p *process) { r.mu.Lock(); defer r.mu.Unlock(); r.p = p }
func (r *restartable) url() string    { r.mu.Lock(); defer r.mu.Unlock(); return r.p.url }

func TestKilledAtTheWorstMoment(t *testing.T) {
	t.Parallel()
	for _, when := range []moment{onArrival, afterApplying, afterReplying} {
		t.Run(string(when), func(t *testing.T) {
			t.Parallel()
			onEngines(t, func(t *testing.T, s settings) { killAt(t, s, when) })
		})
	}
}

// killAt kills the service when its first deletion gets to this moment.
func killAt(t *testing.T, s settings, when moment) {
	had, missing := numbered("conv", 250), numbered("missing", 50)
	api := memoryplugintest.NewServer(t)
	api.AddConversations(had...)
	var once sync.Once
	reached, killed := make(chan struct{}), make(chan struct{})
	front := httptest.NewServer(proxy(api, func(m moment) bool {
		alive := true
		if m == when {
			once.Do(func() { close(reached); <-killed; alive = false })
		}
		return alive
	}))
	t.Cleanup(front.Close)
	s.baseURL = front.URL
	p := startProcess(t, s)
	location := ask(t, p.url, append(had, missing...)...)
	<-reached
	p.kill()
	close(killed)

	p = startProcess(t, s)
	e := waitFor(t, p.url+location, done)
	requireTruth(t, e, append(had, missing...), had, api.Conversations())
	assert.Empty(t, api.Conversations())
	if when == afterApplying {
		assert.NotEmpty(t, e.Conversations[gone], "what was deleted, but never confirmed")
	}
}

const (
	kills    = 20
	erasures = 150
	perEach  = 40 // of which a quarter was never there
)

// Clients try again with the same Idempotency-Key while the service is killed over
// and over. Then it may work off what is left.
func TestTwentyKillsLoseAndFakeNothing(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		asked, had := manyErasures(api)
		api.FailFunc(slowAndUnreliable)
		s.baseURL = api.URL
		service := &restartable{p: startProcess(t, s)}
		locations := askPersistently(t, service.url, asked)
		for range kills {
			time.Sleep(50*time.Millisecond + rand.N(350*time.Millisecond)) // Any moment will do.
			service.p.kill()
			service.set(startProcess(t, s))
		}
		requireAllTrue(t, service.url(), <-locations, asked, had, api)
	})
}

func TestTwoInstancesShareTheWorkAndOneIsKilled(t *testing.T) {
	t.Parallel()
	s := testSettings(t, postgresDatabase(t))
	api := memoryplugintest.NewServer(t)
	asked, had := manyErasures(api)
	api.FailFunc(slowAndUnreliable)
	s.baseURL = api.URL
	_, err := binary()
	require.NoError(t, err)
	// They start together, and both migrate.
	instances := make([]*process, 2)
	var group sync.WaitGroup
	for i := range instances {
		group.Go(func() { instances[i] = startProcess(t, s) })
	}
	group.Wait()
	locations := askPersistently(t, func() string { return instances[1].url }, asked)
	<-instances[0].runs
	<-instances[1].runs
	instances[0].kill()
	requireAllTrue(t, instances[1].url, <-locations, asked, had, api)
}

// manyErasures returns the ids of many erasures, and those that the server has.
func manyErasures(api *memoryplugintest.Server) (asked [][]string, had []string) {
	for i := range erasures {
		ids := numbered(fmt.Sprintf("e%03d", i), perEach)
		asked = append(asked, ids)
		had = append(had, ids[perEach/4:]...)
	}
	api.AddConversations(had...)
	return asked, had
}

// slowAndUnreliable deletes slowly, and loses some replies.
func slowAndUnreliable(r memoryplugintest.Request) memoryplugintest.Fault {
	if r.Method != http.MethodDelete {
		return memoryplugintest.Fault{}
	}
	return memoryplugintest.Fault{Delay: rand.N(60 * time.Millisecond), Applied: true, Drop: rand.N(20) == 0}
}

// askPersistently posts erasures one after the other, each until it is accepted.
func askPersistently(t *testing.T, url func() string, asked [][]string) <-chan []string {
	result := make(chan []string, 1)
	go func() {
		var locations []string
		for i, ids := range asked {
			for t.Context().Err() == nil {
				r, err := post(url(), fmt.Sprintf("key-%d", i), erasureBody("alice", ids...))
				if err == nil && r.status == http.StatusAccepted {
					locations = append(locations, r.location)
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		result <- locations
	}()
	return result
}

func requireAllTrue(t *testing.T, url string, locations []string, asked [][]string, had []string, api *memoryplugintest.Server) {
	t.Helper()
	require.Len(t, locations, len(asked), "a request is lost")
	counts := map[string]int{}
	for i, location := range locations {
		e := waitFor(t, url+location, done)
		requireTruth(t, e, asked[i], had, api.Conversations())
		for fate, ids := range e.Conversations {
			counts[fate] += len(ids)
		}
	}
	require.Empty(t, api.Conversations())
	t.Log("fates:", counts)
}
