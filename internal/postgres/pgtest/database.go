package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// NewDatabase returns the URL of a fresh database that has the sets migrated, in the order given. It belongs to this
// test alone and is dropped when the test ends.
func NewDatabase(t testing.TB, sets ...postgres.MigrationSet) string {
	t.Helper()
	server, err := shared.start()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	source, err := shared.template(server.URL(), sets)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	name := shared.nextName("test")
	if err := run(server.URL(), "CREATE DATABASE "+name+" TEMPLATE "+source+" STRATEGY file_copy"); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := run(server.URL(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return in(server.URL(), name)
}

// NewPool returns a pool on a fresh database like that of NewDatabase, closed when the test ends.
func NewPool(t testing.TB, sets ...postgres.MigrationSet) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Connect(context.Background(), NewDatabase(t, sets...))
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// run executes one statement on a connection of its own.
func run(url, statement string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// in is the same server's other database.
func in(server, database string) string {
	u, err := url.Parse(server)
	if err != nil {
		panic(err) // Server.URL made it
	}
	u.Path = "/" + database
	return u.String()
}
