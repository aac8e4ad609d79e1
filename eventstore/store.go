package eventstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/postgres"
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the log's tables and functions, one object per file.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "eventstore", FS: sub, Grants: grants}
}

// Store is the log. It is safe for concurrent use.
type Store struct {
	pool       *pgxpool.Pool
	vocabulary *events.Vocabulary
	sealer     Sealer
	announce   func() // called after an append is committed
	lanes      *lanes
}

// New returns the log in the pool's database, which must be migrated. The vocabulary says which events it may hold; the
// sealer guards their personal fields.
func New(pool *pgxpool.Pool, vocabulary *events.Vocabulary, sealer Sealer) *Store {
	s := &Store{pool: pool, vocabulary: vocabulary, sealer: sealer, announce: func() {}}
	s.lanes = newLanes(s)
	return s
}

// Vocabulary returns the event types the log may hold.
func (s *Store) Vocabulary() *events.Vocabulary { return s.vocabulary }

// Names lists the types of events that the log may hold, and the categories of the streams that hold them, each sorted.
func (s *Store) Names() (types, categories []string) {
	return s.vocabulary.Names(), s.vocabulary.Categories()
}

// querier is what reading needs of a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

type txLike interface {
	querier
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// inTx runs f in a READ COMMITTED transaction.
func (s *Store) inTx(ctx context.Context, f func(txLike) error) error {
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return f(tx) })
}

// queryMaybe scans the first row, if there is one.
func queryMaybe(ctx context.Context, q querier, sql string, args []any, into ...any) (found bool, err error) {
	err = q.QueryRow(ctx, sql, args...).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// unavailable marks a lost connection as ErrUnavailable and leaves other errors alone.
func unavailable(err error) error {
	if err != nil && postgres.IsConnectionLost(err) {
		return fmt.Errorf("%w (%w)", ErrUnavailable, err)
	}
	return err
}

// newID returns a UUIDv7, so that ids made later sort later.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
