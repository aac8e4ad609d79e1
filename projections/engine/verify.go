package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/wait"
)

// DefaultSample is how many rows a verification compares unless told otherwise.
const DefaultSample = 100

// maxDifferences is how many differences a verification names; it counts them all.
const maxDifferences = 100

// errUnlike says that a table that was just built is not what the log makes of it.
var errUnlike = errors.New("folding the log again gives other rows: a fold depends on more than the row and the event")

// errStill says that a verification would take the forgotten for differences.
var errStill = errors.New("somebody was forgotten since, and the projection does not come to where the log says so; verify again when it moves")

// Verification is what came of comparing a table with a fold of the log up to where the table was.
type Verification struct {
	Position    int64        `json:"position"` // of the table when it was read
	Rows        int64        `json:"rows"`     // that were compared
	Different   int64        `json:"different"`
	Differences []Difference `json:"differences"` // the first hundred
	Repaired    int64        `json:"repaired"`
}

// Difference is a row that is not what the log says.
type Difference struct {
	Key     json.RawMessage `json:"key"`               // its key columns
	What    string          `json:"what"`              // "missing", "extra" or "differs"
	Columns []string        `json:"columns,omitempty"` // where it differs
}

// What a difference can be.
const (
	rowMissing = "missing" // from the table
	rowExtra   = "extra"   // in the table
	rowDiffers = "differs"
)

// verifier is what a view says of its rows to whoever verifies them.
type verifier interface {
	keyedByStream() bool
	// sample picks rows to compare; compare does.
	sample(ctx context.Context, l logAt, n int) (picked, error)
	// unlike counts the rows that differ between the view's table and another of the same columns.
	unlike(ctx context.Context, q querier, other string) (Verification, error)
}

// picked is a choice of rows.
type picked interface {
	// compare compares the chosen rows in a generation's table, as they are to the transaction, with a fold of the log up
	// to the generation's position.
	compare(ctx context.Context, tx pgx.Tx, g generation) (Verification, error)
	// repair makes the rows that differed what the log says. The generation is locked by the transaction.
	repair(ctx context.Context, tx pgx.Tx, g generation) (int64, error)
}

// logAt is the log as a view reads it.
type logAt struct {
	store  *eventstore.Store
	pool   *pgxpool.Pool
	filter eventstore.Filter
	tell   func(phase string, done, total, events int64) error
}

func (b *rebuild) log() logAt {
	return logAt{store: b.store, pool: b.pool, filter: b.filter, tell: b.tell}
}

func (v *View[R]) keyedByStream() bool { return v.keys == nil }

// verifyItself compares a sample of the generation with what the log says, before anybody reads it.
func (b *rebuild) verifyItself(ctx context.Context) (Verification, error) {
	n := b.job.Options.orDefaults().Sample
	if n < 0 {
		n = DefaultSample // the rebuild itself was the fold of all
	}
	p, err := b.view.sample(ctx, b.log(), n)
	if err != nil {
		return Verification{}, err
	}
	for {
		found, since, err := compareAt(ctx, b.log(), p, func(context.Context, pgx.Tx) (generation, error) { return b.gen, nil })
		if err != nil || found.Different == 0 {
			return found, err
		}
		if since == 0 {
			return found, fmt.Errorf("%w: %s", errUnlike, found.Differences[0])
		}
		if err := b.catchUp(ctx); err != nil {
			return found, err
		}
	}
}

// String tells the difference.
func (d Difference) String() string {
	if d.What == rowDiffers {
		return fmt.Sprintf("%s differs in %v", d.Key, d.Columns)
	}
	return fmt.Sprintf("%s is %s", d.Key, d.What)
}

// compareAt compares what was picked in one snapshot. since is where somebody was last forgotten beyond the snapshot, whose
// rows differ for that alone; 0 where nobody was.
func compareAt(ctx context.Context, l logAt, p picked, of func(context.Context, pgx.Tx) (generation, error)) (found Verification, since int64, err error) {
	var g generation
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, l.pool, snapshot, func(tx pgx.Tx) error {
		if g, err = of(ctx, tx); err != nil {
			return err
		}
		found, err = p.compare(ctx, tx, g)
		return err
	})
	if err != nil || found.Different == 0 {
		return found, 0, err
	}
	since, err = l.forgottenSince(ctx, g.Position)
	return found, since, err
}

// forgottenSince returns the position of the last event beyond one that says that somebody is forgotten.
func (l logAt) forgottenSince(ctx context.Context, position int64) (int64, error) {
	seen, err := l.store.ReadBeyond(ctx, position, []string{forgottenName})
	if err != nil || len(seen.Events) == 0 {
		return 0, err
	}
	return seen.Events[len(seen.Events)-1].Position, nil
}

// verify compares the live table with the log, and repairs it if that is asked for.
func (t task) verify(ctx context.Context) (any, error) {
	o := t.by.job.Options.orDefaults()
	if o.Sample < 0 || o.Repair && !t.p.keyedByStream() {
		return t.verifyAll(ctx, o)
	}
	f, err := filter(t.store.Vocabulary(), t.p)
	if err != nil {
		return nil, err
	}
	l := logAt{store: t.store, pool: t.pool, filter: f, tell: t.tell}
	p, err := t.p.sample(ctx, l, o.Sample)
	if err != nil {
		return nil, err
	}
	found, err := t.compareLive(ctx, l, p)
	if err != nil || found.Different == 0 || !o.Repair {
		return found, err
	}
	err = pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		g, err := t.liveGeneration(ctx, tx, true)
		if err == nil {
			found.Repaired, err = p.repair(ctx, tx, g)
		}
		return err
	})
	return found, err
}

// liveGeneration returns the generation that readers see, locked if asked: then nobody moves it.
func (t task) liveGeneration(ctx context.Context, tx pgx.Tx, lock bool) (generation, error) {
	all, err := generations(ctx, tx, t.p.ID(), lock)
	if err != nil {
		return generation{}, err
	}
	g, there := inState(all, live)
	if !there {
		return g, fmt.Errorf("%s has no live generation", t.p.ID())
	}
	return g, requireKnown(ctx, tx, t.store.Vocabulary(), t.p.ID())
}

// compareLive compares what was picked with the live table. Where somebody was forgotten since, it compares again when the
// table knows.
func (t task) compareLive(ctx context.Context, l logAt, p picked) (Verification, error) {
	for {
		found, since, err := compareAt(ctx, l, p, func(ctx context.Context, tx pgx.Tx) (generation, error) {
			return t.liveGeneration(ctx, tx, false)
		})
		if err != nil || since == 0 {
			return found, err
		}
		if err := t.awaitLive(ctx, since); err != nil {
			return found, err
		}
	}
}

// awaitLive waits until the live generation has come to a position.
func (t task) awaitLive(ctx context.Context, at int64) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); wait.For(ctx, 50*time.Millisecond) {
		now, err := position(ctx, t.pool, t.p.ID())
		if err != nil || now >= at {
			return err
		}
		if err := t.tell("waiting for the projection", now, at, 0); err != nil {
			return err
		}
	}
	return errStill
}

// verifyAll folds the whole log into a table of its own, and compares the two. To repair, that table takes the place of
// the other.
func (t task) verifyAll(ctx context.Context, o Options) (any, error) {
	b, err := t.resume(ctx)
	if err != nil {
		return nil, err
	}
	var found Verification
	for {
		at, err := position(ctx, t.pool, t.p.ID())
		if err != nil {
			return found, err
		}
		if err := b.foldUpto(ctx, at); err != nil { // and no further: it has to stop where the live one does
			return found, err
		}
		b.bulk.release()
		if found, err = t.meet(ctx, b); errors.Is(err, errFar) {
			continue
		}
		if err != nil {
			return found, err
		}
		since, err := b.log().forgottenSince(ctx, found.Position)
		if err != nil {
			return found, err
		}
		if found.Different == 0 || since == 0 {
			break
		}
		if err := t.awaitLive(ctx, since); err != nil {
			return found, err
		}
	}
	if found.Different > 0 && o.Repair {
		found.Repaired = found.Different
		return found, errors.Join(b.analyze(ctx), t.finish(ctx, b))
	}
	return found, pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error { return b.gen.drop(ctx, tx) })
}

// meet compares the two tables as they are at one position: the live one stands still until the other has come to where
// it is and a snapshot is taken of both.
func (t task) meet(ctx context.Context, b *rebuild) (found Verification, err error) {
	if err := b.tell("comparing", 0, 0, 0); err != nil {
		return found, err
	}
	held, err := t.pool.Begin(ctx)
	if err != nil {
		return found, err
	}
	defer held.Rollback(context.WithoutCancel(ctx))
	const lock = `SELECT position FROM atlas.projections WHERE name = $1 AND version = $2 AND state = 'live' FOR UPDATE`
	old := generation{ID: t.p.ID()}
	if err := held.QueryRow(ctx, lock, old.ID.Name, old.ID.Version).Scan(&old.Position); err != nil {
		return found, err
	}
	at := b.gen.Position
	err = pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		at, err = b.lockstep(ctx, tx, old)
		return err
	})
	if err != nil {
		return found, err
	}
	if b.gen.Position = at; at > old.Position {
		return found, t.behind(ctx, held, at)
	}
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, t.pool, snapshot, func(tx pgx.Tx) error {
		g, err := t.liveGeneration(ctx, tx, false) // takes the snapshot
		if err != nil {
			return err
		}
		if err := held.Rollback(ctx); err != nil {
			return err
		}
		found, err = t.p.on(g.Number).unlike(ctx, tx, b.gen.table())
		found.Position = g.Position
		return err
	})
	return found, err
}

// behind waits for a live generation that has not come as far as the one it is compared with.
func (t task) behind(ctx context.Context, held pgx.Tx, at int64) error {
	if err := held.Rollback(ctx); err != nil {
		return err
	}
	if err := t.awaitLive(ctx, at); err != nil {
		return err
	}
	return errFar
}
