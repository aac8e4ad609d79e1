package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestEverySessionIsSetUpAlike(t *testing.T) {
	t.Parallel()
	pool := connect(t, pgtest.NewDatabase(t))
	want := map[string]string{
		"application_name": "atlas", "TimeZone": "UTC", "default_transaction_isolation": "read committed",
	}
	got := map[string]string{}
	for name := range want {
		got[name] = text(t, pool, "SELECT current_setting('"+name+"')")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestURLMayNameTheApplication(t *testing.T) {
	t.Parallel()
	pool := connect(t, pgtest.NewDatabase(t)+"&application_name=mine")
	if got := text(t, pool, "SHOW application_name"); got != "mine" {
		t.Errorf("got application_name %s, want mine", got)
	}
}

func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	pool := connect(t, pgtest.NewDatabase(t)+"&pool_max_conns=9", postgres.MaxConns(3))
	if got := pool.Config().MaxConns; got != 3 {
		t.Errorf("got at most %d connections, want 3", got)
	}
}

func TestErrorsHideThePassword(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"postgres://ann:s3cret@127.0.0.1:1/atlas?connect_timeout=2",
		"postgres://ann:s3cret@127.0.0.1:99999999/atlas",
		"postgres://ann:s3cret#@127.0.0.1/atlas",
		"postgres://ann:12/s3cret@127.0.0.1/atlas",
		"postgres://ann:%s3cret@127.0.0.1/atlas",
		"postgres://ann:s3cret@127.0.0.1/atlas?pool_max_conns=many",
		"postgres://ann:s3cret@127.0.0.1/atlas?sslmode=maybe",
		"password=s3cret host=127.0.0.1 port=none",
	} {
		err := reach(bad)
		if err == nil {
			t.Errorf("%s was reached", bad)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error for %s holds the password: %v", bad, err)
		}
		if err := postgres.Migrate(context.Background(), bad); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the migration's error for %s holds the password, or is none: %v", bad, err)
		}
	}
}

func reach(url string) error {
	ctx := context.Background()
	pool, err := postgres.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	return pool.Ping(ctx)
}

func TestWaitReadyWaitsForTheServer(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	pool := connect(t, server.URL())
	server.Stop()

	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := postgres.WaitReady(ctx, pool); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a server: got %v, want the deadline", err)
	}
	ready := make(chan error, 1)
	go func() { ready <- postgres.WaitReady(context.Background(), pool) }()
	server.Restart()
	if err := <-ready; err != nil {
		t.Error(err)
	}
}

func TestWaitReadyDoesNotWaitForWhatWaitingWillNotMend(t *testing.T) {
	t.Parallel()
	missing, err := url.Parse(pgtest.NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	missing.Path = "/nowhere"
	pool := connect(t, missing.String())
	if err := postgres.WaitReady(context.Background(), pool); err == nil || !strings.Contains(err.Error(), "3D000") {
		t.Errorf("got %v, want that the database does not exist", err)
	}
}

func connect(t *testing.T, url string, opts ...postgres.Option) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Connect(context.Background(), url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func text(t *testing.T, pool *pgxpool.Pool, q string) (text string) {
	t.Helper()
	if err := pool.QueryRow(context.Background(), q).Scan(&text); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return text
}

func TestTimesAreInUTCWhateverTheMachinesZone(t *testing.T) {
	pool := pgtest.NewPool(t)
	var at time.Time
	if err := pool.QueryRow(t.Context(), `SELECT timestamptz '2026-11-22 12:00:00+05:45'`).Scan(&at); err != nil {
		t.Fatal(err)
	}
	if at.Location() != time.UTC || at.Hour() != 6 {
		t.Errorf("got %s, want 06:15 in UTC", at)
	}
}
