package engine

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"
)

// rows holds the rows that a batch of events touches, between loading and saving.
type rows[R any] struct {
	table table[R]
	cells map[string]*cell[R]
	order []string // of first touch, so that what is written does not depend on map order
}

// cell is one row, or the place of one that does not exist.
type cell[R any] struct {
	key   R
	row   *R
	there bool // the table has it
	dirty bool
}

func newRows[R any](t table[R]) *rows[R] { return &rows[R]{table: t, cells: map[string]*cell[R]{}} }

// at returns the cell for a row with the key columns of key.
func (rs *rows[R]) at(key R) *cell[R] {
	k := rs.table.key(key)
	c, ok := rs.cells[k]
	if !ok {
		c = &cell[R]{key: key}
		rs.cells[k] = c
		rs.order = append(rs.order, k)
	}
	return c
}

// load fills the cells from the table, in one query.
func (rs *rows[R]) load(ctx context.Context, tx pgx.Tx) error {
	if len(rs.order) == 0 {
		return nil
	}
	keys := make([]R, len(rs.order))
	for i, k := range rs.order {
		keys[i] = rs.cells[k].key
	}
	raw, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	found, err := tx.Query(ctx, rs.table.selectQuery(), string(raw))
	if err != nil {
		return err
	}
	var stored []byte
	_, err = pgx.ForEachRow(found, []any{&stored}, func() error {
		var row R
		if err := json.Unmarshal(stored, &row); err != nil {
			return err
		}
		c := rs.at(row)
		c.row, c.there = &row, true
		return nil
	})
	return err
}

// save writes what has changed: one statement for what stays, one for what goes.
func (rs *rows[R]) save(ctx context.Context, tx pgx.Tx) error {
	var kept, gone []R
	for _, k := range rs.order {
		switch c := rs.cells[k]; {
		case c.dirty && c.row != nil:
			kept = append(kept, *c.row)
		case c.dirty && c.there:
			gone = append(gone, c.key)
		}
	}
	if err := rs.write(ctx, tx, rs.table.deleteQuery(), gone); err != nil {
		return err
	}
	return rs.write(ctx, tx, rs.table.upsertQuery(), kept)
}

func (rs *rows[R]) write(ctx context.Context, tx pgx.Tx, query string, changed []R) error {
	if len(changed) == 0 {
		return nil
	}
	raw, err := json.Marshal(changed)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, query, string(raw))
	return err
}
