package engine_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
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

func isNode(t *testing.T, l *logtest.Log, id uuid.UUID) (is bool) {
	t.Helper()
	const q = `SELECT EXISTS (SELECT FROM atlas.projection_nodes WHERE id = $1)`
	if err := l.Pool.QueryRow(context.Background(), q, id).Scan(&is); err != nil {
		t.Error(err)
	}
	return is
}
