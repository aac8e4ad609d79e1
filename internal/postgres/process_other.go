//go:build !linux

package postgres

import (
	"context"
	"os/exec"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// dieWithParent does nothing here: a server that outlives Atlas is stopped by the next Start.
func dieWithParent(*exec.Cmd, syscall.Signal) {}

// isPostmaster says whether a server of this data directory lives: only one that does answers in its socket directory.
func (s *Server) isPostmaster(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return answered(err)
	}
	conn.Close(ctx)
	return true
}

// orphans cannot be told here: PostgreSQL refuses to start while there are any, and the start is tried again.
func orphans(string) []int { return nil }
