package chain

import (
	"context"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the tables of the chain. They come after the log's.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "chain", FS: sub, Grants: grants}
}

// firstReason is why the first chain of a log begins.
const firstReason = "first start; what the log held then is vouched for as it was found"

// lockKey is the advisory lock of those who lengthen the chain ("atlchain" in ASCII).
const lockKey int64 = 0x61746c636861696e

// link is where a chain begins: its row in atlas.chains.
type link struct {
	number    int64
	id        uuid.UUID
	after     int64
	previous  []byte
	startedAt int64
	reason    string
}

// genesis is what the first block of the chain follows. It binds why the chain began, and what was sealed before.
func (l link) genesis() []byte {
	b := append([]byte("atlas chain 1\x00"), l.id[:]...)
	b = appendInt(appendInt(appendInt(b, l.number), l.after), l.startedAt)
	b = appendField(b, append([]byte{}, l.previous...))
	b = appendField(b, []byte(l.reason))
	sum := sha256.Sum256(b)
	return sum[:]
}

// links returns all chains, oldest first.
func links(ctx context.Context, q querier) ([]link, error) {
	const sql = `SELECT number, id, after_position, previous, timestamptz_send(started_at), reason FROM atlas.chains ORDER BY number`
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read chains: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l link, err error) {
		var at []byte
		err = row.Scan(&l.number, &l.id, &l.after, &l.previous, &at, &l.reason)
		if err == nil {
			l.startedAt, err = parseMicros(at)
		}
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("read chains: %w", err)
	}
	return all, nil
}

// Start begins a new chain, for the reason given: everything that is not sealed yet, and all that comes, belongs to it.
// Whoever imports events or restores a backup calls it, so that the break is on record. It waits for a sealer at work.
func Start(ctx context.Context, pool *pgxpool.Pool, reason string) (id uuid.UUID, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) (err error) {
		id, err = StartIn(ctx, tx, reason)
		return err
	})
	if err != nil {
		return uuid.Nil, fmt.Errorf("start a chain: %w", err)
	}
	return id, nil
}

// StartIn is Start in a transaction of the caller's, which must be READ COMMITTED: until it ends, nothing is sealed.
func StartIn(ctx context.Context, tx pgx.Tx, reason string) (uuid.UUID, error) {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockKey); err != nil {
		return uuid.Nil, fmt.Errorf("wait for the sealer: %w", err)
	}
	return start(ctx, tx, reason)
}

// start adds a chain. The transaction holds the lock.
func start(ctx context.Context, tx pgx.Tx, reason string) (uuid.UUID, error) {
	id := uuid.Must(uuid.NewV7())
	_, err := tx.Exec(ctx, `SELECT atlas.start_chain($1, $2)`, id, reason)
	return id, err
}
