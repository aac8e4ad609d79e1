package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrForeign says that another binary folds types of events into a version that this one does not know.
var ErrForeign = fault.New(fault.Conflict, "projection_of_newer_binary",
	"a newer release folds events into this projection that this one does not know; do it with that one, or, if nobody runs it any more, after drop-old")

// Register notes which types of events this binary folds into its projections. A process calls it after Prepare, and before
// it appends: so whoever runs a projection has heard of a type before the first event of it is in the log.
//
// Where that is news, the epoch grows: a node that moves the projection has lost its turn, and learns of the type when it
// takes the next. It cannot move past an event of the type before, since that is drawn later than its last horizon.
func Register(ctx context.Context, store *eventstore.Store, pool *pgxpool.Pool, projections []Projection) error {
	const news = `
		SELECT EXISTS (SELECT FROM atlas.projections WHERE name = $1 AND version = $2 AND state = 'live' AND NOT handles @> $3)`
	for _, p := range projections {
		f, err := filter(store.Vocabulary(), p)
		if err != nil {
			return err
		}
		var isNews bool
		if err := pool.QueryRow(ctx, news, p.ID().Name, p.ID().Version, f.Types).Scan(&isNews); err != nil {
			return fmt.Errorf("register what %s handles: %w", p.ID(), err)
		}
		if !isNews {
			continue
		}
		if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return register(ctx, tx, p.ID(), f.Types) }); err != nil {
			return fmt.Errorf("register what %s handles: %w", p.ID(), err)
		}
	}
	return nil
}

func register(ctx context.Context, tx pgx.Tx, id ID, types []string) error {
	const lock = `
		SELECT FROM atlas.projections
		WHERE name = $1 AND version = $2 AND state IN ('live', 'following')
		ORDER BY generation
		FOR UPDATE`
	const add = `
		UPDATE atlas.projections
		SET epoch = epoch + 1, handles = ARRAY(SELECT DISTINCT t FROM unnest(handles || $3) t ORDER BY t)
		WHERE name = $1 AND version = $2 AND state IN ('live', 'following')`
	if _, err := tx.Exec(ctx, lock, id.Name, id.Version); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, add, id.Name, id.Version, types)
	return err
}

// foreign returns the types that this binary does not know, among those that are folded into a version.
func foreign(v *events.Vocabulary, handled []string) (unknown []string) {
	for _, name := range handled {
		if _, err := v.Named(name); err != nil {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// requireKnown refuses what only a binary can do that knows all that is folded into a version. Ask it again in the
// transaction that makes it count, since a newer binary may have come meanwhile.
func requireKnown(ctx context.Context, q querier, v *events.Vocabulary, id ID) error {
	const sql = `SELECT handles FROM atlas.projections WHERE name = $1 AND version = $2 AND state = 'live'`
	var handled []string
	err := q.QueryRow(ctx, sql, id.Name, id.Version).Scan(&handled)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what %s handles: %w", id, err)
	}
	if unknown := foreign(v, handled); len(unknown) > 0 {
		return fmt.Errorf("%s: %w", strings.Join(unknown, ", "), ErrForeign)
	}
	return nil
}

// inherit hands what is folded into the version on to the generation that becomes the live one.
func (g generation) inherit(ctx context.Context, tx pgx.Tx, old generation) error {
	const q = `
		UPDATE atlas.projections g
		SET handles = ARRAY(SELECT DISTINCT t FROM unnest(g.handles || old.handles) t ORDER BY t)
		FROM atlas.projections old
		WHERE (g.name, g.version, g.generation) = ($1, $2, $3) AND (old.name, old.version, old.generation) = ($1, $2, $4)`
	_, err := tx.Exec(ctx, q, g.ID.Name, g.ID.Version, g.Number, old.Number)
	return err
}

// before cuts a batch in front of the first event that is beyond this binary, so that what comes before it is done first. Where
// that is the first of all, it is an error that names it.
func before(batch eventstore.Batch) (eventstore.Batch, error) {
	at := slices.IndexFunc(batch.Events, func(r *eventstore.Recorded) bool {
		_, err := r.Event()
		return events.Beyond(err)
	})
	if at < 0 {
		return batch, nil
	}
	if at > 0 {
		return eventstore.Batch{Events: batch.Events[:at], Upto: batch.Events[at].Position - 1}, nil
	}
	_, err := batch.Events[0].Event()
	return eventstore.Batch{}, eventFailed(batch.Events[0], err)
}
