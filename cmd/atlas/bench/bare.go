package bench

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// newBareTable makes the least that keeps events by stream and version, and returns a pool on it.
func newBareTable(ctx context.Context, url string, clients int) (*pgxpool.Pool, error) {
	const table = `
		CREATE TABLE bare_events (
			position    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			id          uuid        NOT NULL,
			stream      text        NOT NULL,
			version     bigint      NOT NULL,
			type        text        NOT NULL,
			recorded_at timestamptz NOT NULL DEFAULT now(),
			data        jsonb       NOT NULL,
			metadata    jsonb       NOT NULL,
			UNIQUE (stream, version)
		)`
	pool, err := postgres.Connect(ctx, url, postgres.MaxConns(int32(min(clients, 64))))
	if err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, table); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// inserter writes what a writer would append, by one prepared statement.
type inserter func(ctx context.Context, table *pgxpool.Pool, w *writer, events int) error

const bareInsert = `INSERT INTO bare_events (id, stream, version, type, data, metadata) VALUES ($1, $2, $3, $4, $5, $6)`

func insertOne(ctx context.Context, table *pgxpool.Pool, w *writer, _ int) error {
	return insertBy(ctx, table, w, bareInsert)
}

// insertBy writes what a writer would append as one event, by a statement with the parameters of bareInsert.
func insertBy(ctx context.Context, table *pgxpool.Pool, w *writer, sql string) error {
	data, err := encode(newOrder())
	if err != nil {
		return err
	}
	metadata, err := encode(bareMetadata())
	if err != nil {
		return err
	}
	_, err = table.Exec(ctx, sql, uuid.Must(uuid.NewV7()), w.stream.String(), w.version+1, orderType, data, metadata)
	return err
}

func insertMany(ctx context.Context, table *pgxpool.Pool, w *writer, events int) error {
	const q = `
		INSERT INTO bare_events (id, stream, version, type, data, metadata)
		SELECT e.id, $1, e.version, e.type, e.data, $2
		FROM unnest($3::uuid[], $4::bigint[], $5::text[], $6::jsonb[]) AS e (id, version, type, data)`
	ids, versions := make([]uuid.UUID, events), make([]int64, events)
	types, data := make([]string, events), make([]string, events)
	for i := range events {
		ids[i], versions[i], types[i] = uuid.Must(uuid.NewV7()), w.version+int64(i+1), orderType
		var err error
		if data[i], err = encode(newOrder()); err != nil {
			return err
		}
	}
	metadata, err := encode(bareMetadata())
	if err != nil {
		return err
	}
	_, err = table.Exec(ctx, q, w.stream.String(), metadata, ids, versions, types, data)
	return err
}

// stored is what the log stores of an event's metadata.
type stored struct {
	Actor         uuid.UUID `json:"actor"`
	CorrelationID uuid.UUID `json:"correlation_id"`
	CommandID     uuid.UUID `json:"command_id"`
	RequestID     string    `json:"request_id"`
}

func bareMetadata() stored {
	m := newMetadata()
	return stored{m.Actor, m.CorrelationID, uuid.Must(uuid.NewV7()), m.RequestID}
}

func encode(v any) (string, error) {
	raw, err := json.Marshal(v)
	return string(raw), err
}
