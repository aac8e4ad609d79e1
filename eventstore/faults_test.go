package eventstore_test

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// await waits until the log's database says yes.
func await(t *testing.T, l *logtest.Log, what, q string, args ...any) {
	t.Helper()
	watchtest.Eventually(t, 30*time.Second, what, func() (yes bool) {
		if err := l.Pool.QueryRow(t.Context(), q, args...).Scan(&yes); err != nil {
			t.Fatalf("waiting until %s: %v", what, err)
		}
		return yes
	})
}

func backend(t *testing.T, tx pgx.Tx) (pid int) {
	t.Helper()
	if err := tx.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// signal sends a signal to a process of the tests' own server.
func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

func watch(t *testing.T, l *logtest.Log, maxAge time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- eventstore.NewWatchdog(l.Store, maxAge, slog.New(slog.DiscardHandler)).Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func archive(s eventstore.Stream) eventstore.Write {
	return eventstore.Write{Stream: s, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}}}
}

// requireHeldBack says that the horizon lies below a position, which an open append has drawn.
func requireHeldBack(t *testing.T, l *logtest.Log, position int64) {
	t.Helper()
	if h := horizon(t, l); h >= position {
		t.Fatalf("the horizon %d reaches %d, which an open append holds", h, position)
	}
}

func TestAStoppedWriterMakesReadersWaitAndMissNothing(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	tx, slow := openAppend(t, l, newStream())
	pid := backend(t, tx)
	signal(t, pid, syscall.SIGSTOP)
	defer syscall.Kill(pid, syscall.SIGCONT)
	committed := make(chan error, 1)
	go func() { committed <- tx.Commit(t.Context()) }()
	fast := mustAppend(t, l, archive(newStream())).Position()
	requireHeldBack(t, l, slow)
	signal(t, pid, syscall.SIGCONT)
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	got := follow(t, l.Tail.From(0, eventstore.Filter{}), 2)
	if got[0].Position != slow || got[1].Position != fast {
		t.Errorf("read %d and %d, want %d and %d", got[0].Position, got[1].Position, slow, fast)
	}
}

func TestTheWatchdogEndsAnAppendThatIsOpenForTooLong(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	tx, slow := openAppend(t, l, newStream())
	fast := mustAppend(t, l, archive(newStream())).Position()
	requireHeldBack(t, l, slow)
	if age, err := l.Store.OldestAppend(t.Context()); err != nil || age <= 0 {
		t.Errorf("the oldest append is %s old (%v), want more than nothing", age, err)
	}
	watch(t, l, time.Millisecond)
	if got := follow(t, l.Tail.From(0, eventstore.Filter{}), 1); got[0].Position != fast {
		t.Errorf("read %d, want %d", got[0].Position, fast)
	}
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("the append that was ended could commit")
	}
	if age, err := l.Store.OldestAppend(t.Context()); err != nil || age != 0 {
		t.Errorf("the oldest append is %s old (%v), want none", age, err)
	}
}

// TestAFrozenWriterThatTheWatchdogEndedCommitsNothing freezes a backend, which then cannot be ended either: it holds its
// fence until it thaws, and is gone before it commits.
func TestAFrozenWriterThatTheWatchdogEndedCommitsNothing(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := newStream()
	tx, slow := openAppend(t, l, stream)
	pid := backend(t, tx)
	signal(t, pid, syscall.SIGSTOP)
	defer syscall.Kill(pid, syscall.SIGCONT)
	fast := mustAppend(t, l, archive(newStream())).Position()
	watch(t, l, time.Millisecond)
	await(t, l, "the watchdog has looked", `SELECT count(*) > 0 FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE '%pg_terminate_backend(pid)%' AND pid <> pg_backend_pid() AND state = 'idle'`)
	requireHeldBack(t, l, slow)
	signal(t, pid, syscall.SIGCONT)
	if got := follow(t, l.Tail.From(0, eventstore.Filter{}), 1); got[0].Position != fast {
		t.Errorf("read %d, want %d", got[0].Position, fast)
	}
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("the append that was ended could commit")
	}
	if got := mustLoad(t, l, stream); len(got) != 0 {
		t.Errorf("the stream holds %d events of an append that never committed", len(got))
	}
}

func TestAKilledWriterLeavesNothingAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := newStream()
	tx, slow := openAppend(t, l, stream)
	fast := mustAppend(t, l, archive(newStream())).Position()
	requireHeldBack(t, l, slow)
	if _, err := l.Pool.Exec(t.Context(), `SELECT pg_terminate_backend($1, 10000)`, backend(t, tx)); err != nil {
		t.Fatal(err)
	}
	if h := horizon(t, l); h < fast {
		t.Errorf("the horizon is %d, want at least %d", h, fast)
	}
	if o := mustAppend(t, l, archive(stream)); o.Streams[0].Version != 1 {
		t.Errorf("the stream is at version %d, want 1", o.Streams[0].Version)
	}
}

// TestACommitThatTakesLongMakesReadersWait holds an append inside its COMMIT, past its last statement.
func TestACommitThatTakesLongMakesReadersWait(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	const slowCommit = `
		CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(1, 1) WHERE current_setting('hold.me', true) = 'yes';
			RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON atlas.events DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION hold()`
	if _, err := l.Pool.Exec(t.Context(), slowCommit); err != nil {
		t.Fatal(err)
	}
	gate, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Rollback(context.Background())
	if _, err := gate.Exec(t.Context(), `SELECT pg_advisory_xact_lock(1, 1)`); err != nil {
		t.Fatal(err)
	}
	tx, slow := openAppend(t, l, newStream())
	if _, err := tx.Exec(t.Context(), `SET LOCAL hold.me = 'yes'`); err != nil {
		t.Fatal(err)
	}
	committed := make(chan error, 1)
	go func() { committed <- tx.Commit(t.Context()) }()
	awaitWaiting(t, l)
	fast := mustAppend(t, l, archive(newStream())).Position()
	requireHeldBack(t, l, slow)
	if err := gate.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	got := follow(t, l.Tail.From(0, eventstore.Filter{}), 2)
	if got[0].Position != slow || got[1].Position != fast {
		t.Errorf("read %d and %d, want %d and %d", got[0].Position, got[1].Position, slow, fast)
	}
}

// TestWritersOutsideTheLogDelayNobody leaves transactions open that have written: one in another log on the same server,
// its fence held, and one in the log's own database.
func TestWritersOutsideTheLogDelayNobody(t *testing.T) {
	t.Parallel()
	l, other := logtest.New(t), logtest.New(t)
	openAppend(t, other, newStream())
	here, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer here.Rollback(context.Background())
	if _, err := here.Exec(t.Context(), `CREATE TABLE elsewhere AS SELECT pg_current_xact_id() AS x`); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		at := mustAppend(t, l, archive(newStream())).Position()
		if h := horizon(t, l); h != at {
			t.Errorf("the horizon is %d, want %d", h, at)
		}
	}
}

func TestBurnedPositionsAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	if _, err := l.Pool.Exec(t.Context(), `SELECT nextval('atlas.events_position') FROM generate_series(1, 1000)`); err != nil {
		t.Fatal(err)
	}
	at := mustAppend(t, l, archive(newStream())).Position()
	if at <= 1000 {
		t.Fatalf("the event lies at %d, want above 1000", at)
	}
	if got := follow(t, l.Tail.From(0, eventstore.Filter{}), 1); got[0].Position != at {
		t.Errorf("read %d, want %d", got[0].Position, at)
	}
}

// TestAnAppendLeftIdleIsEndedByTheServer shortens the ten seconds that the server gives.
func TestAnAppendLeftIdleIsEndedByTheServer(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	tx, _ := openAppend(t, l, newStream())
	shows(t, tx, "15s", "10s")
	if _, err := tx.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = '500ms'`); err != nil {
		t.Fatal(err)
	}
	fast := mustAppend(t, l, archive(newStream())).Position()
	if got := follow(t, l.Tail.From(0, eventstore.Filter{}), 1); got[0].Position != fast {
		t.Errorf("read %d, want %d", got[0].Position, fast)
	}
	if err := tx.Commit(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("committing what was left idle: got %v, want that it was ended", err)
	}
}
