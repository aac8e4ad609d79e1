package engine

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
)

// Desk is where an operator sees to projections. It is safe for concurrent use.
type Desk struct {
	store       *eventstore.Store
	pool        *pgxpool.Pool
	projections []Projection
}

// NewDesk returns a desk for the projections that this binary was compiled with.
func NewDesk(store *eventstore.Store, pool *pgxpool.Pool, projections []Projection) *Desk {
	return &Desk{store: store, pool: pool, projections: projections}
}

// Lags tells how far each projection is behind, and why.
func (d *Desk) Lags(ctx context.Context) ([]Lag, error) { return Lags(ctx, d.pool) }

// Parked returns up to limit parked keys of a projection, in the order of their keys, after a key. A projection that
// there is not is ErrUnknown.
func (d *Desk) Parked(ctx context.Context, name, after string, limit int) ([]Parked, error) {
	p, err := d.named(name)
	if err != nil {
		return nil, err
	}
	return ListParked(ctx, d.pool, p.ID(), after, limit)
}

// Retry folds what waits for parked keys of a projection.
func (d *Desk) Retry(ctx context.Context, name string, which Choice) (Retried, error) {
	p, err := d.named(name)
	if err != nil {
		return Retried{}, err
	}
	return Retry(ctx, d.store, d.pool, p, which)
}

func (d *Desk) named(name string) (Projection, error) {
	for _, p := range d.projections {
		if p.ID().Name == name {
			return p, nil
		}
	}
	return nil, ErrUnknown
}
