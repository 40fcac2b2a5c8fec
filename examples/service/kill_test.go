package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	url    string
	cmd    *exec.Cmd
	stdout strings.Builder // whole once it is done, as is stderr
	stderr strings.Builder
	logged map[string]chan string
	done   chan struct{} // closed once it has ended
}

// What a process logs, and the tests wait for.
const listening, runEnded, shuttingDown = "msg=listening url=", `msg="run ended"`, `msg="shutting down"`

func startProcess(t *testing.T, s settings, env ...string) *process {
	t.Helper()
	p := launch(t, s, env...)
	p.awaitURL(t)
	return p
}

func launch(t *testing.T, s settings, env ...string) *process {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	p := &process{done: make(chan struct{}), logged: map[string]chan string{}}
	for _, message := range []string{listening, runEnded, shuttingDown} {
		p.logged[message] = make(chan string, 1)
	}
	p.cmd = exec.Command(path, "-addr", s.addr, "-sqlite", s.sqlite, "-keys", keysFile(filepath.Dir(s.sqlite)), "-job-timeout", s.jobTimeout.String())
	p.cmd.Env = append(env, "DATABASE_URL="+s.databaseURL, "MEMORYPLUGIN_BASE_URL="+s.baseURL)
	p.cmd.Stdout = &p.stdout
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go p.read(stderr)
	t.Cleanup(p.kill)
	return p
}

// read passes on the first line of each message.
func (p *process) read(stderr io.Reader) {
	defer close(p.done)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		p.stderr.WriteString(lines.Text() + "\n")
		for message, logged := range p.logged {
			if _, rest, ok := strings.Cut(lines.Text(), message); ok {
				select {
				case logged <- rest:
				default:
				}
			}
		}
	}
	_ = p.cmd.Wait()
}

func (p *process) awaitURL(t *testing.T) {
	t.Helper()
	select {
	case p.url = <-p.logged[listening]:
	case <-p.done:
		require.Fail(t, "the service did not start", p.stderr.String())
	}
}

// kill ends the process without a warning.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// drain ends the process in peace, where there are signals.
func (p *process) drain(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		p.kill()
		return
	}
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.done
	require.Zero(t, p.cmd.ProcessState.ExitCode(), p.stderr.String())
}

// restartable is a service whose process changes, for clients that try again.
type restartable struct {
	mu sync.Mutex
	p  *process
}

// restart ends the process and starts another one. Until then no client is told where.
func (r *restartable) restart(t *testing.T, s settings, end func(*process)) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	end(r.p)
	r.p = startProcess(t, s)
}

func (r *restartable) url() string { r.mu.Lock(); defer r.mu.Unlock(); return r.p.url }

func TestKilledAtTheWorstMoment(t *testing.T) {
	t.Parallel()
	for _, when := range []moment{onArrival, afterApplying, afterReplying} {
		t.Run(string(when), func(t *testing.T) {
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
// and over, and drained once. Then it may work off what is left.
func TestTwentyKillsLoseAndFakeNothing(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		api := memoryplugintest.NewServer(t)
		asked, had := manyErasures(api)
		api.FailFunc(slowAndUnreliable)
		var inFlight, hits atomic.Int64
		moments := make(chan moment, 10*erasures*perEach) // Nobody waits to report one.
		pass := proxy(api, func(m moment) bool {
			moments <- m
			return true
		})
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inFlight.Add(1)
			defer inFlight.Add(-1)
			pass(w, r)
		}))
		t.Cleanup(front.Close)
		s.baseURL = front.URL
		service := &restartable{p: startProcess(t, s)}
		locations := askPersistently(t, service.url, asked)

		for range kills {
			for range 1 + rand.N(erasures/kills) { // So that there are enough for all kills.
				<-moments
			}
			hits.Add(min(1, inFlight.Load()))
			service.restart(t, s, func(p *process) { p.kill() })
		}

		found := <-locations
		service.restart(t, s, func(p *process) { p.drain(t) })

		requireAllTrue(t, service.url(), found, asked, had, api)
		assert.Positive(t, hits.Load(), "no kill met a request")
		t.Log("kills that met a request:", hits.Load())
	})
}

func TestSIGTERMAwaitsWhatIsOnTheWire(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM")
	}
	s := testSettings(t, "")
	api := memoryplugintest.NewServer(t)
	api.AddConversations("conv-1")
	applied, answer := make(chan struct{}), make(chan struct{})
	front := httptest.NewServer(proxy(api, func(m moment) bool {
		if m == afterApplying {
			close(applied)
			<-answer
		}
		return true
	}))
	t.Cleanup(front.Close)
	s.baseURL, s.jobTimeout = front.URL, time.Minute
	p := startProcess(t, s)
	location := ask(t, p.url, "conv-1")
	<-applied

	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.logged[shuttingDown]
	close(answer)
	<-p.done

	assert.Zero(t, p.cmd.ProcessState.ExitCode())
	p = startProcess(t, s)
	assert.Equal(t, []string{"conv-1"}, waitFor(t, p.url+location, done).Conversations[deleted])
	assert.Len(t, api.Requests(), 1)
}

func TestMissingKeyIsLookedForAgainAfterAMinute(t *testing.T) {
	t.Parallel()
	s := testSettings(t, "")
	p := startProcess(t, s)

	_, err := post(p.url, "", erasureBody("bob", "conv-1"))

	require.NoError(t, err)
	assert.Contains(t, <-p.logged[runEnded], "wait=1m0s")
}

// net/http quotes a status that is no number in its error, which otelhttp puts into the
// span, and logs what comes unasked.
func TestAKeyThatTheServerEchoesIsNotPrinted(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		first := "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
		for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
			reader := bufio.NewReader(conn)
			_, _ = http.ReadRequest(reader)
			_, _ = conn.Write([]byte(first + "HTTP/1.1 " + memoryplugintest.APIKey + "\r\n\r\n"))
			_, _ = http.ReadRequest(reader) // Until it closes the connection.
			_ = conn.Close()
			first = ""
		}
	}()
	s := testSettings(t, "")
	s.baseURL = "http://" + listener.Addr().String()
	p := startProcess(t, s, "OTEL_TRACES_EXPORTER=console")
	location := ask(t, p.url, "conv-1")
	<-p.logged[runEnded]
	reason := get(t, p.url+location).Reason

	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	<-p.done

	assert.Contains(t, p.stdout.String(), `"Name":"HTTP DELETE"`)
	assert.NotContains(t, p.stdout.String()+p.stderr.String()+reason, memoryplugintest.APIKey)
}

func TestNoTracesAreExportedUnlessAnExporterIsNamed(t *testing.T) {
	t.Parallel()
	var exports atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { exports.Add(1) }))
	t.Cleanup(collector.Close)
	api := memoryplugintest.NewServer(t)
	for exporter, exported := range map[string]bool{"": false, "OTEL_TRACES_EXPORTER=otlp": true} {
		exports.Store(0)
		s := testSettings(t, "")
		s.baseURL = api.URL
		p := startProcess(t, s, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, exporter)
		waitFor(t, p.url+ask(t, p.url, "conv-1"), done)

		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		<-p.done

		assert.Equal(t, exported, exports.Load() > 0, exporter)
	}
}

func TestTwoInstancesShareTheWorkAndOneIsKilled(t *testing.T) {
	t.Parallel()
	s := testSettings(t, postgresDatabase(t))
	api := memoryplugintest.NewServer(t)
	asked, had := manyErasures(api)
	api.FailFunc(slowAndUnreliable)
	s.baseURL = api.URL
	// They start together, and both migrate.
	one, other := launch(t, s), launch(t, s)
	one.awaitURL(t)
	other.awaitURL(t)
	locations := askPersistently(t, func() string { return other.url }, asked)
	<-one.logged[runEnded]
	<-other.logged[runEnded]

	one.kill()

	requireAllTrue(t, other.url, <-locations, asked, had, api)
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
	require.Zero(t, counts[stillThere])
	t.Log("fates:", counts)
}
