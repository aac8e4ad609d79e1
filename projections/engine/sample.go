package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
)

// selection is rows of a view, chosen to be compared: by name, or by what their names hash to.
type selection[R any] struct {
	view  *View[R]
	log   logAt
	keys  *rows[R]
	share uint64 // of one in so many rows, where they are chosen by hash; else 0
	seed  maphash.Seed
	bad   []R // keys of those that differed

	parked map[string]bool // keys whose rows wait: they are not what the log says, and everybody knows
}

// sample picks about n rows: for a view keyed by stream half of them from the table and half from the streams of the log,
// so that rows that are missing are found too; for others one in so many of all there are.
func (v *View[R]) sample(ctx context.Context, l logAt, n int) (picked, error) {
	s := &selection[R]{view: v, log: l, keys: newRows(v.table), seed: maphash.MakeSeed()}
	if v.keys != nil {
		var there int64
		err := l.pool.QueryRow(ctx, `SELECT count(*) FROM `+v.table.name).Scan(&there)
		s.share = uint64(max(there/int64(n), 1))
		return s, err
	}
	key := v.table.keys[0]
	table := fmt.Sprintf(`SELECT jsonb_build_object('%[1]s', "%[1]s") FROM %[2]s ORDER BY random() LIMIT $1`, key, v.table.name)
	if err := s.add(ctx, table, (n+1)/2); err != nil {
		return nil, err
	}
	streams := fmt.Sprintf(`
		SELECT jsonb_build_object('%s', substr(stream, strpos(stream, '-') + 1)) FROM atlas.streams
		WHERE split_part(stream, '-', 1) = ANY ($2) ORDER BY random() LIMIT $1`, key)
	return s, s.add(ctx, streams, (n+1)/2, l.categories())
}

func (s *selection[R]) add(ctx context.Context, sql string, args ...any) error {
	found, err := s.log.pool.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	var raw []byte
	_, err = pgx.ForEachRow(found, []any{&raw}, func() error {
		var key R
		if err := json.Unmarshal(raw, &key); err != nil {
			return err
		}
		s.keys.at(key)
		return nil
	})
	return err
}

// categories returns the categories of the streams whose events the view reads.
func (l logAt) categories() (all []string) {
	for _, name := range l.filter.Types {
		typ, err := l.store.Vocabulary().Named(name)
		if err == nil && name != forgottenName && !slices.Contains(all, typ.Category()) {
			all = append(all, typ.Category())
		}
	}
	return all
}

// compare holds what the table has of the rows against what the log makes of them.
func (s *selection[R]) compare(ctx context.Context, tx pgx.Tx, g generation) (found Verification, err error) {
	view := *s.view
	view.table = view.table.of(g.Number)
	if s.parked, err = parkedKeys(ctx, tx, g); err != nil {
		return found, err
	}
	have, err := s.stored(ctx, tx, view.table)
	if err != nil {
		return found, err
	}
	fresh, err := s.fold(ctx, g.Position)
	if err != nil {
		return found, err
	}
	want, err := view.table.normalized(ctx, tx, fresh)
	if err != nil {
		return found, err
	}
	found = Verification{Position: g.Position, Differences: []Difference{}}
	s.bad = nil
	for _, name := range fresh.order {
		if s.parked[name] {
			continue
		}
		found.Rows++
		d, differs := difference(want[name], have[name])
		if !differs {
			continue
		}
		key := fresh.cells[name].key
		if d.Key, err = json.Marshal(fresh.table.keyColumns(key)); err != nil {
			return found, err
		}
		s.bad = append(s.bad, key)
		found.add(d)
	}
	return found, nil
}

// add counts a difference.
func (f *Verification) add(d Difference) {
	if f.Different++; len(f.Differences) < maxDifferences {
		f.Differences = append(f.Differences, d)
	}
}

// stored is a row as the database holds it, by column.
type stored map[string]json.RawMessage

// difference says how a row is not what it should be. Either may be nil, where there is no such row.
func difference(want, have stored) (d Difference, differs bool) {
	switch {
	case want == nil && have == nil:
		return d, false
	case have == nil:
		d.What = rowMissing
		return d, true
	case want == nil:
		d.What = rowExtra
		return d, true
	}
	for column := range want {
		if !bytes.Equal(want[column], have[column]) {
			d.Columns = append(d.Columns, column)
		}
	}
	slices.Sort(d.Columns)
	d.What = rowDiffers
	return d, len(d.Columns) > 0
}

// stored reads the chosen rows out of a table. Those that are chosen by hash are named by it.
func (s *selection[R]) stored(ctx context.Context, tx pgx.Tx, t table[R]) (map[string]stored, error) {
	if s.share > 0 {
		s.keys = newRows(s.view.table)
		found, err := tx.Query(ctx, fmt.Sprintf(`SELECT row_to_json(k) FROM (SELECT %s FROM %s) k`, quoted(t.keys, "%s"), t.name))
		if err != nil {
			return nil, err
		}
		var raw []byte
		if _, err := pgx.ForEachRow(found, []any{&raw}, func() error { return s.choose(raw) }); err != nil {
			return nil, err
		}
	}
	all := map[string]stored{}
	for keys := s.keys.keys(); len(keys) > 0; {
		n := min(len(keys), batchSize)
		raw, err := s.keys.keysJSON(keys[:n])
		if err != nil {
			return nil, err
		}
		q := fmt.Sprintf(`SELECT to_jsonb(t) FROM %[1]s t JOIN json_populate_recordset(NULL::%[1]s, $1) k USING (%[2]s)`,
			t.name, quoted(t.keys, "%s"))
		if err := t.collect(ctx, tx, all, q, raw); err != nil {
			return nil, err
		}
		keys = keys[n:]
	}
	return all, nil
}

func (s *selection[R]) choose(raw []byte) error {
	var key R
	if err := json.Unmarshal(raw, &key); err != nil {
		return err
	}
	if s.chosen(s.view.table.key(key)) {
		s.keys.at(key)
	}
	return nil
}

func (s *selection[R]) chosen(name string) bool { return maphash.String(s.seed, name)%s.share == 0 }

// collect reads rows into a map by key.
func (t table[R]) collect(ctx context.Context, tx pgx.Tx, all map[string]stored, q string, args ...any) error {
	found, err := tx.Query(ctx, q, args...)
	if err != nil {
		return err
	}
	var raw []byte
	_, err = pgx.ForEachRow(found, []any{&raw}, func() error {
		name, columns, err := t.apart(raw)
		all[name] = columns
		return err
	})
	return err
}

// apart takes a row of the table apart, as it is stored.
func (t table[R]) apart(raw []byte) (name string, columns stored, err error) {
	if err = json.Unmarshal(raw, &columns); err != nil {
		return "", nil, err
	}
	keys, err := json.Marshal(columns.of(t.keys))
	if err != nil {
		return "", nil, err
	}
	var key R
	err = json.Unmarshal(keys, &key)
	return t.key(key), columns, err
}

func (s stored) of(columns []string) stored {
	some := stored{}
	for _, c := range columns {
		some[c] = s[c]
	}
	return some
}

// normalized returns rows as they would be read from the table.
func (t table[R]) normalized(ctx context.Context, tx pgx.Tx, rs *rows[R]) (map[string]stored, error) {
	all := map[string]stored{}
	var kept []R
	for _, name := range rs.order {
		if row := rs.cells[name].row; row != nil {
			kept = append(kept, *row)
		}
	}
	q := fmt.Sprintf(`SELECT to_jsonb(p) FROM json_populate_recordset(NULL::%s, $1) p`, t.name)
	for len(kept) > 0 {
		n := min(len(kept), batchSize)
		raw, err := json.Marshal(kept[:n])
		if err != nil {
			return nil, err
		}
		if err := t.collect(ctx, tx, all, q, string(raw)); err != nil {
			return nil, err
		}
		kept = kept[n:]
	}
	return all, nil
}

// fold folds the log up to a position into the chosen rows, and no others.
func (s *selection[R]) fold(ctx context.Context, upto int64) (*rows[R], error) {
	fresh := newRows(s.view.table)
	for _, key := range s.keys.keys() {
		fresh.at(key)
	}
	if s.share == 0 {
		return fresh, s.foldStreams(ctx, fresh, upto)
	}
	err := s.each(ctx, upto, s.log.filter, func(r *eventstore.Recorded) error { return s.foldChosen(fresh, r, s.chosen) })
	return fresh, err
}

// each reads the log up to a position.
func (s *selection[R]) each(ctx context.Context, upto int64, f eventstore.Filter, do func(*eventstore.Recorded) error) error {
	for at := int64(0); at < upto; {
		batch, err := s.log.store.ReadAll(ctx, at, upto, f, pageEvents)
		if err != nil {
			return err
		}
		for _, r := range batch.Events {
			if err := do(r); err != nil {
				return err
			}
		}
		at = batch.Upto
		if err := s.log.tell("verifying", at, upto, 0); err != nil {
			return err
		}
	}
	return nil
}

// foldStreams reads only the streams that the rows are keyed by, and who was forgotten.
func (s *selection[R]) foldStreams(ctx context.Context, fresh *rows[R], upto int64) error {
	var forgotten []*eventstore.Recorded
	if s.view.table.subject.there {
		err := s.each(ctx, upto, eventstore.Filter{Types: []string{forgottenName}}, func(r *eventstore.Recorded) error {
			forgotten = append(forgotten, r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	categories := s.log.categories()
	for i, name := range fresh.order {
		id := s.view.table.streamOf(fresh.cells[name].key)
		all := forgotten
		for _, category := range categories {
			of, err := s.log.store.Load(ctx, eventstore.NewStream(category, id), 1)
			if err != nil {
				return err
			}
			all = slices.Concat(all, of)
		}
		slices.SortFunc(all, func(a, b *eventstore.Recorded) int { return int(a.Position - b.Position) })
		for _, r := range all {
			if r.Position > upto {
				break
			}
			if err := s.foldChosen(fresh, r, func(n string) bool { return n == name }); err != nil {
				return err
			}
		}
		if err := s.log.tell("verifying", int64(i+1), int64(len(fresh.order)), 0); err != nil {
			return err
		}
	}
	return nil
}

// foldChosen folds an event into the chosen ones of the rows that it touches.
func (s *selection[R]) foldChosen(fresh *rows[R], r *eventstore.Recorded, chosen func(string) bool) error {
	if !slices.Contains(s.log.filter.Types, r.Type) {
		return nil // another kind of event in the same stream
	}
	return s.view.foldInto(fresh, r, func(name string) bool { return chosen(name) && !s.parked[name] })
}

// repair writes the rows that differed anew, as the log has them up to where the generation is.
func (s *selection[R]) repair(ctx context.Context, tx pgx.Tx, g generation) (int64, error) {
	again := &selection[R]{view: s.view, log: s.log, keys: newRows(s.view.table)}
	for _, key := range s.bad {
		again.keys.at(key)
	}
	fresh, err := again.fold(ctx, g.Position)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `SELECT `+byIndex); err != nil {
		return 0, err
	}
	fresh.table = fresh.table.of(g.Number)
	for _, c := range fresh.cells {
		c.dirty, c.there = true, true
	}
	fresh.forgotten = nil
	return int64(len(s.bad)), fresh.save(ctx, tx)
}

// unlike compares the whole table with another of the same columns.
func (v *View[R]) unlike(ctx context.Context, q querier, fresh string) (found Verification, err error) {
	found.Differences = []Difference{}
	if err = q.QueryRow(ctx, `SELECT count(*) FROM `+v.table.name).Scan(&found.Rows); err != nil {
		return found, err
	}
	compare := fmt.Sprintf(`
		SELECT to_jsonb(f), to_jsonb(t) FROM %s f FULL JOIN %s t USING (%s) WHERE to_jsonb(f) IS DISTINCT FROM to_jsonb(t)`,
		fresh, v.table.name, quoted(v.table.keys, "%s"))
	rows, err := q.Query(ctx, compare)
	if err != nil {
		return found, err
	}
	var want, have stored
	_, err = pgx.ForEachRow(rows, []any{&want, &have}, func() error {
		d, _ := difference(want, have)
		one := want
		if one == nil {
			one = have
		}
		d.Key, err = json.Marshal(one.of(v.table.keys))
		found.add(d)
		want, have = nil, nil
		return err
	})
	return found, err
}
