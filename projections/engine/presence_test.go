package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/projections/engine"
)

// TestAPresenceEndsWithItsWork has the work end in each way that there is: then the process is none of the nodes, and nothing
// keeps its pool from closing.
func TestAPresenceEndsWithItsWork(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	failure := errors.New("the work failed")
	for name, end := range map[string]func(stop context.CancelFunc) error{
		"done":                func(context.CancelFunc) error { return nil },
		"failed":              func(context.CancelFunc) error { return failure },
		"its context ended":   func(stop context.CancelFunc) error { stop(); return failure },
		"its goroutine ended": func(context.CancelFunc) error { runtime.Goexit(); return nil },
		"panicked":            func(context.CancelFunc) error { panic(failure) },
	} {
		pool, err := postgres.Connect(t.Context(), l.URL)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var id uuid.UUID
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			defer func() {
				if value := recover(); value != nil && value != failure {
					panic(value)
				}
			}()
			defer pool.Close() // which waits for all that is in use
			err := engine.Present(ctx, pool, func(p *engine.Presence) error {
				id = p.ID()
				if err := p.Renew(ctx); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if !isNode(t, l, id) {
					t.Errorf("%s: the process is none of the nodes while it works", name)
				}
				return end(stop)
			})
			if err != nil && !errors.Is(err, failure) {
				t.Errorf("%s: %v", name, err)
			}
		}()
		select {
		case <-closed:
		case <-time.After(time.Minute):
			t.Fatalf("%s: the pool does not close", name)
		}
		if isNode(t, l, id) {
			t.Errorf("%s: the process is among the nodes still", name)
		}
	}
}

// TestNobodyWaitsForAConnectionForEver takes the one connection that there is. Time jumps where all wait, and a wait without an
// end is a deadlock then.
func TestNobodyWaitsForAConnectionForEver(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	pool, err := postgres.Connect(t.Context(), l.URL, postgres.MaxConns(1))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	runner, err := engine.NewRunner(l.Store, l.Tail, pool, quiet, engine.NewWaiter(pool, quiet), []engine.Projection{each})
	if err != nil {
		t.Fatal(err)
	}
	const renewing, leaving = 10 * time.Second, 5 * time.Second
	for name, c := range map[string]struct {
		work func(ctx context.Context) error
		most time.Duration
	}{
		"a runner's leases": {runner.KeepLeases, renewing},
		"a presence": {func(ctx context.Context) error {
			return engine.Present(ctx, pool, func(p *engine.Presence) error { return p.Renew(ctx) })
		}, renewing + leaving},
		"who reads projections": {func(ctx context.Context) error {
			ctx, stop := context.WithCancelCause(ctx)
			log := slog.New(slog.NewTextHandler(onWrite(func() { stop(context.DeadlineExceeded) }), nil))
			return errors.Join(engine.Attend(ctx, l.Store, pool, log, []engine.Projection{each}), context.Cause(ctx))
		}, renewing + leaving},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if err := c.work(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, want a deadline that was exceeded", name, err)
			}
			if took := time.Since(began); took > c.most {
				t.Errorf("%s: it waited for %s, want %s at most", name, took, c.most)
			}
		})
	}
}

// onWrite is a writer that is told of each write.
type onWrite func()

func (w onWrite) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

func isNode(t *testing.T, l *logtest.Log, id uuid.UUID) (is bool) {
	t.Helper()
	const q = `SELECT EXISTS (SELECT FROM atlas.projection_nodes WHERE id = $1)`
	if err := l.Pool.QueryRow(context.Background(), q, id).Scan(&is); err != nil {
		t.Error(err)
	}
	return is
}
