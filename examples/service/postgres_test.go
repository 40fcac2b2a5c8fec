//go:build unix

package main

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// cluster is a PostgreSQL server of the tests' own, on a Unix socket.
type cluster struct {
	dir       string
	server    *exec.Cmd
	databases atomic.Int64
	missing   string // why there is none
	err       error
}

var (
	postgres     cluster
	startCluster = sync.OnceFunc(func() { postgres.missing, postgres.err = postgres.start() })
)

// stopPostgres ends what a test has started.
func stopPostgres() {
	if postgres.server != nil {
		_ = postgres.server.Process.Signal(syscall.SIGQUIT)
		_ = postgres.server.Wait()
	}
	if postgres.dir != "" {
		_ = os.RemoveAll(postgres.dir)
	}
}

// postgresDatabase returns the URL of an empty database, or skips the test.
func postgresDatabase(t *testing.T) string {
	t.Helper()
	startCluster()
	c := &postgres
	if c.missing != "" {
		t.Skip(c.missing)
	}
	require.NoError(t, c.err)
	db, err := sql.Open("pgx", c.url("postgres"))
	require.NoError(t, err)
	defer db.Close()
	name := fmt.Sprintf("test%d", c.databases.Add(1))
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	return c.url(name)
}

func (c *cluster) url(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {c.dir}, "user": {"postgres"}}.Encode()
}

func (c *cluster) start() (missing string, err error) {
	initdb := postgresProgram("initdb")
	if initdb == "" {
		return "PostgreSQL's server programs are not installed: these tests are skipped", nil
	}
	credential, err := unprivileged()
	if err != nil {
		return "PostgreSQL does not run as root, and there is no other user: " + err.Error(), nil
	}
	if c.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return "", err
	}
	if credential != nil {
		if err := os.Chown(c.dir, int(credential.Uid), int(credential.Gid)); err != nil {
			return "", err
		}
	}
	data := filepath.Join(c.dir, "data")
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = c.dir, []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		return cmd
	}
	if output, err := command(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w: %s", err, output)
	}
	c.server = command(postgresProgram("postgres"), "-D", data, "-k", c.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300")
	log, err := c.server.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := c.server.Start(); err != nil {
		return "", err
	}
	return "", awaitReady(log)
}

// awaitReady reads what PostgreSQL logs until it is ready, and the rest meanwhile.
func awaitReady(log io.Reader) error {
	var said strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if strings.Contains(lines.Text(), "ready to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return nil
		}
		said.WriteString(lines.Text() + "\n")
	}
	return fmt.Errorf("PostgreSQL did not start: %s", said.String())
}

func postgresProgram(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	// Debian keeps them out of the PATH, one directory for each version.
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// unprivileged returns another user's credential if this process is root's.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	var failures []string
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			failures = append(failures, err.Error())
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("%s", strings.Join(failures, "; "))
}
