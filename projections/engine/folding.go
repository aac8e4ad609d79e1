package engine

import (
	"context"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// folding takes events into the table of a view. What fails is narrowed down, by folding the rows apart and the batch in
// halves, until it is known which event fails at which row; then that row's key is parked, and all others go on.
type folding[R any] struct {
	view    *View[R]
	table   table[R]
	parking *parking
	strict  bool   // fail as a whole instead, and park nothing
	only    string // the one key to fold; empty for all
}

// take folds events in order. Each attempt has a savepoint of its own, so that one that failed leaves nothing.
func (f folding[R]) take(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
	err := f.attempt(ctx, tx, batch, nil)
	switch {
	case err == nil, !errors.Is(err, errHeavy) && (f.strict || !poisonous(err)):
		return err
	case len(batch) == 1:
		return f.takeOne(ctx, tx, batch, err)
	}
	half := len(batch) / 2
	if err := f.take(ctx, tx, batch[:half]); err != nil {
		return err
	}
	return f.take(ctx, tx, batch[half:])
}

// takeOne folds an event that cannot be written into each of its rows by itself, and parks those where it fails.
func (f folding[R]) takeOne(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded, cause error) error {
	t, err := f.view.touches(batch[0])
	if err != nil {
		return err
	}
	if len(t.names) == 0 {
		return cause
	}
	for _, name := range t.names {
		f.only = name
		err := f.attempt(ctx, tx, batch, nil)
		if poisonous(err) {
			err = f.attempt(ctx, tx, batch, ofEvent(batch[0], err))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// attempt folds events, all or none of them. With a cause, the first event is known to fail for that.
func (f folding[R]) attempt(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded, cause error) error {
	before := f.parking.count
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		if err := f.fold(ctx, tx, batch, cause); err != nil {
			return err
		}
		return f.parking.write(ctx, tx)
	})
	if err != nil {
		f.parking.count = before
	}
	f.parking.fresh, f.parking.held = nil, nil
	return err
}

func (f folding[R]) fold(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded, cause error) error {
	all, err := f.touched(batch)
	if err != nil {
		return err
	}
	parked, err := f.parked(ctx, tx, all)
	if err != nil {
		return err
	}
	rows, err := f.load(ctx, tx, all, parked)
	if err != nil {
		return err
	}
	for i, t := range all {
		t.sweep(rows)
		for k, name := range t.names {
			if !f.chosen(name) {
				continue
			}
			if parked[name] {
				f.parking.hold(name, t.Position)
				continue
			}
			err := cause
			if err == nil {
				err = f.foldOne(rows.named(name, t.keys[k]), t)
			}
			if err == nil {
				continue
			}
			if f.strict {
				return err
			}
			if err := f.refold(rows.named(name, t.keys[k]), all[:i]); err != nil {
				return err
			}
			parked[name] = true
			f.parking.park(name, t.Recorded, err)
		}
	}
	return rows.save(ctx, tx)
}

func (f folding[R]) chosen(name string) bool { return f.only == "" || f.only == name }

func (f folding[R]) foldOne(c *cell[R], t touched[R]) error {
	if t.broken != nil {
		return &rowError{key: c.name, err: t.broken}
	}
	return f.view.foldCell(c, t.Recorded, t.event)
}

func (f folding[R]) touched(batch []*eventstore.Recorded) ([]touched[R], error) {
	all := make([]touched[R], len(batch))
	for i, r := range batch {
		t, err := f.view.touches(r)
		if err != nil {
			return nil, err
		}
		all[i] = t
	}
	return all, nil
}

// parked says which of the touched keys are parked.
func (f folding[R]) parked(ctx context.Context, tx pgx.Tx, all []touched[R]) (map[string]bool, error) {
	var names []string
	for _, t := range all {
		names = append(names, t.names...)
	}
	return f.parking.among(ctx, tx, names)
}

// load fetches the rows that are going to be folded.
func (f folding[R]) load(ctx context.Context, tx pgx.Tx, all []touched[R], parked map[string]bool) (*rows[R], error) {
	rows := newRows(f.table)
	for _, t := range all {
		for k, name := range t.names {
			if f.chosen(name) && !parked[name] {
				rows.named(name, t.keys[k])
			}
		}
	}
	limit := maxLoad
	if len(all) == 1 {
		limit = math.MaxInt
	}
	return rows, rows.load(ctx, tx, limit)
}

// refold makes a row what it is before the event that failed, which may have left it half changed.
func (f folding[R]) refold(c *cell[R], before []touched[R]) error {
	if err := c.restore(); err != nil {
		return err
	}
	alone := newRows(f.table)
	alone.cells[c.name] = c
	for _, t := range before {
		t.sweep(alone)
		for _, name := range t.names {
			if name != c.name {
				continue
			}
			if err := f.foldOne(c, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// retry folds the events that wait for a parked key, in order, as far as they can be. cause is why the next one cannot.
func (v *View[R]) retry(ctx context.Context, tx pgx.Tx, generation int, key string, batch []*eventstore.Recorded) (done int, cause, err error) {
	f := folding[R]{view: v, table: v.table.of(generation), parking: &parking{}, strict: true, only: key}
	if err = f.take(ctx, tx, batch); err == nil {
		return len(batch), nil, nil
	}
	if !poisonous(err) && !events.Beyond(err) {
		return 0, nil, err
	}
	for i := range batch {
		if err := f.attempt(ctx, tx, batch[i:i+1], nil); poisonous(err) || events.Beyond(err) {
			return i, ofEvent(batch[i], err), nil
		} else if err != nil {
			return i, nil, err
		}
	}
	return len(batch), nil, nil
}

// ofEvent says which event it was, where the error does not.
func ofEvent(r *eventstore.Recorded, err error) error {
	if row := (*rowError)(nil); errors.As(err, &row) && row.key != "" {
		return err
	}
	return eventFailed(r, err)
}
