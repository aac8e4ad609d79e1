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
	"strings"
)

// createCluster makes the data directory unless it is there. It is built aside and renamed when it is whole, so one that
// was interrupted is never taken for a cluster.
func (s *Server) createCluster(ctx context.Context) error {
	if _, err := os.Stat(s.home.data()); err == nil {
		return s.reclaimCluster()
	}
	var failed error
	for _, ctype := range []string{"C.UTF-8", "C"} { // not every platform has the first
		err := s.initdb(ctx, ctype)
		if err == nil {
			return s.adoptCluster()
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	os.RemoveAll(s.home.unfinished())
	return fmt.Errorf("create the cluster in %s: %w", s.home.data(), failed)
}

// reclaimCluster gives the account a cluster that belongs to root, as one restored from a backup does.
func (s *Server) reclaimCluster() error {
	return s.account.own(s.home.data())
}

func (s *Server) adoptCluster() error {
	if err := os.Rename(s.home.unfinished(), s.home.data()); err != nil {
		return err
	}
	root, err := os.Open(s.home.root)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Sync()
}

// initdb builds a cluster whose text sorts by bytes, the same on every machine and fast.
func (s *Server) initdb(ctx context.Context, ctype string) error {
	dir := s.home.unfinished()
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), s.account.own(dir)); err != nil {
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
	return strings.TrimSpace(string(bytes.TrimSpace(version))), nil
}
