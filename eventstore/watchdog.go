package eventstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// watchInterval is how often the watchdog looks.
const watchInterval = time.Second

// openAppends are the transactions that hold readers back: whoever holds a fence in this database, and since when its
// transaction has been open. A prepared transaction has no process.
const openAppends = `
	WITH fences AS (
		SELECT l.pid, l.virtualtransaction
		FROM pg_locks l
		WHERE l.locktype = 'advisory'
			AND l.objsubid = 1
			AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
			AND l.classid::bigint >> 16 = 16724 -- the fences; see atlas.lock_key
	)
	SELECT DISTINCT coalesce(f.pid, 0) AS pid, coalesce(p.gid, '') AS prepared, coalesce(a.state, '') AS state,
		greatest(clock_timestamp() - coalesce(a.xact_start, p.prepared), interval '0') AS age
	FROM fences f
	LEFT JOIN pg_stat_activity a ON a.pid = f.pid
	LEFT JOIN pg_prepared_xacts p ON f.pid IS NULL AND f.virtualtransaction = '-1/' || p.transaction
	WHERE coalesce(a.xact_start, p.prepared) IS NOT NULL`

// OldestAppend returns how long the oldest append that is still open has been; zero where none is. Readers of the log are
// behind by no more than that.
func (s *Store) OldestAppend(ctx context.Context) (age time.Duration, err error) {
	const q = `SELECT coalesce(max(age), interval '0') FROM (` + openAppends + `) o`
	err = s.retry(ctx, s.pool, func() error { return s.pool.QueryRow(ctx, q).Scan(&age) })
	if err != nil {
		return 0, fmt.Errorf("read open appends: %w", err)
	}
	return age, nil
}

// Watchdog bounds how long an append may hold readers back: it ends the sessions of those that have been open for too
// long. What it ends is rolled back, and its caller is told that the connection was lost.
//
// Every node may run one. It needs the right to end the sessions of those who append, which the same role has. A
// prepared transaction is only reported, since somebody promised to resolve it; so is a process that the operating
// system has frozen, which ends when it thaws, before it does anything else.
type Watchdog struct {
	store  *Store
	maxAge time.Duration
	log    *slog.Logger
}

// NewWatchdog returns a watchdog that allows appends to be open for maxAge. That must be well beyond what an append
// takes at worst, which is 15 seconds, its waits included.
func NewWatchdog(store *Store, maxAge time.Duration, log *slog.Logger) *Watchdog {
	return &Watchdog{store: store, maxAge: maxAge, log: log}
}

// Run watches until ctx ends. It survives the loss of the server.
func (w *Watchdog) Run(ctx context.Context) error {
	for wait.For(ctx, watchInterval) {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.log.Debug("open appends not watched", "error", err)
		}
	}
	return nil
}

// look ends whoever is over age.
func (w *Watchdog) look(ctx context.Context) error {
	const q = `
		SELECT pid, prepared, state, age, CASE WHEN pid > 0 THEN pg_terminate_backend(pid) ELSE false END
		FROM (` + openAppends + `) o
		WHERE age > $1::interval`
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rows, err := w.store.pool.Query(ctx, q, w.maxAge)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var pid int
		var prepared, state string
		var age time.Duration
		var ended bool
		if err := rows.Scan(&pid, &prepared, &state, &age, &ended); err != nil {
			return err
		}
		if prepared != "" {
			w.log.Error("a prepared transaction holds back the readers of the log; commit it or roll it back", "gid", prepared, "age", age)
			continue
		}
		w.log.Error("an append held back the readers of the log for too long", "pid", pid, "state", state, "age", age, "ended", ended)
	}
	return rows.Err()
}
