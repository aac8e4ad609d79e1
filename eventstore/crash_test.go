package eventstore_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func awaitServer(t *testing.T, l *logtest.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := postgres.WaitReady(ctx, l.Pool); err != nil {
		t.Fatal(err)
	}
}

// requireReset reads on until the reader learns that its server was lost.
func requireReset(t *testing.T, r *eventstore.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if b, err := r.Next(ctx, 10); !errors.Is(err, eventstore.ErrTailReset) {
		t.Fatalf("got %v and %v, want ErrTailReset", b, err)
	}
}

func TestAKilledServerLosesNothingThatReadersWouldMiss(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	l := logtest.On(t, server.URL())
	first := mustAppend(t, l, archive(newStream())).Position()
	reader := l.Tail.From(0, eventstore.Filter{})
	follow(t, reader, 1)
	openAppend(t, l, newStream())
	server.Kill()
	requireReset(t, reader)
	server.Restart()
	awaitServer(t, l)
	second := mustAppend(t, l, archive(newStream())).Position()
	if got := follow(t, l.Tail.From(first, eventstore.Filter{}), 1); got[0].Position != second {
		t.Errorf("read %d, want %d", got[0].Position, second)
	}
}

// TestPositionsHandedOutAgainAfterACrashAreRead makes the server forget positions that only rolled-back appends had
// drawn: it crashes before what was drawn is on disk.
func TestPositionsHandedOutAgainAfterACrashAreRead(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	l := logtest.On(t, server.URL())
	seen := mustAppend(t, l, archive(newStream())).Position()
	writers := quietWriters(t, l)
	reader := l.Tail.From(0, eventstore.Filter{})
	follow(t, reader, 1)
	burned := burn(t, l)
	if h := horizon(t, l); h < burned {
		t.Fatalf("the horizon %d waits for the rolled-back position %d", h, burned)
	}
	idle := l.Tail.From(seen, eventstore.Filter{})
	for _, pid := range writers {
		signal(t, pid, syscall.SIGKILL) // and with them the server, which starts over
	}
	requireReset(t, idle)
	awaitServer(t, l)
	again := mustAppend(t, l, archive(newStream())).Position()
	if again > burned {
		t.Fatalf("the server did not forget: it drew %d after %d", again, burned)
	}
	if got := follow(t, l.Tail.From(seen, eventstore.Filter{}), 1); got[0].Position != again {
		t.Errorf("read %d, want %d", got[0].Position, again)
	}
}

// quietWriters stops what writes to disk in the background, once all that was committed is there.
func quietWriters(t *testing.T, l *logtest.Log) (pids []int) {
	t.Helper()
	if _, err := l.Pool.Exec(t.Context(), `CHECKPOINT`); err != nil {
		t.Fatal(err)
	}
	rows, err := l.Pool.Query(t.Context(), `SELECT pid FROM pg_stat_activity WHERE backend_type IN ('walwriter', 'background writer')`)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err = pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || len(pids) != 2 {
		t.Fatalf("found %v (%v), want two processes", pids, err)
	}
	for _, pid := range pids {
		signal(t, pid, syscall.SIGSTOP)
		t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	}
	return pids
}

// burn rolls back appends and returns the highest position they drew.
func burn(t *testing.T, l *logtest.Log) (position int64) {
	t.Helper()
	for range 3 {
		var tx pgx.Tx
		tx, position = openAppend(t, l, newStream())
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return position
}

// TestAPreparedAppendHoldsReadersBackAcrossARestart prepares an append for two-phase commit and kills the server.
func TestAPreparedAppendHoldsReadersBackAcrossARestart(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	l := logtest.On(t, server.URL())
	if _, err := l.Pool.Exec(t.Context(), `ALTER SYSTEM SET max_prepared_transactions = 5`); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	awaitServer(t, l)
	tx, slow := openAppend(t, l, newStream())
	if _, err := tx.Exec(t.Context(), `PREPARE TRANSACTION 'slow'`); err != nil {
		t.Fatal(err)
	}
	fast := mustAppend(t, l, archive(newStream())).Position()
	requireHeldBack(t, l, slow)
	server.Kill()
	server.Restart()
	awaitServer(t, l)
	requireHeldBack(t, l, slow)
	watch(t, l, time.Millisecond)
	if age, err := l.Store.OldestAppend(t.Context()); err != nil || age <= 0 {
		t.Errorf("the oldest append is %s old (%v), want more than nothing", age, err)
	}
	if _, err := l.Pool.Exec(t.Context(), `COMMIT PREPARED 'slow'`); err != nil {
		t.Fatal(err)
	}
	got := follow(t, l.Tail.From(0, eventstore.Filter{}), 2)
	if got[0].Position != slow || got[1].Position != fast {
		t.Errorf("read %d and %d, want %d and %d", got[0].Position, got[1].Position, slow, fast)
	}
}
