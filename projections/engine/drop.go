package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Dropped is what became of the tables that are neither this binary's nor live.
type Dropped struct {
	Tables    []string // that were dropped
	Kept      []string // and those that were not, with the processes that run or read their version
	Forgotten []string // types of events that nobody waits for any more, with the version that was to fold them
}

// DropOld drops the generations that were retired, and the versions that neither this binary has nor any running process,
// with their tables. What a job is at work on stays, and so does what another process runs or reads. After it there is nothing
// to roll back to, and an older binary that is started again fills its tables from the beginning.
//
// Where only binaries that nobody runs any more fold a type of events into a version, that is forgotten too: this binary
// moves the version past such events, as if there had never been another. A table that lacks them by then is to be rebuilt
// when such a binary comes back.
func (w *Workshop) DropOld(ctx context.Context) (done Dropped, err error) {
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '5s'`); err != nil {
			return err
		}
		if done.Tables, err = w.dropUnused(ctx, tx); err != nil {
			return err
		}
		if done.Kept, err = w.keptByOthers(ctx, tx); err != nil {
			return err
		}
		done.Forgotten, err = w.forgetForeign(ctx, tx)
		return err
	})
	if err != nil {
		return Dropped{}, fmt.Errorf("drop what is old: %w", err)
	}
	return done, nil
}

// inUse is a condition on a process n: it lives, and it runs or reads the version of a generation p.
const inUse = `p.name || '_v' || p.version = ANY (n.runs || n.reads) AND ` + nodeLives

// mine names the versions that this binary has.
func (w *Workshop) mine() []string {
	names := []string{}
	for id := range w.projections {
		names = append(names, id.String())
	}
	return names
}

func (w *Workshop) dropUnused(ctx context.Context, tx pgx.Tx) (dropped []string, err error) {
	const q = `
		SELECT ` + generationColumns + `
		FROM atlas.projections p
		WHERE NOT EXISTS (SELECT FROM atlas.projection_jobs j WHERE (j.name, j.version) = (p.name, p.version) AND ended_at IS NULL)
			AND to_regclass('read.' || name || '_v' || version || '_g' || generation) IS NOT NULL
			AND (state = 'retired' OR NOT p.name || '_v' || p.version = ANY ($1) AND NOT EXISTS (
				SELECT FROM atlas.projection_nodes n WHERE ` + inUse + `))
		ORDER BY name, version, generation
		FOR UPDATE OF p`
	rows, err := tx.Query(ctx, q, w.mine())
	if err != nil {
		return nil, err
	}
	old, err := pgx.CollectRows(rows, scanGeneration)
	if err != nil {
		return nil, err
	}
	for _, g := range old {
		if g.State == live {
			if _, err := tx.Exec(ctx, "DROP VIEW IF EXISTS read."+g.ID.String()); err != nil {
				return nil, err
			}
		}
		if err := g.drop(ctx, tx); err != nil {
			return nil, err
		}
		dropped = append(dropped, g.table())
	}
	return dropped, nil
}

// keptByOthers names the versions that this binary does not have, and who runs or reads them.
func (w *Workshop) keptByOthers(ctx context.Context, tx pgx.Tx) (kept []string, err error) {
	const q = `
		SELECT p.name, p.version, p.generation, array_agg(n.name ORDER BY n.name)
		FROM atlas.projections p JOIN atlas.projection_nodes n ON ` + inUse + `
		WHERE p.state = 'live' AND NOT p.name || '_v' || p.version = ANY ($1)
			AND to_regclass('read.' || p.name || '_v' || p.version || '_g' || generation) IS NOT NULL
		GROUP BY p.name, p.version, p.generation
		ORDER BY p.name, p.version`
	rows, err := tx.Query(ctx, q, w.mine())
	if err != nil {
		return nil, err
	}
	var g generation
	var by []string
	_, err = pgx.ForEachRow(rows, []any{&g.ID.Name, &g.ID.Version, &g.Number, &by}, func() error {
		kept = append(kept, fmt.Sprintf("%s, which %s has", g.table(), strings.Join(by, ", ")))
		by = nil
		return nil
	})
	return kept, err
}

// forgetForeign takes the types off this binary's versions that neither it knows nor any running process. The epoch grows, so
// that who moves the version begins anew without them.
func (w *Workshop) forgetForeign(ctx context.Context, tx pgx.Tx) (forgotten []string, err error) {
	const q = `
		WITH unknown AS (
			SELECT p.name, p.version, p.generation, t.type
			FROM atlas.projections p CROSS JOIN unnest(p.handles) t (type)
			WHERE p.name || '_v' || p.version = ANY ($1) AND NOT t.type = ANY ($2)
				AND NOT EXISTS (SELECT FROM atlas.projection_nodes n WHERE t.type = ANY (n.knows) AND ` + nodeLives + `)
		), gone AS (
			UPDATE atlas.projections p
			SET epoch = epoch + 1, handles = ARRAY(
				SELECT t FROM unnest(p.handles) t
				WHERE NOT EXISTS (SELECT FROM unknown u WHERE (u.name, u.version, u.generation, u.type) = (p.name, p.version, p.generation, t)))
			WHERE EXISTS (SELECT FROM unknown u WHERE (u.name, u.version, u.generation) = (p.name, p.version, p.generation))
		)
		SELECT DISTINCT type || ' in ' || name || '_v' || version FROM unknown ORDER BY 1`
	rows, err := tx.Query(ctx, q, w.mine(), w.store.Vocabulary().Names())
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
