package eventstore

import (
	"context"
	"fmt"
)

// ReadPositions returns the events at the positions given, which must be in ascending order and final. One that is not
// there, since its part of the log is detached, is an error.
func (s *Store) ReadPositions(ctx context.Context, positions []int64) ([]*Recorded, error) {
	const q = `
		SELECT ` + eventColumns + `, NULL, 0
		FROM atlas.events
		WHERE position = ANY ($1)
		ORDER BY position`
	if len(positions) == 0 {
		return nil, nil
	}
	found, err := s.read(ctx, s.pool, q, positions)
	if err == nil && len(found) < len(positions) {
		if err = s.RequireRange(ctx, positions[0]-1, positions[len(positions)-1]); err == nil {
			err = fmt.Errorf("%d of %d events are not in the log", len(positions)-len(found), len(positions))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	return found, nil
}
