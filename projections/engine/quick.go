package engine

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
)

// A turn in which nothing goes wrong takes two round trips to the server. The first begins, locks the checkpoints and loads
// the rows; the second writes them, moves the checkpoints and commits. Where anything is not as it usually is, a key is
// parked, a fold fails, the table refuses a row, then nothing has happened yet: all is rolled back, and the turn is taken
// line by line, which finds out what it was.

// quick is a projection whose turn may be so short: a View.
type quick interface {
	// quickly begins to fold events into a generation. askParked says that keys of it are parked.
	quickly(at place, wanted []*eventstore.Recorded, askParked bool) (quickFold, error)
}

// quickFold is a projection's part of a turn. Its errors say no more than that the turn is not one of this kind.
type quickFold interface {
	queueLoad(*pgx.Batch) error
	fold(parked bool) error // when what was queued has been carried out; parked says that keys are
	queueSave(*pgx.Batch) error
}

// errUnusual says that a turn is not as turns usually are.
var errUnusual = errors.New("not a turn in which nothing goes wrong")

// takeQuickly takes the turn, if it can be taken in two round trips. The error is one of the whole.
func (t *turn) takeQuickly(ctx context.Context, pool *pgxpool.Pool) (taken bool, err error) {
	folds, err := t.quickFolds()
	if err != nil {
		return false, nil
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release() // which closes it where its transaction has not ended
	err = t.twoTrips(ctx, conn, folds)
	if err == nil {
		return true, nil
	}
	if conn.Conn().IsClosed() || ctx.Err() != nil {
		return false, err
	}
	bounded, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	_, err = conn.Exec(bounded, `ROLLBACK`)
	return false, err
}

// quickFolds returns the parts of the lines that want something of the batch. They decode what they want.
func (t *turn) quickFolds() (folds map[*line]quickFold, err error) {
	defer recovered(&err)
	folds = map[*line]quickFold{}
	for _, l := range t.lines {
		p, able := l.p.(quick)
		if !able {
			return nil, errUnusual
		}
		wanted := l.of(t.batch)
		if len(wanted) == 0 {
			continue
		}
		if folds[l], err = p.quickly(l.place, wanted, l.parked); err != nil {
			return nil, err
		}
	}
	return folds, nil
}

func (t *turn) twoTrips(ctx context.Context, conn *pgxpool.Conn, folds map[*line]quickFold) error {
	var first, second pgx.Batch
	first.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	found := t.queueLocks(&first)
	for _, l := range t.lines {
		if f := folds[l]; f != nil {
			if err := f.queueLoad(&first); err != nil {
				return err
			}
		}
	}
	if err := conn.SendBatch(ctx, &first).Close(); err != nil {
		return err
	}
	t.judge(found)
	if err := t.foldQuickly(folds, &second); err != nil {
		return err
	}
	t.queueMove(&second)
	second.Queue(`COMMIT`)
	return conn.SendBatch(ctx, &second).Close()
}

// foldQuickly folds what was loaded, and queues what is to be written.
func (t *turn) foldQuickly(folds map[*line]quickFold, all *pgx.Batch) (err error) {
	defer recovered(&err)
	for _, l := range t.moved() {
		f := folds[l]
		if f == nil {
			continue
		}
		if err := f.fold(l.parked); err != nil {
			return err
		}
		if err := f.queueSave(all); err != nil {
			return err
		}
	}
	return nil
}

// queueMove sets the checkpoints of those that have not failed. Their rows are locked and where they should be; if one were
// not, the division would fail, and nothing would be committed.
func (t *turn) queueMove(all *pgx.Batch) {
	const q = `WITH moved AS (` + moveLines + ` RETURNING 1) SELECT 1 / (count(*) = $7::bigint)::integer FROM moved`
	if moved := t.moved(); len(moved) > 0 {
		all.Queue(q, append(t.moveArgs(moved), len(moved))...)
	}
}

// swift is a view's part of a turn.
type swift[R any] struct {
	folding[R]
	at        place
	all       []touched[R]
	rows      *rows[R]
	askParked bool
}

func (v *View[R]) quickly(at place, wanted []*eventstore.Recorded, askParked bool) (quickFold, error) {
	s := &swift[R]{folding: folding[R]{view: v, table: v.table.of(at.Generation)}, at: at, askParked: askParked}
	all, err := s.touched(wanted)
	if err != nil {
		return nil, err
	}
	s.rows, s.all = newRows(s.table), all
	for _, t := range all {
		if t.broken != nil || t.Type == forgottenName {
			return nil, errUnusual // and what becomes of the forgotten takes statements of its own
		}
		for i, name := range t.names {
			s.rows.named(name, t.keys[i])
		}
	}
	return s, nil
}

func (s *swift[R]) queueLoad(all *pgx.Batch) error {
	const parked = `
		SELECT EXISTS (SELECT FROM atlas.projection_parked WHERE name = $1 AND version = $2 AND generation = $3 AND key = ANY ($4))`
	if len(s.rows.order) == 0 {
		return nil
	}
	if s.askParked {
		all.Queue(parked, s.at.Name, s.at.Version, s.at.Generation, s.rows.order).QueryRow(func(row pgx.Row) error {
			var any bool
			if err := row.Scan(&any); err != nil || any {
				return errors.Join(errUnusual, err)
			}
			return nil
		})
	}
	keys, err := s.rows.keysJSON(s.rows.keys())
	if err != nil {
		return err
	}
	all.Queue(s.table.selectQuery(), keys).Query(func(found pgx.Rows) error { return s.rows.fill(found, maxLoad) })
	return nil
}

func (s *swift[R]) fold(parked bool) error {
	if parked && !s.askParked {
		return errUnusual
	}
	for _, t := range s.all {
		for i, name := range t.names {
			if err := s.foldOne(s.rows.named(name, t.keys[i]), t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *swift[R]) queueSave(all *pgx.Batch) error {
	writes, err := s.rows.writes()
	for _, w := range writes {
		all.Queue(w.sql, w.rows)
	}
	return err
}
