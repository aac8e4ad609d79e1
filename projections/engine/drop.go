package engine

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DropOld drops the generations that were retired, and the versions that neither this binary has nor any running process,
// with their tables, and returns their names. What a job is at work on stays. After it there is nothing to roll back to, and
// an older binary that is started again fills its tables from the beginning.
func (w *Workshop) DropOld(ctx context.Context) (dropped []string, err error) {
	const q = `
		SELECT ` + generationColumns + `
		FROM atlas.projections p
		WHERE NOT EXISTS (SELECT FROM atlas.projection_jobs j WHERE (j.name, j.version) = (p.name, p.version) AND ended_at IS NULL)
			AND to_regclass('read.' || name || '_v' || version || '_g' || generation) IS NOT NULL
			AND (state = 'retired' OR NOT p.name || '_v' || p.version = ANY ($1) AND NOT EXISTS (
				SELECT FROM atlas.projection_nodes n WHERE p.name || '_v' || p.version = ANY (n.runs) AND ` + nodeLives + `))
		ORDER BY name, version, generation
		FOR UPDATE OF p`
	mine := []string{}
	for id := range w.projections {
		mine = append(mine, id.String())
	}
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '5s'`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, q, mine)
		if err != nil {
			return err
		}
		old, err := pgx.CollectRows(rows, scanGeneration)
		if err != nil {
			return err
		}
		for _, g := range old {
			if g.State == live {
				if _, err := tx.Exec(ctx, "DROP VIEW IF EXISTS read."+g.ID.String()); err != nil {
					return err
				}
			}
			if err := g.drop(ctx, tx); err != nil {
				return err
			}
			dropped = append(dropped, g.table())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("drop what is old: %w", err)
	}
	return dropped, nil
}
