package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
)

// place names a generation of a version of a projection.
type place struct {
	ID
	Generation int
}

// String returns the place as it stands in a table's name.
func (p place) String() string { return fmt.Sprintf("%s_g%d", p.ID, p.Generation) }

// turnTag is the first half of the advisory locks of sessions that fold. Nobody waits for them: they tell which session it
// is that folds a projection just now.
const turnTag = 0x61746c70

// line is a generation that this process moves: it holds its row at an epoch.
type line struct {
	place
	p     Projection
	types map[string]bool // that it wants
	epoch int64
	at    int64
	gone  atomic.Bool // another holds the row, as far as is known
}

// byPlace is the order in which rows are locked and projections take their turns in a transaction.
func byPlace(a, b *line) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Generation, b.Generation))
}

// of returns the events of a batch that the line wants.
func (l *line) of(batch eventstore.Batch) []*eventstore.Recorded {
	var wanted []*eventstore.Recorded
	for _, r := range batch.Events {
		if l.types[r.Type] {
			wanted = append(wanted, r)
		}
	}
	return wanted
}

// errBusy says that somebody else has the checkpoint locked just now.
var errBusy = errors.New("its checkpoint is in use")

// turn is one transaction that folds the same batch into several lines, each of which moves or fails by itself.
type turn struct {
	lines  []*line // by place
	batch  eventstore.Batch
	failed map[*line]error
	parked map[*line]int64
}

// take carries the turn out. The error is one of the whole: then nothing has moved, as far as is known.
func (t *turn) take(ctx context.Context, pool *pgxpool.Pool) error {
	slices.SortFunc(t.lines, byPlace)
	t.failed, t.parked = map[*line]error{}, map[*line]int64{}
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := t.begin(ctx, tx); err != nil {
			return err
		}
		for _, l := range t.lines {
			if t.failed[l] != nil {
				continue
			}
			err := t.fold(ctx, tx, l)
			if err != nil && (tx.Conn().IsClosed() || ctx.Err() != nil) {
				return err
			}
			if err != nil {
				t.failed[l] = err
			}
		}
		return t.move(ctx, tx)
	})
	if err != nil {
		return err
	}
	for _, l := range t.moved() {
		l.at = t.batch.Upto
	}
	return nil
}

// moved returns the lines that have not failed.
func (t *turn) moved() []*line {
	return slices.DeleteFunc(slices.Clone(t.lines), func(l *line) bool { return t.failed[l] != nil })
}

// begin locks the checkpoints of the lines, where each still is where and whose this process believes it to be. It does
// not wait for who has one locked: waiting would hold up the others.
func (t *turn) begin(ctx context.Context, tx pgx.Tx) error {
	// A node that freezes holds the projections for so long and no longer.
	const idle = `SET LOCAL idle_in_transaction_session_timeout = '10s'`
	const async = `SET LOCAL synchronous_commit = off`
	const working = `SELECT pg_advisory_xact_lock_shared($1, hashtext($2))` // which tells whose session this is
	const lock = `
		SELECT p.name, p.version, p.generation, p.position, p.epoch, p.parked
		FROM atlas.projections p
			JOIN unnest($1::text[], $2::integer[], $3::integer[]) l (name, version, generation) USING (name, version, generation)
		ORDER BY p.name COLLATE "C", p.version, p.generation
		FOR UPDATE OF p SKIP LOCKED`
	names, versions, generations := columnsOf(t.lines)
	var all pgx.Batch
	all.Queue(idle)
	if !slices.ContainsFunc(t.lines, func(l *line) bool { return !l.p.disposable() }) {
		all.Queue(async)
	}
	for _, l := range t.lines {
		if slices.ContainsFunc(t.batch.Events, func(r *eventstore.Recorded) bool { return l.types[r.Type] }) {
			all.Queue(working, turnTag, l.place.String())
		}
	}
	found := map[place]*checkpoint{}
	all.Queue(lock, names, versions, generations).Query(func(rows pgx.Rows) error {
		var c checkpoint
		_, err := pgx.ForEachRow(rows, []any{&c.Name, &c.Version, &c.Generation, &c.at, &c.epoch, &c.parked}, func() error {
			seen := c
			found[c.place] = &seen
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, &all).Close(); err != nil {
		return err
	}
	for _, l := range t.lines {
		switch c := found[l.place]; {
		case c == nil:
			t.failed[l] = errBusy
		case c.at != l.at || c.epoch != l.epoch:
			t.failed[l] = errTurnLost
		default:
			t.parked[l] = c.parked
		}
	}
	return nil
}

// checkpoint is what a generation's row says.
type checkpoint struct {
	place
	at, epoch, parked int64
}

// fold takes the events that a line wants into its table. Behind a savepoint, so that a line that fails harms no other.
func (t *turn) fold(ctx context.Context, tx pgx.Tx, l *line) (err error) {
	wanted := l.of(t.batch)
	if len(wanted) == 0 {
		return nil
	}
	defer recovered(&err)
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		return l.p.take(ctx, tx, l.Generation, wanted, &parking{id: l.ID, generation: l.Generation, count: t.parked[l]})
	})
	if err != nil {
		return fmt.Errorf("events %d to %d: %w", wanted[0].Position, wanted[len(wanted)-1].Position, err)
	}
	return nil
}

// move sets the checkpoints of those that have not failed, each from the position and at the epoch that its line knows.
func (t *turn) move(ctx context.Context, tx pgx.Tx) error {
	const q = `
		UPDATE atlas.projections p SET position = $6, moved_at = clock_timestamp(),
			error = NULL, error_at = NULL, error_since = NULL, attempts = 0
		FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[]) l (name, version, generation, position, epoch)
		WHERE (p.name, p.version, p.generation, p.position, p.epoch) = (l.name, l.version, l.generation, l.position, l.epoch)`
	moved := t.moved()
	if len(moved) == 0 {
		return nil
	}
	names, versions, generations := columnsOf(moved)
	positions, epochs := make([]int64, len(moved)), make([]int64, len(moved))
	for i, l := range moved {
		positions[i], epochs[i] = l.at, l.epoch
	}
	tag, err := tx.Exec(ctx, q, names, versions, generations, positions, epochs, t.batch.Upto)
	if err == nil && tag.RowsAffected() != int64(len(moved)) {
		err = errTurnLost // their rows are locked, so this cannot be
	}
	return err
}

func columnsOf(lines []*line) (names []string, versions, generations []int) {
	for _, l := range lines {
		names, versions, generations = append(names, l.Name), append(versions, l.Version), append(generations, l.Generation)
	}
	return names, versions, generations
}
