package eventstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// awaitWaiting waits until some connection of the database waits for a lock.
func awaitWaiting(t *testing.T, l *logtest.Log) {
	t.Helper()
	const q = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	watchtest.Eventually(t, time.Minute, "somebody waits for a lock", func() bool {
		var waiting int
		if err := l.Pool.QueryRow(context.Background(), q).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		return waiting > 0
	})
}

// openAppend appends in a transaction that stays open.
func openAppend(t *testing.T, l *logtest.Log, stream eventstore.Stream) (pgx.Tx, int64) {
	t.Helper()
	ctx := context.Background()
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(ctx) })
	o, err := l.Store.AppendTx(ctx, tx, eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: []events.Event{created("open")}})
	if err != nil {
		t.Fatal(err)
	}
	return tx, o.Position()
}

func horizon(t *testing.T, l *logtest.Log) int64 {
	t.Helper()
	h, err := l.Store.Horizon(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestTheHorizonStaysBelowAnOpenAppendThatLaterOnesOvertake(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	tx, slow := openAppend(t, l, newStream())
	fast := mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("fast")}}).Position()
	if fast <= slow {
		t.Fatalf("the later append drew %d, the open one %d", fast, slow)
	}
	if h := horizon(t, l); h >= slow {
		t.Fatalf("horizon %d reaches the open append's position %d", h, slow)
	}
	if err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if h := horizon(t, l); h < fast {
		t.Errorf("horizon %d after the commit, want at least %d", h, fast)
	}
}

func TestARolledBackAppendHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	tx, burned := openAppend(t, l, newStream())
	if err := tx.Rollback(context.Background()); err != nil {
		t.Fatal(err)
	}
	if h := horizon(t, l); h < burned {
		t.Errorf("horizon %d, want at least the burned position %d", h, burned)
	}
}

func TestAnOpenTransactionThatAppendsNothingHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx := context.Background()
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, `CREATE TABLE atlas.somebody_elses (x int)`); err != nil {
		t.Fatal(err)
	}
	at := mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}}).Position()
	if h := horizon(t, l); h < at {
		t.Errorf("horizon %d stays below %d behind a transaction that has nothing to do with the log", h, at)
	}
}

func TestAStreamsTwoWritersWaitBeforeTheFence(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := newStream()
	mustAppend(t, l, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{created("x")}})
	tx, first := openAppend(t, l, stream)
	second := make(chan int64, 1)
	go func() {
		o, err := l.Store.Append(context.Background(), eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}}})
		if err != nil {
			t.Error(err)
		}
		second <- o.Position()
	}()
	awaitWaiting(t, l)
	var fences int
	const q = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint >> 16 = 16724
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	if err := l.Pool.QueryRow(context.Background(), q).Scan(&fences); err != nil || fences != 1 {
		t.Errorf("%d fences are held (%v), want only the first writer's", fences, err)
	}
	if err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := <-second; got <= first {
		t.Errorf("the second writer drew %d, not after %d", got, first)
	}
	got := mustLoad(t, l, stream)
	if len(got) != 3 || got[2].Version != 3 || got[2].At.Before(got[1].At) {
		t.Errorf("the stream has versions and times out of order: %v", got)
	}
}

func TestReadersAndWritersRefuseOtherIsolationLevels(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx := context.Background()
	tx, err := l.Pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := l.Store.AppendTx(ctx, tx, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}}); err == nil {
		t.Error("an append under REPEATABLE READ was accepted")
	}
}
