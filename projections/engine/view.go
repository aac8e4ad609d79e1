package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// View is a read table of rows R, built by pure folds.
type View[R any] struct {
	id     ID
	ddl    string
	rules  map[reflect.Type]Rule
	keys   func(*eventstore.Recorded) []R // nil where the row of an event is its stream's
	always func(*R, *eventstore.Recorded)
	table  table[R]
	faults []error // why the declaration cannot work; reported by Prepare
}

// Define declares a view. Its name is the table's; its version is raised when rows or folds change, and gives the table
// anew. The DDL creates {table} and its indexes.
//
// R's fields are the columns, named by their json tags; those tagged row:"key" are the primary key, and are UUIDs,
// strings, integers or booleans. Unless KeyedBy says otherwise, the one key column is a UUID: the id of the event's
// stream.
//
// The column tagged row:"subject" (or "key,subject") says whose row it is. When that person is forgotten the row goes, and
// no event of theirs makes it anew.
func Define[R any](name string, version int, ddl string, rules ...Rule) *View[R] {
	v := &View[R]{id: ID{name, version}, ddl: ddl, rules: map[reflect.Type]Rule{}}
	v.table, v.faults = tableOf[R](v.id)
	for _, rule := range rules {
		v.add(rule)
	}
	return v
}

func (v *View[R]) add(rule Rule) {
	if rule.row != nil && rule.row != reflect.TypeFor[R]() {
		v.faults = append(v.faults, fmt.Errorf("the rule for %s folds into %s, not %s", rule.event, rule.row, reflect.TypeFor[R]()))
	}
	if _, twice := v.rules[rule.event]; twice {
		v.faults = append(v.faults, fmt.Errorf("%s has two rules", rule.event))
	}
	v.rules[rule.event] = rule
}

// KeyedBy makes the view's rows those that keys names: rows with only their key columns set. It sees nothing but the
// event, and may name several rows.
func (v *View[R]) KeyedBy(keys func(*eventstore.Recorded) []R) *View[R] {
	v.keys = keys
	return v
}

// Always runs after every fold of a row; for what all events have in common.
func (v *View[R]) Always(fold func(*R, *eventstore.Recorded)) *View[R] {
	v.always = fold
	return v
}

// ID returns name and version.
func (v *View[R]) ID() ID { return v.id }

// Table returns the schema-qualified name of the table this binary reads.
func (v *View[R]) Table() string { return v.table.name }

// Fold returns the row that the events of one stream make; found is false where there is none, or none any more.
// It is for views keyed by their stream.
func (v *View[R]) Fold(recorded []*eventstore.Recorded) (row R, found bool, err error) {
	rows := newRows(v.table)
	for _, r := range recorded {
		if err := v.foldInto(rows, r); err != nil {
			return row, false, err
		}
	}
	for _, cell := range rows.cells {
		if cell.row != nil {
			return *cell.row, true, nil
		}
	}
	return row, false, nil
}

// foldInto applies one event to the rows it touches.
func (v *View[R]) foldInto(rows *rows[R], r *eventstore.Recorded) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("event %d (%s): %w", r.Position, r.Type, err)
		}
	}()
	defer recovered(&err)
	e, err := r.Event()
	if err != nil {
		return err
	}
	if forgotten, is := e.(events.SubjectForgotten); is {
		rows.forget(forgotten.SubjectID)
	}
	rule, handled := v.rules[reflect.TypeOf(e)]
	if !handled {
		return nil
	}
	for _, key := range v.keysOf(r) {
		cell := rows.at(key)
		if rule.remove {
			cell.row = nil
		} else {
			v.foldRow(cell, key, rule, r, e)
		}
		cell.dirty = true
	}
	return nil
}

func (v *View[R]) foldRow(cell *cell[R], key R, rule Rule, r *eventstore.Recorded, e events.Event) {
	isNew := cell.row == nil
	if isNew {
		cell.row = &key
	}
	rule.apply(cell.row, r, e)
	if v.always != nil {
		v.always(cell.row, r)
	}
	if r.Erased && v.table.subject.ofErased(*cell.row, r.Subject, isNew) {
		cell.row = nil
	}
}

func (v *View[R]) handles() []reflect.Type {
	types := make([]reflect.Type, 0, len(v.rules))
	for t := range v.rules {
		types = append(types, t)
	}
	if _, own := v.rules[forgottenType]; v.table.subject.there && !own {
		types = append(types, forgottenType)
	}
	return types
}

func (v *View[R]) prepare(ctx context.Context, tx pgx.Tx) error {
	faults := v.faults
	if v.keys == nil && len(faults) == 0 && !v.table.keyedByStream() {
		faults = append(faults, errors.New("its key is not just a UUID, so it needs KeyedBy"))
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return v.table.create(ctx, tx, v.ddl)
}

// apply folds a batch. Where the rows it touches are too much to hold at once, it does so in halves.
func (v *View[R]) apply(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
	err := v.applyAtOnce(ctx, tx, batch)
	if half := len(batch) / 2; errors.Is(err, errHeavy) && half > 0 {
		if err = v.apply(ctx, tx, batch[:half]); err == nil {
			err = v.apply(ctx, tx, batch[half:])
		}
	}
	return err
}

func (v *View[R]) applyAtOnce(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
	rows := newRows(v.table)
	for _, r := range batch {
		if _, handled := v.rules[forgottenType]; r.Type == forgottenName && !handled {
			continue // it is about rows that no key names
		}
		for _, key := range v.keysOf(r) {
			rows.at(key)
		}
	}
	limit := maxLoad
	if len(batch) == 1 {
		limit = math.MaxInt
	}
	if err := rows.load(ctx, tx, limit); err != nil {
		return fmt.Errorf("load rows: %w", err)
	}
	for _, r := range batch {
		if err := v.foldInto(rows, r); err != nil {
			return err
		}
	}
	if err := rows.save(ctx, tx); err != nil {
		return fmt.Errorf("save rows: %w", err)
	}
	return nil
}

// keysOf returns the keys of the rows that an event touches.
func (v *View[R]) keysOf(r *eventstore.Recorded) []R {
	if v.keys == nil {
		return v.table.streamKey(r)
	}
	return v.keys(r)
}

func (v *View[R]) clear(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "DELETE FROM "+v.table.name)
	return err
}

func (v *View[R]) disposable() bool { return true }
