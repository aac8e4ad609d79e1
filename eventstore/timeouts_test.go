package eventstore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

func TestATransactionThatAppendsIsBoundedByTheServer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := logtest.New(t)
	conn, err := l.Pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	write := eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}}
	if _, err := l.Store.AppendTx(ctx, tx, write); err != nil {
		t.Fatal(err)
	}
	shows(t, tx, "15s", "10s")
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	shows(t, conn, "0", "0")
}

// shows holds the session's timeouts against what they ought to be.
func shows(t *testing.T, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, statement, idle string) {
	t.Helper()
	const timeouts = `SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')`
	var gotStatement, gotIdle string
	if err := q.QueryRow(context.Background(), timeouts).Scan(&gotStatement, &gotIdle); err != nil {
		t.Fatal(err)
	}
	if gotStatement != statement || gotIdle != idle {
		t.Errorf("statements end after %s and idle transactions after %s, want %s and %s", gotStatement, gotIdle, statement, idle)
	}
}

// TestAnAppendFindsItsWayToANewPrimary appends to a server that only reads, as one does that was the primary, until it
// takes writes again.
func TestAnAppendFindsItsWayToANewPrimary(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := logtest.New(t)
	write := eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{events.DocumentArchived{}}}
	exec1(t, l, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	node := l.Node(t)
	if _, err := node.Store.Append(ctx, write); !errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("got %v, want ErrUnavailable: nothing was written", err)
	}
	exec1(t, l, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$`)
	if _, err := node.Store.Append(ctx, write); err != nil {
		t.Errorf("once it takes writes: %v", err)
	}
}
