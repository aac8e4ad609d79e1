package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

const (
	keyUseEvery   = 10 * time.Second // how often uses are written, however many there were
	keyUseTimeout = 5 * time.Second  // of one write
)

// KeyUses remembers when each API key was last used. Uses are gathered in memory and written together every ten seconds,
// in one statement: a key that is used a thousand times a second costs one row then. A process that is killed
// forgets those that it had not written yet. It is safe for concurrent use.
type KeyUses struct {
	db    *pgxpool.Pool
	clock func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	pending map[uuid.UUID]time.Time
}

// NewKeyUses returns the memory over atlas.api_key_uses.
func NewKeyUses(db *pgxpool.Pool, clock func() time.Time, log *slog.Logger) *KeyUses {
	return &KeyUses{db: db, clock: clock, log: log, pending: map[uuid.UUID]time.Time{}}
}

// Used says that the key is used now. It does not wait for anything.
func (u *KeyUses) Used(key uuid.UUID) {
	now := u.clock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.After(u.pending[key]) {
		u.pending[key] = now
	}
}

// Run writes what was gathered, until ctx ends, and then once more.
func (u *KeyUses) Run(ctx context.Context) error {
	tick := time.NewTicker(keyUseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			u.write(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
			u.write(ctx)
		}
	}
}

// write tries; what it cannot write is kept for the next time, which is bounded by the number of keys.
func (u *KeyUses) write(ctx context.Context) {
	if err := u.Flush(ctx); err != nil && ctx.Err() == nil {
		u.log.Warn("the last uses of API keys cannot be written", "error", err)
	}
}

// Flush writes what was gathered so far.
func (u *KeyUses) Flush(ctx context.Context) error {
	u.mu.Lock()
	taken := u.pending
	u.pending = map[uuid.UUID]time.Time{}
	u.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keyUseTimeout)
	defer cancel()
	var keys []uuid.UUID
	var times []time.Time
	for key, at := range taken {
		keys, times = append(keys, key), append(times, at)
	}
	// Rows are taken in one order, so that two nodes cannot wait for each other.
	const q = `
		INSERT INTO atlas.api_key_uses AS u (key_id, used_at)
		SELECT key_id, used_at
		FROM unnest($1::uuid[], $2::timestamptz[]) AS t (key_id, used_at)
		ORDER BY key_id
		ON CONFLICT (key_id) DO UPDATE SET used_at = greatest(u.used_at, excluded.used_at)`
	if _, err := u.db.Exec(ctx, q, keys, times); err != nil {
		u.keep(taken)
		return fmt.Errorf("write the last uses of %d API keys: %w", len(keys), err)
	}
	return nil
}

func (u *KeyUses) keep(taken map[uuid.UUID]time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, at := range taken {
		if at.After(u.pending[key]) {
			u.pending[key] = at
		}
	}
}

// LastUses returns when these keys were last used, as far as that is written: ten seconds late at most. Keys that never
// were are not in it.
func (u *KeyUses) LastUses(ctx context.Context, keys []uuid.UUID) (map[uuid.UUID]time.Time, error) {
	const q = `SELECT key_id, used_at FROM atlas.api_key_uses WHERE key_id = ANY ($1)`
	rows, err := u.db.Query(ctx, q, keys)
	if err != nil {
		return nil, usesFault(err)
	}
	last := map[uuid.UUID]time.Time{}
	var key uuid.UUID
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&key, &at}, func() error {
		last[key] = at.UTC()
		return nil
	})
	return last, usesFault(err)
}

func usesFault(err error) error {
	switch {
	case err == nil:
		return nil
	case postgres.IsConnectionLost(err):
		return fmt.Errorf("read the last uses of API keys: %w (%w)", fault.ErrUnavailable, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	}
	return fmt.Errorf("read the last uses of API keys: %w", err)
}
