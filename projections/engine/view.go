package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
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

// Define declares a view, with a rule per event type. Its name is the table's; its version is raised when rows or folds change, and gives the table
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

// Key returns the key of a row as parked keys are listed; only the row's key columns matter.
func (v *View[R]) Key(row R) string { return v.table.key(row) }

// Fold returns the row that the events of one stream make; found is false where there is none, or none any more.
// It is for views keyed by their stream. An event that only a newer binary can take is fault.ErrNewer.
func (v *View[R]) Fold(recorded []*eventstore.Recorded) (row R, found bool, err error) {
	rows, err := v.FoldRows(nil, recorded)
	if events.Beyond(err) {
		err = fmt.Errorf("%w: %w", fault.ErrNewer, err)
	}
	for _, row := range rows {
		return row, err == nil, err
	}
	return row, false, err
}

// FoldRows returns all rows, by Key, that events make of those that were there, in memory. The rows that it is given are
// the folds' to change. With keys given, it folds into those rows alone, as a verification does. Tests of folds stand on
// it (package foldtest).
func (v *View[R]) FoldRows(there map[string]R, recorded []*eventstore.Recorded, only ...string) (map[string]R, error) {
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", v.id, err)
	}
	rows := newRows(v.table)
	for name, row := range there {
		rows.put(&cell[R]{name: name, key: v.table.keyOf(row), row: &row})
	}
	chosen := func(name string) bool { return len(only) == 0 || slices.Contains(only, name) }
	for _, r := range recorded {
		if err := v.foldInto(rows, r, chosen); err != nil {
			return nil, err
		}
	}
	left := map[string]R{}
	for name, c := range rows.cells {
		if c.row != nil {
			left[name] = *c.row
		}
	}
	return left, nil
}

// foldInto applies one event to the chosen ones of the rows that it touches.
func (v *View[R]) foldInto(rows *rows[R], r *eventstore.Recorded, chosen func(name string) bool) error {
	t, err := v.touches(r)
	if err != nil {
		return err
	}
	t.sweep(rows)
	for i, name := range t.names {
		if !chosen(name) {
			continue
		}
		if t.broken != nil {
			return t.broken
		}
		if err := v.foldCell(rows.named(name, t.keys[i]), r, t.event); err != nil {
			return err
		}
	}
	return nil
}

// touched is an event, and the rows it touches.
type touched[R any] struct {
	*eventstore.Recorded
	event  events.Event
	broken error // why it cannot be read
	keys   []R
	names  []string // of the keys
}

// touches reads an event. One that cannot be read touches its rows all the same, if they can be told without it.
func (v *View[R]) touches(r *eventstore.Recorded) (t touched[R], err error) {
	t.Recorded = r
	t.event, err = r.Event()
	if err != nil {
		err = eventFailed(r, err)
		if v.keys != nil || events.Beyond(err) {
			return t, err
		}
		t.broken = err
	} else if _, handled := v.rules[reflect.TypeOf(t.event)]; !handled {
		return t, nil
	}
	t.keys, err = v.keysSafely(r)
	for _, key := range t.keys {
		t.names = append(t.names, v.table.key(key))
	}
	return t, err
}

// sweep drops the rows at hand of the subject that the event says is forgotten.
func (t *touched[R]) sweep(rows *rows[R]) {
	if forgotten, is := t.event.(events.SubjectForgotten); is {
		rows.forget(forgotten.SubjectID)
	}
}

// foldCell applies an event to a row. A failure says which row it was, and leaves it in no state to be used.
func (v *View[R]) foldCell(c *cell[R], r *eventstore.Recorded, e events.Event) (err error) {
	defer func() {
		if err != nil {
			err = &rowError{key: c.name, err: eventFailed(r, err)}
		}
	}()
	defer recovered(&err)
	rule := v.rules[reflect.TypeOf(e)]
	if c.row == nil && (rule.effect == changes || rule.effect == removes) {
		return nil
	}
	c.dirty = true
	if rule.effect == removes {
		c.row = nil
		return nil
	}
	isNew := c.row == nil || rule.effect == creates
	if isNew {
		row := c.key
		c.row = &row
	}
	rule.apply(c.row, r, e)
	if v.always != nil {
		v.always(c.row, r)
	}
	if r.Erased && v.table.subject.ofErased(*c.row, r.Subject, isNew) {
		c.row = nil
	}
	return nil
}

// rowError is why an event could not be folded into one row.
type rowError struct {
	key string
	err error
}

func (e *rowError) Error() string { return e.err.Error() }
func (e *rowError) Unwrap() error { return e.err }

// eventFailed says which event it was.
func eventFailed(r *eventstore.Recorded, err error) error {
	return fmt.Errorf("event %d (%s): %w", r.Position, r.Type, err)
}

// keysSafely returns the keys of the rows that an event touches, each once.
func (v *View[R]) keysSafely(r *eventstore.Recorded) (keys []R, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keys of %w", eventFailed(r, err))
		}
	}()
	defer recovered(&err)
	keys = v.keysOf(r)
	if len(keys) < 2 {
		return keys, nil
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(keys), func(key R) bool {
		name := v.table.key(key)
		twice := seen[name]
		seen[name] = true
		return twice
	}), nil
}

// handlesForgotten says whether the view has a rule of its own for the event that the engine heeds by itself.
func (v *View[R]) handlesForgotten() bool {
	_, has := v.rules[forgottenType]
	return has
}

func (v *View[R]) handles() []reflect.Type {
	types := make([]reflect.Type, 0, len(v.rules))
	for t := range v.rules {
		types = append(types, t)
	}
	if v.table.subject.there && !v.handlesForgotten() {
		types = append(types, forgottenType)
	}
	return types
}

func (v *View[R]) prepare(ctx context.Context, tx pgx.Tx) error {
	if err := v.check(); err != nil {
		return err
	}
	return v.table.createLive(ctx, tx, v.ddl)
}

// check says why the declaration cannot work, as far as that can be told without the table.
func (v *View[R]) check() error {
	faults := slices.Clone(v.faults)
	if v.keys == nil && len(faults) == 0 && !v.table.keyedByStream() {
		faults = append(faults, errors.New("its key is not just a UUID, so it needs KeyedBy"))
	}
	if len(v.rules) > 0 && !v.makesRows() {
		faults = append(faults, errors.New("it has rules that change or delete rows and none that makes one: use Create or On"))
	}
	return errors.Join(faults...)
}

func (v *View[R]) makesRows() bool {
	for _, rule := range v.rules {
		if rule.effect == creates || rule.effect == createsOrChanges {
			return true
		}
	}
	return false
}

// apply folds a batch into a generation's table, and fails as a whole. Where the rows it touches are too much to hold at
// once, it does so in halves.
func (v *View[R]) apply(ctx context.Context, tx pgx.Tx, generation int, batch []*eventstore.Recorded) error {
	f := folding[R]{view: v, table: v.table.of(generation), parking: &parking{}, strict: true}
	return f.take(ctx, tx, batch)
}

// take folds a batch into a generation's table, and parks the keys whose events fail.
func (v *View[R]) take(ctx context.Context, tx pgx.Tx, generation int, batch []*eventstore.Recorded, p *parking) error {
	return folding[R]{view: v, table: v.table.of(generation), parking: p}.take(ctx, tx, batch)
}

// keysOf returns the keys of the rows that an event touches.
func (v *View[R]) keysOf(r *eventstore.Recorded) []R {
	if v.keys == nil {
		return v.table.streamKey(r)
	}
	return v.keys(r)
}

func (v *View[R]) disposable() bool { return true }
