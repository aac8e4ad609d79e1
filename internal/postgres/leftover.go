package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// clearLeftovers makes way for a new server: it ends one that a killed Atlas left running, and removes or rewrites the
// files that a killed server left. Nobody else touches this directory: Atlas holds its lock.
func (s *Server) clearLeftovers(ctx context.Context) error {
	if err := s.clearPidFile(ctx); err != nil {
		return err
	}
	for _, pid := range orphans(s.home.data()) {
		syscall.Kill(pid, syscall.SIGQUIT) // a backend without its server: at most it finishes a query for nobody
	}
	for _, name := range []string{socketFile, socketFile + ".lock"} {
		if err := os.Remove(s.home.sockets() + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *Server) clearPidFile(ctx context.Context) error {
	path := filepath.Join(s.home.data(), "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 {
		return os.Remove(path) // cut short by a full disk or a crash; postgres would refuse to start
	}
	if s.isPostmaster(pid) {
		return s.endLeftover(ctx, pid)
	}
	if syscall.Kill(pid, 0) != nil {
		return nil
	}
	return s.claimPidFile(path, rest)
}

// endLeftover stops a server that is not our child, as politely as Stop does.
func (s *Server) endLeftover(ctx context.Context, pid int) error {
	s.log.Warn("stopping a server that an earlier atlas left running", "pid", pid)
	for _, step := range []struct {
		signal syscall.Signal
		within time.Duration
	}{{syscall.SIGINT, fastStop}, {syscall.SIGQUIT, quitStop}, {syscall.SIGKILL, quitStop}} {
		syscall.Kill(pid, step.signal)
		for deadline := time.Now().Add(step.within); time.Now().Before(deadline); {
			if !s.isPostmaster(pid) {
				return nil
			}
			if !wait.For(ctx, 20*time.Millisecond) {
				return fmt.Errorf("stop the server left running, process %d: %w", pid, context.Cause(ctx))
			}
		}
	}
	return fmt.Errorf("the server left running, process %d, cannot be stopped", pid)
}

// claimPidFile handles a process id that by now is some other program's. PostgreSQL would take that program for a
// server and refuse to start. It ignores its parent's id though, so the file is made to name Atlas; the rest of the
// file stays, since by it PostgreSQL sees whether orphans still use the old shared memory.
func (s *Server) claimPidFile(path, rest string) error {
	s.log.Warn("the server's pid file names an unrelated process", "file", path)
	fresh := path + ".new"
	if err := os.WriteFile(fresh, fmt.Appendf(nil, "%d\n%s", os.Getpid(), rest), 0o600); err != nil {
		return err
	}
	if err := s.account.own(fresh); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
