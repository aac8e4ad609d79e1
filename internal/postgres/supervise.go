package postgres

import (
	"context"
	"runtime"
	"syscall"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// How long a server may take to obey each signal, and the pauses between attempts to bring it back.
const (
	fastStop    = 30 * time.Second
	quitStop    = 10 * time.Second
	firstPause  = 100 * time.Millisecond
	longPause   = 5 * time.Second
	stableAfter = 10 * time.Second
	longSilence = 30 * time.Second
)

// supervise runs the server until Stop, and starts it again whenever it dies. What the first start came to goes to ready.
//
// The goroutine keeps its thread: the kernel sends the server its parent-death signal when the thread that started it
// ends, so that thread has to live as long as the server.
func (s *Server) supervise(ctx context.Context, ready chan<- error) {
	runtime.LockOSThread()
	defer close(s.done)
	defer unlock(s.lock)
	defer s.home.removeShortcut()

	server, err := s.launch(ctx)
	ready <- err
	pause := firstPause
	for server != nil {
		began := time.Now()
		select {
		case <-s.stopping.Done():
			s.shutDown(server)
			return
		case <-server.exited:
		}
		if time.Since(began) > stableAfter {
			pause = firstPause
		}
		s.log.Error("postgres died", "exit", server.state(), "server_log", s.home.log())
		server, pause = s.relaunch(pause)
	}
}

// relaunch brings the server back however long that takes; it returns nil once Stop is called.
func (s *Server) relaunch(pause time.Duration) (*postmaster, time.Duration) {
	for {
		server, err := s.launch(s.stopping)
		if err == nil {
			s.log.Info("postgres restarted", "pid", server.cmd.Process.Pid)
			return server, min(pause*2, longPause)
		}
		if s.stopping.Err() != nil {
			return nil, pause
		}
		s.log.Error("postgres not restarted", "error", err, "next_try_in", pause)
		if !wait.For(s.stopping, pause) {
			return nil, pause
		}
		pause = min(pause*2, longPause)
	}
}

// shutDown returns when the server has ended: it asks, then insists, then kills.
func (s *Server) shutDown(server *postmaster) {
	hurry := s.hurry
	if !s.cfg.Throwaway {
		if server.signal(syscall.SIGINT, fastStop, hurry) {
			return
		}
		s.log.Warn("postgres did not stop in time", "next_signal", "quit")
	}
	if server.signal(syscall.SIGQUIT, quitStop, nil) {
		return
	}
	s.log.Warn("postgres did not quit in time", "next_signal", "kill")
	server.cmd.Process.Kill()
	<-server.exited
}
