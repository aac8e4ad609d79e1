package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// createCluster makes the data directory unless it is there. It is built aside and renamed when it is whole, so one that
// was interrupted is never taken for a cluster.
func (s *Server) createCluster(ctx context.Context) error {
	if _, err := os.Stat(s.home.data()); err == nil {
		return s.reclaim()
	}
	for _, dir := range s.home.unfinished() {
		os.RemoveAll(dir) // what cannot be removed is only in the way of itself
	}
	var failed error
	for _, ctype := range []string{"C.UTF-8", "C"} { // not every platform has the first
		err := s.build(ctx, ctype)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("create the cluster in %s: %w", s.home.data(), failed)
}

// reclaim gives the account a cluster that is root's, as one restored from a backup may be.
func (s *Server) reclaim() error {
	if s.account.owns(s.home.data()) {
		return nil
	}
	return s.account.own(s.home.data())
}

// build makes a cluster in a directory of its own, which no initdb left over from a killed Atlas writes to.
func (s *Server) build(ctx context.Context, ctype string) error {
	dir, err := os.MkdirTemp(s.home.root, unfinishedPattern)
	if err != nil {
		return err
	}
	if err := s.initdb(ctx, dir, ctype); err != nil {
		os.RemoveAll(dir)
		return err
	}
	if err := os.Rename(dir, s.home.data()); err != nil {
		return err
	}
	root, err := os.Open(s.home.root)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Sync()
}

// initdb fills dir with a cluster whose text sorts by bytes: fast, and the same on every machine.
func (s *Server) initdb(ctx context.Context, dir, ctype string) error {
	if err := s.account.own(dir); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.binaries.dir, "initdb"))
	done, err := s.account.hand(cmd, dir)
	if err != nil {
		return err
	}
	defer done()
	cmd.Args = append(cmd.Args, "--username="+superuser, "--auth=trust", "--encoding=UTF8",
		"--locale=C", "--lc-ctype="+ctype, "--data-checksums", "--no-instructions")
	if s.cfg.Throwaway {
		cmd.Args = append(cmd.Args, "--no-sync")
	}
	dieWithParent(cmd, syscall.SIGKILL)
	runtime.LockOSThread() // see supervise
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb as %s: %w:\n%s", s.account, err, lastLines(string(out)))
	}
	return nil
}

// clusterVersion is the major version that made the data directory, or "" if there is none.
func clusterVersion(data string) (string, error) {
	version, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(version)), nil
}
