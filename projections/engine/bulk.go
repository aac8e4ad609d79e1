package engine

import (
	"context"
	"fmt"
	"hash/maphash"
	"reflect"
	"runtime"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// bulk folds a long stretch of the log in memory, in parallel by key, and writes the rows it touched by COPY. What it
// holds of rows is counted, so that whoever feeds it can write them, and forget them, before they are too much.
type bulk interface {
	// load fetches the rows that the events touch and that the table may hold.
	load(ctx context.Context, tx querier, batch []*eventstore.Recorded) error
	// fold takes the events, in order. After an error, which may be *poison, the bulk is worth nothing.
	fold(batch []*eventstore.Recorded) error
	// touchesAny says whether the events touch one of the rows that are named by their keys.
	touchesAny(batch []*eventstore.Recorded, names map[string]bool) (bool, error)
	// held returns how many bytes the rows in memory take, about.
	held() int
	// write writes what has changed since the last write, and says how many rows that were.
	write(ctx context.Context, tx pgx.Tx) (rows int64, err error)
	// release forgets the rows in memory. Those that were changed must have been written, and committed.
	release()
}

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// shards is the bulk of a view: its rows, spread over shards by key. Each shard is folded by one goroutine at a time.
type shards[R any] struct {
	view  *View[R]
	seed  maphash.Seed
	all   []*shard[R]
	empty bool // the table has no rows but those in memory
}

type shard[R any] struct {
	*rows[R]
	bytes int
	lost  map[uuid.UUID]bool // who was forgotten since the last write: their rows in the table are none any more
	work  []touch[R]

	poison *poison // what it could not fold
}

// touch is an event and one of the rows it touches; name is empty where the event is for every row.
type touch[R any] struct {
	event *touched[R]
	name  string
	key   R
}

// newBulk returns a bulk over the view's table. empty says that the table has no rows.
func (v *View[R]) newBulk(empty bool) bulk {
	s := &shards[R]{view: v, seed: maphash.MakeSeed(), empty: empty}
	for range runtime.GOMAXPROCS(0) {
		s.all = append(s.all, &shard[R]{rows: newRows(v.table), lost: map[uuid.UUID]bool{}})
	}
	return s
}

func (s *shards[R]) of(key string) *shard[R] {
	return s.all[maphash.String(s.seed, key)%uint64(len(s.all))]
}

// load fetches what is not in memory. A row that the first event of its stream makes cannot be in the table.
func (s *shards[R]) load(ctx context.Context, q querier, batch []*eventstore.Recorded) error {
	if s.empty {
		return nil
	}
	wanted := newRows(s.view.table)
	for _, r := range batch {
		if r.Type == forgottenName && !s.view.handlesForgotten() || s.view.keys == nil && r.Version == 1 {
			continue
		}
		keys, err := s.view.keysSafely(r)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if name := s.view.table.key(key); s.of(name).cells[name] == nil {
				wanted.named(name, key)
			}
		}
	}
	if err := wanted.loadFrom(ctx, q); err != nil {
		return fmt.Errorf("load rows: %w", err)
	}
	for _, name := range wanted.order {
		c, home := wanted.cells[name], s.of(name)
		if c.row != nil && home.lost[s.view.table.subject.of(*c.row)] {
			c.row = nil
		}
		c.stored = nil
		home.put(c)
		home.weigh(c)
	}
	return nil
}

// fold decodes the events in parallel, and then folds them in parallel, each row's in order.
func (s *shards[R]) fold(batch []*eventstore.Recorded) error {
	all, faults := make([]touched[R], len(batch)), make([]error, len(batch))
	parallel(len(s.all), func(n int) {
		for i := n; i < len(batch); i += len(s.all) {
			all[i], faults[i] = s.view.touches(batch[i])
		}
	})
	for i := range all {
		if faults[i] != nil {
			return faults[i]
		}
		s.spread(&all[i])
	}
	parallel(len(s.all), func(n int) { s.all[n].run(s.view) })
	var first *poison
	for _, sh := range s.all {
		if sh.poison != nil && (first == nil || sh.poison.position < first.position) {
			first = sh.poison
		}
	}
	if first != nil {
		return first
	}
	return nil
}

// spread gives an event to the shards whose rows it touches.
func (s *shards[R]) spread(t *touched[R]) {
	if forgotten, is := t.event.(events.SubjectForgotten); is && s.view.table.subject.there {
		for _, sh := range s.all {
			sh.lost[forgotten.SubjectID] = true
			sh.work = append(sh.work, touch[R]{event: t})
		}
	}
	for i, name := range t.names {
		sh := s.of(name)
		sh.work = append(sh.work, touch[R]{event: t, name: name, key: t.keys[i]})
	}
}

// touchesAny says whether the events touch one of the rows, or all of them.
func (s *shards[R]) touchesAny(batch []*eventstore.Recorded, names map[string]bool) (bool, error) {
	for _, r := range batch {
		if r.Type == forgottenName {
			return true, nil
		}
		t, err := s.view.touches(r)
		if err != nil {
			return false, err
		}
		for _, name := range t.names {
			if names[name] {
				return true, nil
			}
		}
	}
	return false, nil
}

// poison is an event that cannot be folded into one of its rows.
type poison struct {
	position int64
	err      error
}

func (p *poison) Error() string { return p.err.Error() }
func (p *poison) Unwrap() error { return p.err }

// run folds what has been given to the shard.
func (sh *shard[R]) run(v *View[R]) {
	for i := range sh.work {
		t := &sh.work[i]
		if err := sh.take(v, t); err != nil {
			sh.poison = &poison{position: t.event.Position, err: err}
			return
		}
	}
	clear(sh.work)
	sh.work = sh.work[:0]
}

func (sh *shard[R]) take(v *View[R], t *touch[R]) error {
	if t.name == "" {
		t.event.sweep(sh.rows)
		return nil
	}
	c := sh.named(t.name, t.key)
	if t.event.broken != nil {
		return &rowError{key: t.name, err: t.event.broken}
	}
	defer sh.weigh(c)
	return v.foldCell(c, t.event.Recorded, t.event.event)
}

// weigh counts what a row takes in memory.
func (sh *shard[R]) weigh(c *cell[R]) {
	const place = 256 // of a row, beside its values: its key, its cell, its share of the map
	weight := place + int(reflect.TypeFor[R]().Size())
	if c.row != nil {
		weight += int(reflect.TypeFor[R]().Size()) + outside(reflect.ValueOf(c.row).Elem())
	}
	sh.bytes += weight - c.bytes
	c.bytes = weight
}

// outside returns about how many bytes a value keeps outside of itself.
func outside(v reflect.Value) (bytes int) {
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return 16 + outside(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			bytes += outside(v.Field(i))
		}
	case reflect.Slice:
		bytes = v.Cap() * int(v.Type().Elem().Size())
		if hasOutside(v.Type().Elem()) {
			for i := range v.Len() {
				bytes += outside(v.Index(i))
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			bytes += 64 + outside(it.Key()) + outside(it.Value())
		}
	}
	return bytes
}

func hasOutside(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Slice, reflect.Map:
		return true
	}
	return false
}

func (s *shards[R]) held() (bytes int) {
	for _, sh := range s.all {
		bytes += sh.bytes
	}
	return bytes
}

// write writes the rows in the order in which they were first touched, shard by shard, and drops the forgotten first.
func (s *shards[R]) write(ctx context.Context, tx pgx.Tx) (written int64, err error) {
	if err := s.all[0].dropForgotten(ctx, tx); err != nil { // every shard has all of them
		return 0, err
	}
	for _, sh := range s.all {
		kept, old, err := sh.changed()
		if err != nil {
			return 0, err
		}
		if err := sh.remove(ctx, tx, old); err != nil {
			return 0, err
		}
		if err := s.view.table.copyRows(ctx, tx, kept); err != nil {
			return 0, err
		}
		written += int64(len(kept))
	}
	s.settle()
	return written, nil
}

// changed returns the rows to be written, and the keys of those that the table has of them and of what is gone.
func (sh *shard[R]) changed() (kept, old []R, err error) {
	for _, name := range sh.order {
		c := sh.cells[name]
		if !c.dirty {
			continue
		}
		if c.there {
			old = append(old, c.key)
		}
		if c.row != nil {
			kept = append(kept, *c.row)
		}
	}
	return kept, old, nil
}

// settle notes that the table has what is in memory.
func (s *shards[R]) settle() {
	for _, sh := range s.all {
		for _, c := range sh.cells {
			c.dirty, c.there = false, c.row != nil
		}
		sh.forgotten = nil
		clear(sh.lost)
	}
}

func (s *shards[R]) release() {
	for _, sh := range s.all {
		s.empty = s.empty && len(sh.cells) == 0
		sh.rows, sh.bytes = newRows(s.view.table), 0
	}
}

func (rs *rows[R]) put(c *cell[R]) {
	rs.cells[c.name] = c
	rs.order = append(rs.order, c.name)
}

// inBulk tells a statement from the one of a turn, for which PostgreSQL is told how to find the rows, and keeps the plan.
const inBulk = ` -- in bulk`

// loadFrom is load for a reader without a transaction, and without a limit.
func (rs *rows[R]) loadFrom(ctx context.Context, q querier) error {
	for keys := rs.keys(); len(keys) > 0; {
		n := min(len(keys), batchSize)
		raw, err := rs.keysJSON(keys[:n])
		if err != nil {
			return err
		}
		found, err := q.Query(ctx, rs.table.selectQuery()+inBulk, raw)
		if err != nil {
			return err
		}
		var stored []byte
		if _, err := pgx.ForEachRow(found, []any{&stored}, func() error { return rs.take(stored) }); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (rs *rows[R]) keys() []R {
	keys := make([]R, len(rs.order))
	for i, name := range rs.order {
		keys[i] = rs.cells[name].key
	}
	return keys
}

// remove deletes rows by their keys.
func (rs *rows[R]) remove(ctx context.Context, tx pgx.Tx, keys []R) error {
	for len(keys) > 0 {
		n := min(len(keys), 10*batchSize)
		raw, err := rs.keysJSON(keys[:n])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, rs.table.deleteQuery()+inBulk, raw); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// parallel calls do for 0 to n-1, at once.
func parallel(n int, do func(int)) {
	var all sync.WaitGroup
	for i := 1; i < n; i++ {
		all.Go(func() { do(i) })
	}
	do(0)
	all.Wait()
}
