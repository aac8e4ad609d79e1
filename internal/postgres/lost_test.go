package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestOnlyALostConnectionIsOne(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"57P01": true, "57P02": true, "57P03": true, "08006": true, "08P01": true, "53300": true, "25006": true,
		"23505": false, "40001": false, "28P01": false, "3D000": false, "57014": false,
	} {
		err := fmt.Errorf("append: %w", &pgconn.PgError{Code: code})
		if got := postgres.IsConnectionLost(err); got != want {
			t.Errorf("%s: got %t, want %t", code, got, want)
		}
	}
	if postgres.IsConnectionLost(nil) {
		t.Error("no error is a lost connection")
	}
}

func TestTerminatedSessionIsALostConnection(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.NewPool(t)
	conn, err := pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := pool.Exec(ctx, "SELECT pg_terminate_backend($1)", conn.Conn().PgConn().PID()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "SELECT 1"); !postgres.IsConnectionLost(err) {
		t.Errorf("first use: got %v, want a lost connection", err)
	}
	if _, err := conn.Exec(ctx, "SELECT 1"); !postgres.IsConnectionLost(err) {
		t.Errorf("second use: got %v, want a lost connection", err)
	}
}

func TestUnreachableServerIsALostConnection(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://127.0.0.1:1/atlas", "postgres:///atlas?host=/nonexistent"} {
		if err := reach(url); !postgres.IsConnectionLost(err) {
			t.Errorf("%s: got %v, want a lost connection", url, err)
		}
	}
}

func TestCancelledCallIsNoLostConnection(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := pool.Exec(ctx, "SELECT 1"); err == nil || postgres.IsConnectionLost(err) {
		t.Errorf("got %v, want a cancelled call", err)
	}
}
