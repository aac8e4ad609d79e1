package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/wait"
)

// ErrNotRebuildable says that a projection has effects that cannot be thrown away and made again.
var ErrNotRebuildable = fault.New(fault.Conflict, "projection_not_rebuildable",
	"what this projection wrote was handed on and cannot be taken back, so it cannot be rebuilt, rolled back or verified")

// errOvertaken says that a generation is no longer the one that was being built.
var errOvertaken = fmt.Errorf("the generation was taken away: %w", ErrCancelled)

// standing is a projection whose table can be made anew beside the one that is read: a View.
type standing interface {
	Projection
	on(generation int) standing         // the same over one generation's table
	make(context.Context, pgx.Tx) error // makes that table
	newBulk(empty bool) bulk
	verifier
	present(ctx context.Context, tx pgx.Tx, number int) error
	subjectColumn() string
}

func standingOf(p Projection) (standing, error) {
	s, ok := p.(standing)
	if !ok || !p.disposable() {
		return nil, ErrNotRebuildable
	}
	return s, nil
}

func (v *View[R]) on(generation int) standing {
	other := *v
	other.table = v.table.of(generation)
	return &other
}

func (v *View[R]) make(ctx context.Context, tx pgx.Tx) error { return v.table.make(ctx, tx, v.ddl) }

func (v *View[R]) present(ctx context.Context, tx pgx.Tx, number int) error {
	return v.table.present(ctx, tx, number)
}

func (v *View[R]) subjectColumn() string { return v.table.subject.name }

// What a rebuild does at a time.
const (
	pageEvents   = 1000                   // events read at once, fewer where they are large
	readAhead    = 2                      // pages read while one is folded
	writeAfter   = 30 * time.Second       // what has been folded is committed at least so often, and a killed rebuild goes on there
	nearEnough   = 500                    // positions that may be left for the swap, which holds up the live table meanwhile
	swapPatience = 300 * time.Millisecond // how long the swap may keep readers waiting behind one that takes long; then it tries again
	restStep     = time.Second            // how often a rebuild that rests looks whether it is wanted otherwise, or no more
)

// The phases of folding.
const (
	phaseFolding = "folding"
	phaseOutrun  = "folding no faster than the log grows"
)

// DefaultMemory is how many bytes of rows a rebuild holds unless told otherwise. What it takes beside that does not grow
// with the table: a few pages of events.
const DefaultMemory = 256 << 20

// Options says how a rebuild or a verification works. Who asks for a job that has not ended says anew how it is done: the load
// and the memory count at once, the rest where the job is begun or gone on with.
type Options struct {
	MaxLoad int   `json:"max_load"` // per cent of the time it may work, 1 to 100; 0 is 100
	Memory  int64 `json:"memory"`   // bytes of rows held at once; 0 is DefaultMemory
	Sample  int   `json:"sample"`   // rows verified; 0 is DefaultSample, negative is all
	Repair  bool  `json:"repair"`   // of a verification: makes the rows that differ what the log says
}

func (o Options) orDefaults() Options {
	o.MaxLoad, o.Memory, o.Sample = cmp.Or(o.MaxLoad, 100), cmp.Or(o.Memory, DefaultMemory), cmp.Or(o.Sample, DefaultSample)
	return o
}

// check refuses options that mean nothing.
func (o Options) check() error {
	if o.MaxLoad < 0 || o.MaxLoad > 100 || o.Memory < 0 {
		return errors.New("the load is a percentage from 1 to 100, and the memory a number of bytes above 0")
	}
	return nil
}

// rebuild builds one generation.
type rebuild struct {
	store  *eventstore.Store
	pool   *pgxpool.Pool
	view   standing // over the generation's table
	filter eventstore.Filter
	gen    generation
	job    *Job // whose options may change whenever something is told
	page   int
	tell   func(phase string, done, total, events int64) error // fails where the work is to stop

	phase  string // and how far it is folded, and to where, as it was told last
	at     int64
	end    int64
	behind int64 // how far it was behind the log when the last pass began; 0 where there was none

	bulk    bulk
	written time.Time       // when what was folded was last committed
	parked  map[string]bool // keys whose events cannot be folded
	careful map[int64]bool  // positions of events that cannot be folded into some row
}

func newRebuild(store *eventstore.Store, pool *pgxpool.Pool, p standing, g generation, j *Job, tell func(string, int64, int64, int64) error) (*rebuild, error) {
	f, err := filter(store.Vocabulary(), p)
	if err != nil {
		return nil, err
	}
	view := p.on(g.Number)
	return &rebuild{
		store: store, pool: pool, view: view, filter: f, gen: g, job: j, page: pageEvents, tell: tell, phase: phaseFolding,
		written: time.Now(), careful: map[int64]bool{}, bulk: view.newBulk(g.Position == 0),
	}, nil
}

// catchUp folds the log until the generation has come close to its end.
func (b *rebuild) catchUp(ctx context.Context) error {
	b.behind = 0
	for {
		end, err := b.store.Horizon(ctx)
		if err != nil {
			return err
		}
		if err := b.foldUpto(ctx, end); err != nil {
			return err
		}
		now, err := b.store.Horizon(ctx)
		if err != nil || now-end <= nearEnough {
			return err
		}
	}
}

// foldUpto folds the log up to a horizon, and commits what it has folded. Where an event cannot be folded, it goes back to
// what was committed last and takes that event's page as the runner would, which parks the key.
func (b *rebuild) foldUpto(ctx context.Context, end int64) error {
	b.judgePace(end)
	for {
		err := b.foldPages(ctx, end)
		bad := (*poison)(nil)
		if !errors.As(err, &bad) || b.careful[bad.position] {
			return err
		}
		b.careful[bad.position] = true
		b.bulk = b.view.newBulk(b.gen.Position == 0)
	}
}

// judgePace says whether the folding comes nearer to the log's end with each pass.
func (b *rebuild) judgePace(end int64) {
	before, now := b.behind, end-b.gen.Position
	b.phase, b.behind = phaseFolding, now
	if before > 0 && now >= before && now > nearEnough {
		b.phase = phaseOutrun
	}
}

func (b *rebuild) foldPages(ctx context.Context, end int64) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if b.parked, err = parkedKeys(ctx, b.pool, b.gen); err != nil {
		return err
	}
	at := b.gen.Position
	b.end = end
	for page := range b.pages(ctx, at, end) {
		if page.err != nil {
			return page.err
		}
		began := time.Now()
		if err := b.take(ctx, at, page.Batch); err != nil {
			return err
		}
		at = page.Upto
		b.at = at
		if err := b.tell(b.phase, b.at, b.end, int64(len(page.Events))); err != nil {
			return err
		}
		if err := b.rest(ctx, time.Since(began)+page.took); err != nil {
			return err
		}
		if err := b.writeIfDue(ctx, at); err != nil {
			return err
		}
	}
	return b.write(ctx, max(at, b.gen.Position))
}

// take folds a page that was read from a position on.
func (b *rebuild) take(ctx context.Context, from int64, batch eventstore.Batch) error {
	slow := slices.ContainsFunc(batch.Events, func(r *eventstore.Recorded) bool { return b.careful[r.Position] })
	if !slow && len(b.parked) > 0 {
		var err error
		if slow, err = b.bulk.touchesAny(batch.Events, b.parked); err != nil {
			return err
		}
	}
	if slow {
		return b.takeSlowly(ctx, from, batch)
	}
	if err := b.bulk.load(ctx, b.pool, batch.Events); err != nil {
		return err
	}
	return b.bulk.fold(batch.Events)
}

// takeSlowly folds a page as the runner would: keys whose events fail are parked, and the events of parked keys kept.
func (b *rebuild) takeSlowly(ctx context.Context, from int64, batch eventstore.Batch) error {
	if err := b.write(ctx, from); err != nil {
		return err
	}
	b.bulk = b.view.newBulk(false)
	err := pgx.BeginTxFunc(ctx, b.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := b.gen.move(ctx, tx, batch.Upto); err != nil {
			return err
		}
		return b.takeParking(ctx, tx, batch)
	})
	if err != nil {
		return overtaken(err)
	}
	b.gen.Position, b.written = batch.Upto, time.Now()
	b.parked, err = parkedKeys(ctx, b.pool, b.gen)
	return err
}

// takeParking folds events as the runner would. The generation is locked by the transaction.
func (b *rebuild) takeParking(ctx context.Context, tx pgx.Tx, batch eventstore.Batch) (err error) {
	const count = `SELECT parked FROM atlas.projections WHERE name = $1 AND version = $2 AND generation = $3`
	if _, err := tx.Exec(ctx, `SELECT `+byIndex); err != nil {
		return err
	}
	p := parking{id: b.gen.ID, generation: b.gen.Number}
	if err := tx.QueryRow(ctx, count, p.id.Name, p.id.Version, p.generation).Scan(&p.count); err != nil {
		return err
	}
	defer recovered(&err)
	return b.view.take(ctx, tx, b.gen.Number, batch.Events, &p)
}

// parkedKeys returns the keys of a generation that are parked.
func parkedKeys(ctx context.Context, q querier, g generation) (map[string]bool, error) {
	const sql = `SELECT key FROM atlas.projection_parked WHERE name = $1 AND version = $2 AND generation = $3`
	rows, err := q.Query(ctx, sql, g.ID.Name, g.ID.Version, g.Number)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error { all[key] = true; return nil })
	return all, err
}

// page is a batch, or why there is none.
type page struct {
	eventstore.Batch
	took time.Duration
	err  error
}

// pages reads ahead. After an error, or when ctx has ended, nothing more comes.
func (b *rebuild) pages(ctx context.Context, at, end int64) <-chan page {
	pages := make(chan page, readAhead)
	go func() {
		defer close(pages)
		for at < end {
			var p page
			began := time.Now()
			p.Batch, p.err = b.store.ReadAll(ctx, at, end, b.filter, b.page)
			p.took = time.Since(began)
			select {
			case pages <- p:
			case <-ctx.Done():
				return
			}
			if p.err != nil {
				return
			}
			at = p.Upto
		}
	}()
	return pages
}

func (b *rebuild) writeIfDue(ctx context.Context, at int64) error {
	full := int64(b.bulk.held()) > b.job.Options.orDefaults().Memory
	due := writeAfter
	if len(b.careful) > 0 {
		due = time.Second // since there may be more of them, and each is a way back
	}
	if !full && time.Since(b.written) < due {
		return nil
	}
	if err := b.write(ctx, at); err != nil {
		return err
	}
	if full {
		b.bulk.release()
	}
	return nil
}

// write commits what has been folded up to a position, and the checkpoint with it.
func (b *rebuild) write(ctx context.Context, at int64) error {
	began := time.Now()
	err := pgx.BeginTxFunc(ctx, b.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
			return err
		}
		if err := b.gen.move(ctx, tx, at); err != nil {
			return err
		}
		_, err := b.bulk.write(ctx, tx)
		return err
	})
	if err != nil {
		return overtaken(err)
	}
	b.gen.Position, b.written = at, time.Now()
	return b.rest(ctx, time.Since(began))
}

// overtaken says what a lost turn means to whoever builds.
func overtaken(err error) error {
	if errors.Is(err, errTurnLost) {
		return errOvertaken
	}
	return err
}

// analyze tells the planner what is in the table, before the first reader asks.
func (b *rebuild) analyze(ctx context.Context) error {
	_, err := b.pool.Exec(ctx, "ANALYZE "+b.gen.table())
	return err
}

// rest rests after work for as long as the load that is wanted asks for, which may change meanwhile.
func (b *rebuild) rest(ctx context.Context, worked time.Duration) error {
	for began := time.Now(); ; {
		left := b.job.Options.rest(worked) - time.Since(began)
		if left <= 0 {
			return ctx.Err()
		}
		if !wait.For(ctx, min(left, restStep)) {
			return ctx.Err()
		}
		if err := b.tell(b.phase, b.at, b.end, 0); err != nil {
			return err
		}
	}
}

// rest returns for how long to rest after work, to keep it to a share of the time.
func (o Options) rest(worked time.Duration) time.Duration {
	return time.Duration(float64(worked) * (100/float64(o.orDefaults().MaxLoad) - 1))
}
