package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// rows holds the rows that a batch of events touches, between loading and saving.
type rows[R any] struct {
	table table[R]
	cells map[string]*cell[R]
	order []string // of first touch, so that what is written does not depend on map order

	forgotten []uuid.UUID // whose rows go, those that were not loaded too
}

// cell is one row, or the place of one that does not exist.
type cell[R any] struct {
	name   string
	key    R
	row    *R
	stored []byte // the row as the table has it; nil where it does not
	there  bool   // the table has it
	dirty  bool
	bytes  int // what it takes in memory, where somebody counts
}

func newRows[R any](t table[R]) *rows[R] { return &rows[R]{table: t, cells: map[string]*cell[R]{}} }

// at returns the cell for a row with the key columns of key.
func (rs *rows[R]) at(key R) *cell[R] { return rs.named(rs.table.key(key), key) }

// named is at, for who knows the key's name.
func (rs *rows[R]) named(name string, key R) *cell[R] {
	c, ok := rs.cells[name]
	if !ok {
		c = &cell[R]{name: name, key: key}
		rs.cells[name] = c
		rs.order = append(rs.order, name)
	}
	return c
}

// maxLoad is how many bytes of rows are held at once. A batch that touches more is folded in parts.
const maxLoad = 16 << 20

// errHeavy says that the rows of a batch are more than the limit given to load.
var errHeavy = errors.New("the rows are too much to hold at once")

// load fills the cells from the table, in one query.
func (rs *rows[R]) load(ctx context.Context, tx pgx.Tx, limit int) error {
	if len(rs.order) == 0 {
		return nil
	}
	found, err := rs.query(ctx, tx, rs.keys())
	if err != nil {
		return err
	}
	return rs.fill(found, limit)
}

// fill takes rows of the table, so many bytes at most.
func (rs *rows[R]) fill(found pgx.Rows, limit int) error {
	var stored []byte
	held := 0
	_, err := pgx.ForEachRow(found, []any{&stored}, func() error {
		if held += len(stored); held > limit {
			return errHeavy
		}
		return rs.take(stored)
	})
	return err
}

// query asks for the rows with the keys.
func (rs *rows[R]) query(ctx context.Context, tx pgx.Tx, keys []R) (pgx.Rows, error) {
	raw, err := rs.keysJSON(keys)
	if err != nil {
		return nil, err
	}
	return tx.Query(ctx, rs.table.selectQuery(), raw)
}

// take puts a row of the table into its cell.
func (rs *rows[R]) take(stored []byte) error {
	row, err := parseRow[R](stored)
	if err != nil {
		return err
	}
	c, asked := rs.cells[rs.table.key(row)]
	if !asked {
		return fmt.Errorf("the table's key %v differs from the one it was asked for", rs.table.keyColumns(row))
	}
	c.row, c.stored, c.there = &row, bytes.Clone(stored), true
	return nil
}

// parseRow reads a row. Numbers in columns of free form stay as they are written, however large.
func parseRow[R any](stored []byte) (row R, err error) {
	decoder := json.NewDecoder(bytes.NewReader(stored))
	decoder.UseNumber()
	return row, decoder.Decode(&row)
}

// restore makes the row what it was when it was loaded.
func (c *cell[R]) restore() error {
	c.row, c.dirty = nil, false
	if !c.there {
		return nil
	}
	row, err := parseRow[R](c.stored)
	c.row = &row
	return err
}

// save writes what has changed: one statement for what stays, one for what goes.
func (rs *rows[R]) save(ctx context.Context, tx pgx.Tx) error {
	if err := rs.dropForgotten(ctx, tx); err != nil {
		return err
	}
	all, err := rs.writes()
	if err != nil {
		return err
	}
	for _, w := range all {
		if _, err := tx.Exec(ctx, w.sql, w.rows); err != nil {
			return err
		}
	}
	return nil
}

// rowsWrite is a statement that writes rows, or keys of rows, given as JSON.
type rowsWrite struct{ sql, rows string }

// writes returns the statements that write what has changed.
func (rs *rows[R]) writes() (all []rowsWrite, err error) {
	var kept, gone []R
	for _, k := range rs.order {
		switch c := rs.cells[k]; {
		case c.dirty && c.row != nil:
			kept = append(kept, *c.row)
		case c.dirty && c.there:
			gone = append(gone, c.key)
		}
	}
	if len(gone) > 0 {
		raw, err := rs.keysJSON(gone)
		if err != nil {
			return nil, err
		}
		all = append(all, rowsWrite{rs.table.deleteQuery(), raw})
	}
	if len(kept) > 0 {
		raw, err := json.Marshal(kept)
		if err != nil {
			return nil, &rowError{err: fmt.Errorf("as JSON: %w", err)}
		}
		all = append(all, rowsWrite{rs.table.upsertQuery(), string(raw)})
	}
	return all, nil
}

// keysJSON returns the key columns of the rows, and no others: their zero values may be none that the table could hold.
func (rs *rows[R]) keysJSON(of []R) (string, error) {
	keys := make([]map[string]any, len(of))
	for i, row := range of {
		keys[i] = rs.table.keyColumns(row)
	}
	raw, err := json.Marshal(keys)
	return string(raw), err
}
