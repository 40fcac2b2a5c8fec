//go:build unix

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

var speed = flag.Bool("speed", false, "measure the tool, which takes a minute on a machine that does nothing else")

// measured runs p, and returns how long it took and the most memory that it had.
func (p *program) measured() (took time.Duration, most int64) {
	p.t.Helper()
	start := time.Now()
	p.start()
	ended, polled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(polled)
		// The system's own figure counts what the parent has at the start.
		for path := fmt.Sprintf("/proc/%d/status", p.Process.Pid); ; {
			status, _ := os.ReadFile(path)
			if _, line, ok := strings.Cut(string(status), "VmHWM:"); ok {
				_, _ = fmt.Sscan(line, &most)
			}
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	got := p.end()
	took = time.Since(start)
	close(ended)
	<-polled
	require.Equal(p.t, 0, got.code, got.stderr)
	p.t.Logf("%v (%v of processors), %d MB", took.Round(time.Millisecond), p.ProcessState.UserTime()+p.ProcessState.SystemTime(), most>>10)
	return took, most << 10
}

func measuring(t *testing.T) {
	t.Helper()
	if !*speed {
		t.Skip("-speed is not set")
	}
}

// onSlowDisk makes each fsync take 10 ms longer.
func (p *program) onSlowDisk() *program {
	p.t.Helper()
	strace, err := exec.LookPath("strace")
	require.NoError(p.t, err)
	p.Path, p.Args = strace, append([]string{
		"strace", "-f", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_exit=10000",
	}, p.Args...)
	return p
}

func TestAJournalCostsAtMostATenth(t *testing.T) {
	measuring(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ IDs []string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		timer := time.NewTimer(50 * time.Millisecond)
		defer timer.Stop()
		<-timer.C
		_ = json.NewEncoder(w).Encode(map[string]any{"deleted": body.IDs, "count": len(body.IDs)})
	}))
	defer srv.Close()
	ids := asLines(firstIDs(20_000))
	for _, size := range []string{"100", "10"} {
		t.Run("batches of "+size, func(t *testing.T) {
			best := map[string]time.Duration{}
			for range 5 {
				for _, journal := range []string{"--no-journal", "--journal=j"} {
					took, _ := command(t, srv.URL, "delete", "--yes", "--concurrency", "32", "--batch-size", size, journal).input(ids).onSlowDisk().measured()
					if before, ok := best[journal]; !ok || took < before {
						best[journal] = took
					}
				}
			}
			ratio := float64(best["--journal=j"]) / float64(best["--no-journal"])
			t.Logf("%v: %.3f times", best, ratio)
			assert.LessOrEqual(t, ratio, 1.1)
		})
	}
}

func TestGoingOnWithAMillionLinesTakesAtMostFourSeconds(t *testing.T) {
	measuring(t)
	srv := memoryplugintest.NewServer(t)
	p := command(t, srv.URL, "delete", "--yes", "--journal", "j", "--file", "ids")
	first := command(t, srv.URL, "delete", "--yes", "--journal", "j", "x")
	first.Dir = p.Dir
	require.Equal(t, 0, first.run().code)
	header, _, _ := strings.Cut(p.file("j"), "\n")
	var journal strings.Builder
	fmt.Fprintln(&journal, header)
	for _, id := range firstIDs(1_000_000) {
		fmt.Fprintf(&journal, `{"time":"2026-11-24T10:00:00.123Z","state":"deleted","ids":["%s"],"request_id":"req-0123456789abcdef"}`+"\n", id)
	}
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "j"), []byte(journal.String()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "ids"), []byte(asLines(firstIDs(1_000_000))), 0o600))

	took, _ := p.measured()

	assert.LessOrEqual(t, took, 4*time.Second)
}
