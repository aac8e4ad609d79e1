package projections

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/projections/engine"
)

// ErrParked says that there would be a row, if an event could be folded.
var ErrParked = fault.New(fault.Unavailable, "row_parked", "an event about this could not be taken into the view; it is kept and tried again")

// Parked says whether rows of a view wait for an event that could not be folded: the one with the key or, where it is
// empty, any that is about the subject.
func (r *Reader) Parked(ctx context.Context, view engine.ID, key string, subject uuid.UUID) (parked bool, err error) {
	const q = `
		SELECT EXISTS (
			SELECT FROM atlas.projections p JOIN atlas.projection_parked k USING (name, version, generation)
			WHERE name = $1 AND version = $2 AND p.state = 'live'
				AND CASE WHEN $3 = '' THEN k.subject = $4 ELSE k.key = $3 AND (k.subject = $4 OR k.subject IS NULL) END)`
	err = read(func() error { return r.pool.QueryRow(ctx, q, view.Name, view.Version, key, subject).Scan(&parked) })
	if err != nil {
		return false, fmt.Errorf("parked rows of %s: %w", view, err)
	}
	return parked, nil
}
