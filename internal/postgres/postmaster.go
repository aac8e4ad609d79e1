package postgres

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/internal/wait"
)

// errStillInUse is a start refused because processes of an earlier server still hold its shared memory.
var errStillInUse = errors.New("processes of an earlier server are still there")

// postmaster is one run of the server's main process.
type postmaster struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// launch returns a server that answers, after it has made what an earlier one left behind go away.
func (s *Server) launch(ctx context.Context) (*postmaster, error) {
	for waited := false; ; waited = true {
		server, err := s.attempt(ctx)
		if !errors.Is(err, errStillInUse) {
			return server, err
		}
		if !waited {
			s.log.Warn("waiting for processes of the server before to end")
		}
		if !wait.For(ctx, firstPause) {
			return nil, err
		}
	}
}

func (s *Server) attempt(ctx context.Context) (*postmaster, error) {
	if err := s.clearLeftovers(ctx); err != nil {
		return nil, err
	}
	log, err := openLog(s.home.log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	server, err := s.run(log)
	if err != nil {
		return nil, err
	}
	if err := s.waitReady(ctx, server); err != nil {
		s.shutDown(server)
		return nil, log.explain(err)
	}
	return server, nil
}

// run starts the server's main process. It is called on the supervisor's thread only.
func (s *Server) run(log *serverLog) (*postmaster, error) {
	cmd := exec.Command(filepath.Join(s.binaries.dir, "postgres"))
	done, err := s.account.hand(cmd, s.home.data())
	if err != nil {
		return nil, err
	}
	defer done()
	cmd.Args = append(cmd.Args, settings(s.cfg)...)
	cmd.Stdout, cmd.Stderr = log.File, log.File
	dieWithParent(cmd, s.deathSignal())
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s as %s: %w", cmd.Path, s.account, err)
	}
	server := &postmaster{cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(server.exited)
		cmd.Wait()
	}()
	return server, nil
}

// deathSignal is what the server gets when Atlas is killed: the same as on Stop.
func (s *Server) deathSignal() syscall.Signal {
	if s.cfg.Throwaway {
		return syscall.SIGQUIT
	}
	return syscall.SIGINT
}

// waitReady returns once the server answers and has its database. Recovery may take long, and the server says so; one
// that says nothing for half a minute never will.
func (s *Server) waitReady(ctx context.Context, server *postmaster) error {
	heard := time.Now()
	for {
		err := s.ensureDatabase(ctx)
		if err == nil || !IsConnectionLost(err) {
			return err
		}
		if answered(err) {
			heard = time.Now()
		}
		if time.Since(heard) > longSilence {
			return fmt.Errorf("postgres runs and does not answer: %w", err)
		}
		select {
		case <-server.exited:
			return fmt.Errorf("postgres ended while starting: %s", server.state())
		default:
		}
		if !wait.For(ctx, 20*time.Millisecond) {
			return fmt.Errorf("wait for postgres to start: %w", context.Cause(ctx))
		}
	}
}

// answered says whether err is what a server said, and not the lack of one.
func answered(err error) bool {
	said := (*pgconn.PgError)(nil)
	return errors.As(err, &said)
}

// ensureDatabase creates the database atlas unless it is there. Nobody else does so: the directory is locked.
func (s *Server) ensureDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE DATABASE atlas")
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) && pgErr.Code == "42P04" { // duplicate_database
		return nil
	}
	return err
}

// signal sends sig and says whether the server ended within the given time, and before hurry is closed.
func (p *postmaster) signal(sig syscall.Signal, within time.Duration, hurry <-chan struct{}) bool {
	p.cmd.Process.Signal(sig)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.exited:
		return true
	case <-hurry:
		return false
	case <-timer.C:
		return false
	}
}

// state says how the process ended; it has.
func (p *postmaster) state() string {
	return strings.TrimSpace(p.cmd.ProcessState.String())
}
