package logtest

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// Log is a log in a database of its own.
type Log struct {
	URL   string
	Pool  *pgxpool.Pool
	Keys  *sealing.Keys
	Store *eventstore.Store
	Waker *eventstore.Waker // running
	Tail  *eventstore.Tail  // running

	master *sealing.Master
	traced *tracer
}

// Trace has a function told of every statement that is begun from now on, with the context it is begun with. What
// appends in groups has a context of its own.
func (l *Log) Trace(f func(ctx context.Context, sql string)) { l.traced.f.Store(&f) }

// TraceBatches has a function told of all statements that are sent together, each time some are.
func (l *Log) TraceBatches(f func(sql []string)) { l.traced.batches.Store(&f) }

// tracer tells functions of statements.
type tracer struct {
	f       atomic.Pointer[func(context.Context, string)]
	batches atomic.Pointer[func([]string)]
}

// TraceBatchStart implements pgx.BatchTracer.
func (t *tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, b pgx.TraceBatchStartData) context.Context {
	if f := t.batches.Load(); f != nil {
		var all []string
		for _, q := range b.Batch.QueuedQueries {
			all = append(all, q.SQL)
		}
		(*f)(all)
	}
	return ctx
}

// TraceBatchQuery implements pgx.BatchTracer.
func (*tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (*tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceQueryStart implements pgx.QueryTracer.
func (t *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if f := t.f.Load(); f != nil {
		(*f)(ctx, q.SQL)
	}
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (*tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// New returns an empty log with the vocabulary of Atlas. Further migrations are applied after the log's.
func New(t testing.TB, more ...postgres.MigrationSet) *Log {
	t.Helper()
	return NewWith(t, sealing.GenerateMaster(), more...)
}

// NewWith is New with a master key of the caller's, for tests that let another process read what is sealed.
func NewWith(t testing.TB, key string, more ...postgres.MigrationSet) *Log {
	t.Helper()
	master, err := sealing.ParseMaster(key)
	if err != nil {
		t.Fatal(err)
	}
	sets := append([]postgres.MigrationSet{eventstore.Migrations(), sealing.Migrations()}, more...)
	return open(t, pgtest.NewDatabase(t, sets...), master)
}

// On returns an empty log in a database of the caller's, such as one on a server of the test's own. Further migrations
// are applied after the log's.
func On(t testing.TB, url string, more ...postgres.MigrationSet) *Log {
	t.Helper()
	master, err := sealing.ParseMaster(sealing.GenerateMaster())
	if err != nil {
		t.Fatal(err)
	}
	sets := append([]postgres.MigrationSet{eventstore.Migrations(), sealing.Migrations()}, more...)
	if err := postgres.Migrate(context.Background(), url, sets...); err != nil {
		t.Fatal(err)
	}
	return open(t, url, master)
}

// NodeAt returns a node with the same keys on a copy of the log, or on another way to it.
func (l *Log) NodeAt(t testing.TB, url string) *Log {
	t.Helper()
	return open(t, url, l.master)
}

// Node returns another node on the same database, with connections, keys and a tail of its own.
func (l *Log) Node(t testing.TB) *Log {
	t.Helper()
	return open(t, l.URL, l.master)
}

func open(t testing.TB, url string, master *sealing.Master) *Log {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	traced := &tracer{}
	pool, err := postgres.Connect(ctx, url, postgres.Tracer(traced))
	if err != nil {
		t.Fatal(err)
	}
	keyPool, err := postgres.Connect(ctx, url, postgres.MaxConns(4), postgres.Tracer(traced)) // as a process has it
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sealing.New(ctx, keyPool, master)
	if err != nil {
		t.Fatal(err)
	}
	store := eventstore.New(pool, Vocabulary(t), keys)
	waker := eventstore.NewWaker(store, slog.New(slog.DiscardHandler))
	tail := eventstore.NewTail(store, waker, slog.New(slog.DiscardHandler))
	done := make(chan error, 2)
	go func() { done <- waker.Run(ctx) }()
	go func() { done <- tail.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
		pool.Close()
		keyPool.Close()
	})
	return &Log{URL: url, Pool: pool, Keys: keys, Store: store, Waker: waker, Tail: tail, master: master, traced: traced}
}

// Vocabulary returns the event types of Atlas.
func Vocabulary(t testing.TB) *events.Vocabulary {
	t.Helper()
	v, err := events.NewVocabulary(events.Catalog()...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
