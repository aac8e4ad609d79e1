package eventstore_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// TestALostTryThatWasCarriedOutIsNotALostRace cuts an append's connection while the server works on it, in a way that
// the server does not notice: the first try is carried out all the same, while the second waits for the same stream.
func TestALostTryThatWasCarriedOutIsNotALostRace(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := logtest.New(t)
	wire := &cuttable{}
	pool, err := postgres.Connect(ctx, l.URL, postgres.MaxConns(4), wire.install)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	store := eventstore.New(pool, logtest.Vocabulary(t), l.Keys)
	stream := newStream()
	mustAppend(t, l, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{created("x")}})

	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, `SELECT FROM atlas.streams WHERE stream = $1 FOR UPDATE`, stream.String()); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		outcome eventstore.Outcome
		err     error
	}
	done := make(chan answer, 1)
	go func() {
		o, err := store.Append(ctx, eventstore.Write{Stream: stream, Expect: 1, Events: []events.Event{events.DocumentArchived{}}})
		done <- answer{o, err}
	}()
	awaitWaiters(t, l, tx, 1)
	wire.cut()
	awaitWaiters(t, l, tx, 2)
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	a := <-done
	if a.err != nil || a.outcome.Streams[0].Version != 2 {
		t.Errorf("got %+v, %v; want version 2", a.outcome, a.err)
	}
	if got := mustLoad(t, l, stream); len(got) != 2 {
		t.Errorf("%d events, want 2: the append was to be carried out once", len(got))
	}
}

// awaitWaiters waits until n connections wait for what the transaction has locked.
func awaitWaiters(t *testing.T, l *logtest.Log, _ pgx.Tx, n int) {
	t.Helper()
	const q = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for waiting := 0; waiting < n; {
		if err := l.Pool.QueryRow(ctx, q).Scan(&waiting); err != nil {
			t.Fatalf("not %d wait for a lock: %v", n, err)
		}
	}
}

// cuttable dials connections that can be cut on this side alone: without a word to the server, and without a request to
// cancel what it is doing.
type cuttable struct {
	mu     sync.Mutex
	conns  []net.Conn
	refuse int // so many dials fail: the request to cancel is among them
}

func (c *cuttable) install(cfg *pgxpool.Config) {
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c.mu.Lock()
		c.refuse--
		refused := c.refuse >= 0
		c.mu.Unlock()
		if refused {
			return nil, &net.OpError{Op: "dial", Err: net.UnknownNetworkError("cut")}
		}
		conn, err := dial(ctx, network, addr)
		if err == nil {
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
		}
		return conn, err
	}
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.refuse = 3
}
