package pgtest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// Server is a server of one test's own, to be killed and restarted.
type Server struct {
	t       testing.TB
	dir     string
	running *postgres.Server // nil while it is down
}

// StartServer starts a server for this test alone, which costs about two seconds. It is removed when the test ends.
func StartServer(t testing.TB) *Server {
	t.Helper()
	dir, err := newScratch()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(dir.remove)
	s := &Server{t: t, dir: dir.path}
	t.Cleanup(s.Stop)
	s.Restart()
	return s
}

// URL is the connection string of the server's database; it stays the same through restarts.
func (s *Server) URL() string {
	s.t.Helper()
	if s.running == nil {
		s.t.Fatal("pgtest: the server is down")
	}
	return s.running.URL()
}

// Kill kills the server's main process with SIGKILL, as the kernel does when memory runs out, and leaves it down.
func (s *Server) Kill() {
	s.t.Helper()
	pid := s.pid()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatalf("pgtest: kill %d: %v", pid, err)
	}
	s.Stop() // of what would bring it back
}

// Stop stops the server, if it runs, as an administrator would in haste.
func (s *Server) Stop() {
	s.t.Helper()
	if s.running == nil {
		return
	}
	if err := s.running.Stop(context.Background()); err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
	s.running = nil
}

// Restart starts the server again, after stopping it if it runs, and returns when it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	running, err := postgres.Start(context.Background(), config(s.dir))
	if err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
	s.running = running
}

// RestartCommand is a command that restarts the server, for those who can only run one: it has the main process shut down
// in haste, and the server's supervisor starts it again.
func (s *Server) RestartCommand() []string {
	return []string{"sh", "-c", `kill -INT "$(head -n 1 "$0")"`, s.pidFile()}
}

func (s *Server) pidFile() string { return filepath.Join(s.dir, "postgres", "data", "postmaster.pid") }

func (s *Server) pid() int {
	s.t.Helper()
	text, err := os.ReadFile(s.pidFile())
	if err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	if err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
	return pid
}
