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

	"github.com/atlas-platform/atlas/events"
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
	p      Projection
	filter eventstore.Filter // of what it must not go past
	types  map[string]bool   // the same
	apart  bool              // some of them only another binary knows, so the line keeps to itself
	epoch  int64
	at     int64
	parked bool        // it had parked keys in its last turn
	gone   atomic.Bool // another holds the row, as far as is known
}

// newLine returns a line at its checkpoint. What others fold into the version, and this binary does not know, it reads too:
// to stop there.
func newLine(v *events.Vocabulary, p Projection, c checkpoint) (*line, error) {
	f, err := filter(v, p)
	if err != nil {
		return nil, err
	}
	unknown := foreign(v, c.handles)
	f.Types = append(f.Types, unknown...)
	l := &line{place: c.place, p: p, filter: f, types: map[string]bool{}, apart: len(unknown) > 0, epoch: c.epoch, at: c.at}
	for _, name := range f.Types {
		l.types[name] = true
	}
	return l, nil
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
	t.failed = map[*line]error{}
	taken, err := t.takeQuickly(ctx, pool)
	if err == nil && !taken {
		t.failed = map[*line]error{}
		err = t.takeApart(ctx, pool)
	}
	if err != nil {
		return err
	}
	for _, l := range t.moved() {
		l.at = t.batch.Upto
	}
	return nil
}

// takeApart takes the turn line by line, each behind a savepoint.
func (t *turn) takeApart(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := t.begin(ctx, tx); err != nil {
			return err
		}
		for _, l := range t.lines {
			if t.failed[l] != nil {
				continue
			}
			err := t.fold(ctx, tx, l)
			if err != nil && (tx.Conn().IsClosed() || ctx.Err() != nil || len(t.lines) == 1) {
				return err
			}
			if err != nil {
				t.failed[l] = err
			}
		}
		return t.move(ctx, tx)
	})
}

// moved returns the lines that have not failed.
func (t *turn) moved() []*line {
	return slices.DeleteFunc(slices.Clone(t.lines), func(l *line) bool { return t.failed[l] != nil })
}

// begin locks the checkpoints of the lines.
func (t *turn) begin(ctx context.Context, tx pgx.Tx) error {
	var all pgx.Batch
	found := t.queueLocks(&all)
	if err := tx.SendBatch(ctx, &all).Close(); err != nil {
		return err
	}
	t.judge(found)
	return nil
}

// queueLocks queues what a transaction of a turn begins with. The checkpoints it locks are in the map when that was carried
// out. It does not wait for who has one locked: waiting would hold up the others.
func (t *turn) queueLocks(all *pgx.Batch) map[place]*checkpoint {
	// A node that freezes holds the projections for so long and no longer.
	const idle = `SET LOCAL idle_in_transaction_session_timeout = '10s'`
	const async = `SELECT set_config('idle_in_transaction_session_timeout', '10s', true), set_config('synchronous_commit', 'off', true), ` + byIndex
	const working = `SELECT pg_advisory_xact_lock_shared($1, hashtext(l)) FROM unnest($2::text[]) l` // which tells whose session this is
	const lock = `
		SELECT p.name, p.version, p.generation, p.position, p.epoch, p.parked
		FROM atlas.projections p
			JOIN unnest($1::text[], $2::integer[], $3::integer[]) l (name, version, generation) USING (name, version, generation)
		ORDER BY p.name COLLATE "C", p.version, p.generation
		FOR UPDATE OF p SKIP LOCKED`
	if slices.ContainsFunc(t.lines, func(l *line) bool { return !l.p.disposable() }) {
		all.Queue(idle)
	} else {
		all.Queue(async)
	}
	if names := t.touched(); len(names) > 0 {
		all.Queue(working, turnTag, names)
	}
	names, versions, generations := columnsOf(t.lines)
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
	return found
}

// byIndex is what keeps a transaction from reading all of a read table to find the few rows that a batch touches, whatever
// PostgreSQL believed of the table's size when it planned the statement: it keeps the plan while the table grows. A scan that
// is needed all the same, as of a small table without an index, then seems so dear that PostgreSQL would compile the statement,
// for longer than a turn takes; so nothing is compiled.
const byIndex = `set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), ` +
	`set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)`

// touched returns the places of the lines that want something of the batch.
func (t *turn) touched() (names []string) {
	for _, l := range t.lines {
		if slices.ContainsFunc(t.batch.Events, func(r *eventstore.Recorded) bool { return l.types[r.Type] }) {
			names = append(names, l.place.String())
		}
	}
	return names
}

// judge tells the lines whose checkpoints are where, and whose, this process believes them to be from those that have lost
// their turn.
func (t *turn) judge(found map[place]*checkpoint) {
	t.parked = map[*line]int64{}
	for _, l := range t.lines {
		switch c := found[l.place]; {
		case c == nil:
			t.failed[l] = errBusy
		case c.at != l.at || c.epoch != l.epoch:
			t.failed[l] = errTurnLost
		default:
			t.parked[l], l.parked = c.parked, c.parked > 0
		}
	}
}

// checkpoint is what a generation's row says.
type checkpoint struct {
	place
	at, epoch, parked int64
	handles           []string // the types of events that some binary folds into the version
}

// fold takes the events that a line wants into its table. Behind a savepoint, so that a line that fails harms no other,
// where there is another.
func (t *turn) fold(ctx context.Context, tx pgx.Tx, l *line) (err error) {
	wanted := l.of(t.batch)
	if len(wanted) == 0 {
		return nil
	}
	defer recovered(&err)
	p := &parking{id: l.ID, generation: l.Generation, count: t.parked[l]}
	take := func(tx pgx.Tx) error { return l.p.take(ctx, tx, l.Generation, wanted, p) }
	if len(t.lines) == 1 {
		err = take(tx)
	} else {
		err = pgx.BeginFunc(ctx, tx, take)
	}
	l.parked = p.count > 0
	if err != nil {
		return fmt.Errorf("events %d to %d: %w", wanted[0].Position, wanted[len(wanted)-1].Position, err)
	}
	return nil
}

// moveLines sets checkpoints, each from the position and at the epoch that its line knows.
const moveLines = `
	UPDATE atlas.projections p SET position = $6, moved_at = clock_timestamp(),
		error = NULL, error_at = NULL, error_since = NULL, attempts = 0
	FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[]) l (name, version, generation, position, epoch)
	WHERE (p.name, p.version, p.generation, p.position, p.epoch) = (l.name, l.version, l.generation, l.position, l.epoch)`

func (t *turn) moveArgs(moved []*line) []any {
	names, versions, generations := columnsOf(moved)
	positions, epochs := make([]int64, len(moved)), make([]int64, len(moved))
	for i, l := range moved {
		positions[i], epochs[i] = l.at, l.epoch
	}
	return []any{names, versions, generations, positions, epochs, t.batch.Upto}
}

// move sets the checkpoints of those that have not failed.
func (t *turn) move(ctx context.Context, tx pgx.Tx) error {
	moved := t.moved()
	if len(moved) == 0 {
		return nil
	}
	tag, err := tx.Exec(ctx, moveLines, t.moveArgs(moved)...)
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
