//go:build unix

package proxies

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/require"
)

// Debian has the proxies where a user's PATH does not lead. The tests mostly wait, so
// they run side by side on a small machine too.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8")
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin")
	toolDir, _ = os.MkdirTemp("", "tool")
	code := m.Run()
	_ = os.RemoveAll(toolDir)
	os.Exit(code)
}

// kind is a proxy program and how it is controlled.
type kind struct {
	program string
	debian  string // the package that has it
	config  string
	args    []string // before the configuration's path
	reload  syscall.Signal
	// respawns says that the master starts a new worker if one is killed. If not, it
	// exits, and whoever runs it starts it again.
	respawns bool
}

var nginx = kind{
	program: "nginx", debian: "nginx-light", config: "nginx.conf", args: []string{"-e", "stderr", "-c"},
	reload: syscall.SIGHUP, respawns: true,
}

var haproxy = kind{
	program: "haproxy", debian: "haproxy", config: "haproxy.cfg", args: []string{"-f"},
	reload: syscall.SIGUSR2,
}

// settings are the lines that a test adds to a proxy's configuration, in its language.
type settings struct {
	nginx       string
	haproxy     string // of the frontend
	haproxyBack string // of the backend
}

// proxy is a running proxy.
type proxy struct {
	kind
	dir     string
	address string
	url     string
	log     *os.File
	master  *exec.Cmd
}

// eachProxy runs a test with nginx and with HAProxy, if they are installed.
func eachProxy(t *testing.T, test func(t *testing.T, kind kind)) {
	for _, kind := range []kind{nginx, haproxy} {
		t.Run(kind.program, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(kind.program); err != nil {
				t.Skipf("%s is not installed: run apt-get install %s to run this test", kind.program, kind.debian)
			}
			test(t, kind)
		})
	}
}

// start starts a proxy in front of the server at backend. It ends with the test.
func (k kind) start(t *testing.T, backend string, s settings) *proxy {
	t.Helper()
	for range 3 { // Another program may take the port first.
		p := k.newProxy(t, backend, s)
		require.NoError(t, p.launch())
		if p.accepts() {
			return p
		}
		t.Logf("%s did not start: %s", k.program, p.said())
	}
	t.Fatalf("%s did not start on any of three ports", k.program)
	return nil
}

func (k kind) newProxy(t *testing.T, backend string, s settings) *proxy {
	t.Helper()
	p := &proxy{kind: k, dir: t.TempDir(), address: freeAddress(t)}
	p.url = "http://" + p.address
	p.configure(t, strings.TrimPrefix(backend, "http://"), s)
	log, err := os.Create(filepath.Join(p.dir, "log"))
	require.NoError(t, err)
	p.log = log
	t.Cleanup(func() { p.stop(); _ = log.Close() })
	return p
}

// lastPort is the last one that a proxy was given. The ports are below those that the
// kernel gives to others, and differ, so that no test takes another's server for its proxy.
var lastPort atomic.Int32

func init() { lastPort.Store(20_000 + rand.N[int32](5000)) }

func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1))
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Fatal("none of a thousand ports is free")
	return ""
}

func (p *proxy) configure(t *testing.T, backend string, s settings) {
	t.Helper()
	front := s.nginx
	if p.program == haproxy.program {
		front = s.haproxy
	}
	var text bytes.Buffer
	require.NoError(t, template.Must(template.ParseFiles(filepath.Join("testdata", p.config))).Execute(&text, map[string]string{
		"Dir": p.dir, "Address": p.address, "Backend": backend, "Settings": front, "BackSettings": s.haproxyBack,
	}))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, p.config), text.Bytes(), 0o600))
}

func (p *proxy) launch() error {
	p.master = exec.Command(p.program, append(p.args, filepath.Join(p.dir, p.config))...)
	p.master.Stdout, p.master.Stderr = p.log, p.log
	return p.master.Start()
}

// accepts waits until the proxy takes connections, and reports whether it does.
func (p *proxy) accepts() bool {
	return soon(func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// soon waits until f returns true, and reports whether it does.
func soon(f func() bool) bool {
	tooLate := time.After(10 * time.Second)
	for again := time.Tick(5 * time.Millisecond); !f(); {
		select {
		case <-again:
		case <-tooLate:
			return false
		}
	}
	return true
}

func (p *proxy) said() string {
	text, _ := os.ReadFile(p.log.Name())
	return string(text)
}

// stop ends the proxy with its workers.
func (p *proxy) stop() {
	_ = p.master.Process.Signal(syscall.SIGTERM)
	_ = p.master.Wait()
}

// reloads has the proxy start new workers, and the old ones end.
func (p *proxy) reloads() error { return p.master.Process.Signal(p.reload) }

// killsWorker kills a worker with all its connections.
func (p *proxy) killsWorker() error {
	var worker int
	if !soon(func() bool { worker = p.worker(); return worker > 0 }) {
		return fmt.Errorf("%s has no worker: %s", p.program, p.said())
	}
	if err := syscall.Kill(worker, syscall.SIGKILL); err != nil || p.respawns {
		return err
	}
	_ = p.master.Wait() // Its error is that the worker was killed.
	return p.launch()
}

// worker returns the process id of a worker, or 0 if there is none yet.
func (p *proxy) worker() int {
	children, _ := exec.Command("pgrep", "-P", strconv.Itoa(p.master.Process.Pid)).Output()
	first, _, _ := strings.Cut(string(children), "\n")
	pid, _ := strconv.Atoi(first)
	return pid
}
