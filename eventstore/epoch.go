package eventstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/fault"
)

// Faults of a place that somebody outside has kept.
var (
	// ErrOtherLog says that a place was not given out by this log: it is in another database, or in what a restore
	// brought back of it.
	ErrOtherLog = fault.New(fault.Gone, "position_of_other_log",
		"this position was given out by another log than the one here; read on from a position you know, or from the start")

	// ErrLostByRestore says that a place lies in what was lost when the log was restored: what was read up to there is
	// in part not in the log any more, and other events may have its positions.
	ErrLostByRestore = fault.New(fault.Gone, "position_lost_by_restore",
		"this position lies in a part of the log that was lost when it was restored; what you read of that part is not in the log any more")
)

// Place is a position as those remember it who are not in the log's database, and whom therefore nothing tells that the
// log was restored under them: it carries the epoch. Its text is "1f3a9c04-512".
type Place struct {
	Epoch    string // the tag of the epoch in which it was given out
	Position int64
}

// String returns the text.
func (p Place) String() string { return p.Epoch + "-" + strconv.FormatInt(p.Position, 10) }

// ParsePlace reads a place's text, and no other spelling of it.
func ParsePlace(text string) (Place, error) {
	tag, digits, found := strings.Cut(text, "-")
	n, err := strconv.ParseInt(digits, 10, 64)
	p := Place{Epoch: tag, Position: n}
	if !found || err != nil || n < 0 || len(tag) == 0 || len(tag) > 16 || p.String() != text {
		return Place{}, fmt.Errorf("%d characters are not a place in a log", len(text))
	}
	return p, nil
}

// Epoch is a time through which the log lived in one database.
type Epoch struct {
	Tag   string
	After int64 // the last event of the epoch before: up to here the two are the same
}

// Standing is where a log stands.
type Standing struct {
	Epochs  []Epoch // the present one last
	Horizon int64   // up to here it is final
	Last    int64   // the last event up to there: what is remembered outside must not lie beyond an event that was seen
	End     int64   // the highest position that was drawn
}

// Standing returns where the log stands. Where the database turns out to be another than the last one the log was in, an
// epoch begins: the tail sees to that before it reads.
func (s *Store) Standing(ctx context.Context) (st Standing, err error) {
	const mark = `SELECT atlas.ensure_epoch(), atlas.horizon(), last_value FROM atlas.events_position`
	const list = `SELECT tag, after FROM atlas.epochs ORDER BY number`
	err = s.retry(ctx, s.pool, func() error {
		var both pgx.Batch
		both.Queue(mark).QueryRow(func(row pgx.Row) error { return row.Scan(nil, &st.Horizon, &st.End) })
		both.Queue(list).Query(func(rows pgx.Rows) (err error) {
			st.Epochs, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Epoch])
			return err
		})
		return s.pool.SendBatch(ctx, &both).Close()
	})
	if err != nil {
		return Standing{}, fmt.Errorf("read where the log stands: %w", err)
	}
	if len(st.Epochs) == 0 {
		return Standing{}, fmt.Errorf("%w (the server takes no writes, and no epoch has begun)", ErrUnavailable)
	}
	st.Last, err = s.lastEvent(ctx, s.pool, st.Horizon)
	return st, err
}

// ensureEpoch begins an epoch where the database turns out to be another one.
func (s *Store) ensureEpoch(ctx context.Context, conn *pgxpool.Conn) error {
	if _, err := conn.Exec(ctx, `SELECT atlas.ensure_epoch()`); err != nil {
		return fmt.Errorf("ensure epoch: %w", unavailable(err))
	}
	return nil
}

// Here returns a place of the present epoch.
func (st Standing) Here(position int64) Place {
	return Place{Epoch: st.Epochs[len(st.Epochs)-1].Tag, Position: position}
}

// Find returns the position of a place that was given out. It is ErrOtherLog where this log never gave out such a place,
// ErrLostByRestore where it did, and lost what was there, and ErrFuture beyond its end.
func (st Standing) Find(p Place) (position int64, err error) {
	i := slices.IndexFunc(st.Epochs, func(e Epoch) bool { return e.Tag == p.Epoch })
	switch {
	case i < 0:
		return 0, ErrOtherLog
	case !survived(st.Epochs[i+1:], p.Position):
		return 0, ErrLostByRestore
	case p.Position > st.End:
		return 0, ErrFuture
	}
	return p.Position, nil
}

// survived says whether what lay at a position is there still after all these epochs began.
func survived(later []Epoch, position int64) bool {
	for _, e := range later {
		if position > e.After {
			return false
		}
	}
	return true
}

// Left returns the last place that is left of what led to a place that was lost.
func (st Standing) Left(lost Place) Place {
	position := lost.Position
	known := false
	for _, e := range st.Epochs {
		if known {
			position = min(position, e.After)
		}
		known = known || e.Tag == lost.Epoch
	}
	return st.Here(position)
}
