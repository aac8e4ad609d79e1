package engine

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
)

// Rebuild folds the whole log into the projection's table anew, in one transaction: until it commits, readers see the
// rows as they were, and the projection takes no new events. progress, if given, hears how far it has come.
//
// A projection whose effects cannot be taken back is ErrNotRebuildable.
func Rebuild(ctx context.Context, store *eventstore.Store, pool *pgxpool.Pool, p Projection, progress func(at, end int64)) error {
	if !p.disposable() {
		return fmt.Errorf("rebuild %s: %w", p.ID().Name, ErrNotRebuildable)
	}
	f, err := filter(store.Vocabulary(), p)
	if err != nil {
		return err
	}
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		from, err := takeWherever(ctx, tx, p.ID())
		if err != nil {
			return err
		}
		if err := p.clear(ctx, tx); err != nil {
			return err
		}
		last, err := store.Last(ctx)
		if err != nil {
			return err
		}
		upto := max(from, last) // what was final once stays final, so the table need not fall back behind an open append
		if err := refold(ctx, tx, store, p, f, upto, progress); err != nil {
			return err
		}
		return move(ctx, tx, p.ID(), from, upto)
	})
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", p.ID().Name, err)
	}
	return nil
}

// takeWherever locks the checkpoint and returns where it stands.
func takeWherever(ctx context.Context, tx pgx.Tx, id ID) (at int64, err error) {
	const q = `SELECT position FROM atlas.projections WHERE name = $1 AND version = $2 FOR UPDATE`
	return at, tx.QueryRow(ctx, q, id.Name, id.Version).Scan(&at)
}

// refold folds the log up to a position, batch by batch.
func refold(ctx context.Context, tx pgx.Tx, store *eventstore.Store, p Projection, f eventstore.Filter, upto int64, progress func(at, end int64)) error {
	for at := int64(0); at < upto; {
		batch, err := store.ReadAll(ctx, at, upto, f, batchSize)
		if err != nil {
			return err
		}
		if err := apply(ctx, tx, p, batch); err != nil {
			return err
		}
		at = batch.Upto
		if progress != nil {
			progress(at, upto)
		}
	}
	return nil
}
