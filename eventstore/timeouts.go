package eventstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// setTimeouts bounds what is left of a transaction that appends, on the server's side: from the fence on readers wait for
// it, and whoever began it may hang or vanish. How long it may wait for a stream is bounded by atlas.append itself.
const setTimeouts = `SELECT set_config('statement_timeout', '15s', true), set_config('idle_in_transaction_session_timeout', '10s', true)`

// bounded is a transaction that gets its timeouts on the way of its first query, in the same round trip.
type bounded struct {
	pgx.Tx
	set bool
}

// QueryRow implements querier.
func (b *bounded) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if b.set {
		return b.Tx.QueryRow(ctx, sql, args...)
	}
	b.set = true
	batch := &pgx.Batch{}
	batch.Queue(setTimeouts)
	batch.Queue(sql, args...)
	return secondRow{b.SendBatch(ctx, batch)}
}

// secondRow is the row of a batch's second query.
type secondRow struct{ results pgx.BatchResults }

// Scan implements pgx.Row.
func (r secondRow) Scan(into ...any) error {
	_, err := r.results.Exec()
	if err == nil {
		err = r.results.QueryRow().Scan(into...)
	}
	if closing := r.results.Close(); err == nil {
		err = closing
	}
	return err
}
