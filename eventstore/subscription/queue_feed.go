package subscription

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/wait"
)

// maxQueued is how many streams of a queue may wait; beyond, no more of the log is taken in until some are done.
const maxQueued = 20_000

// leaseMemory is how long answers are remembered after their leases.
const leaseMemory = "10 minutes"

// feeder takes the log into a queue while somebody in this process waits for its messages, and wakes them. Any number of
// processes may do so: whoever comes first counts, and the others go on from there.
type feeder struct {
	log  *Log
	name string

	mu      sync.Mutex
	waiting []chan error
	running bool
	used    time.Time
	hungry  signal // somebody waits
	turn    int64  // of the place that is read from
	rewind  context.CancelFunc

	// These belong to the goroutine that feeds.
	place  *queuePlace
	reader *eventstore.Reader
	moved  time.Time // when the place was last written down

	tidied time.Time // belongs to the goroutine that looks
}

// queuePlace is where a queue stands in the log.
type queuePlace struct {
	turn       int64 // grows with each reset
	position   int64
	replayUpto int64
	replays    bool
	filter     eventstore.Filter
}

// feeder returns the queue's, of this process.
func (l *Log) feeder(name string) *feeder {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.feeders[name]
	if f == nil {
		f = &feeder{log: l, name: name, hungry: newSignal()}
		l.feeders[name] = f
	}
	return f
}

// await waits to be woken, and says false when the time is over. It has the log taken in meanwhile, and fails when that does.
func (f *feeder) await(ctx context.Context, within time.Duration) (woken bool, err error) {
	if within <= 0 {
		return false, ctx.Err()
	}
	mine := make(chan error, 1)
	f.enlist(mine)
	defer f.withdraw(mine)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case err := <-mine:
		return err == nil, err
	case <-timer.C:
		return false, nil
	}
}

func (f *feeder) enlist(waiter chan error) {
	f.mu.Lock()
	f.waiting = append(f.waiting, waiter)
	f.mu.Unlock()
	f.use()
	f.hungry.give()
}

// use has the feeder run, for a while.
func (f *feeder) use() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used = time.Now()
	if !f.running {
		f.running = true
		go f.run()
	}
}

// idle says how long ago anybody used the feeder.
func (f *feeder) idle() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.used)
}

// withdraw takes a waiter off the list. One that was woken, and has gone meanwhile, wakes another in its place.
func (f *feeder) withdraw(waiter chan error) {
	f.mu.Lock()
	if i := slices.Index(f.waiting, waiter); i >= 0 {
		f.waiting = slices.Delete(f.waiting, i, i+1)
	}
	f.mu.Unlock()
	select {
	case <-waiter:
		f.wake(1)
	default:
	}
}

// wake wakes so many of those who wait, whoever has waited for longest first.
func (f *feeder) wake(n int) { f.tell(n, nil) }

func (f *feeder) tell(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = min(n, len(f.waiting))
	for _, waiter := range f.waiting[:n] {
		waiter <- err
	}
	f.waiting = f.waiting[n:]
}

// waiters returns how many wait.
func (f *feeder) waiters() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiting)
}

// feederRest is how long a feeder goes on when nobody uses it, so that who comes again soon finds it at work.
const feederRest = 5 * time.Second

// run feeds while somebody waits. Five times a second it looks for streams whose turn has come otherwise than by the log:
// they were answered on another node, or a delay or a lease is over.
func (f *feeder) run() {
	ctx, stop := context.WithCancel(context.Background())
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		f.feedOn(ctx)
	}()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for range tick.C {
		if n := f.waiters(); n > 0 {
			f.report(f.look(n))
		} else if f.idle() > feederRest {
			break
		}
		f.tidy()
	}
	stop()
	<-fed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running = len(f.waiting) > 0; f.running {
		go f.run() // somebody came meanwhile
	}
}

// feedOn takes in the log while somebody waits.
func (f *feeder) feedOn(ctx context.Context) {
	for ctx.Err() == nil {
		if f.waiters() == 0 && !wait.Until(ctx, f.hungry, time.Minute) {
			return
		}
		if f.waiters() > 0 {
			queued, err := f.feed(ctx)
			if err != nil {
				f.place = nil
			}
			if ctx.Err() == nil {
				f.report(queued, err)
			}
		}
	}
}

// report wakes those for whom there is something; all of them where it is an error.
func (f *feeder) report(queued int, err error) {
	if err == nil {
		f.wake(queued)
		return
	}
	f.log.log.Warn("queue waits", "subscription", f.name, "error", err)
	f.tell(f.waiters(), fmt.Errorf("queue %s: %w", f.name, unavailable(err)))
	wait.For(context.Background(), glance)
}

// feed reads on in the log, as soon as there is more, and queues what it finds. It returns of how many streams that was.
func (f *feeder) feed(ctx context.Context) (queued int, err error) {
	if f.place == nil {
		if err := f.stand(ctx); err != nil {
			return 0, err
		}
	}
	if full, err := f.full(ctx); err != nil || full {
		wait.For(ctx, glance)
		return 0, err
	}
	reading, done := f.reading(ctx)
	defer done()
	batch, err := f.reader.Next(reading, pageEvents)
	switch {
	case errors.Is(err, eventstore.ErrTailReset), err != nil && reading.Err() != nil:
		f.place = nil
		return 0, nil
	case err != nil:
		return 0, err
	}
	if len(batch.Events) == 0 && time.Since(f.moved) < idleFlush {
		return 0, nil // the position is written down with the next event, or some time
	}
	return f.take(ctx, batch)
}

// reading returns a context that ends when the place is no good any more.
func (f *feeder) reading(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn, f.rewind = f.place.turn, cancel
	return ctx, cancel
}

// turned has the feeder find out anew where the queue stands, if it was reset.
func (f *feeder) turned(turn int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rewind != nil && turn != f.turn {
		f.rewind()
	}
}

// stand finds out where the queue stands, and reads on from there.
func (f *feeder) stand(ctx context.Context) error {
	const q = `
		SELECT s.epoch, s.position, s.replay_upto, k.replays, g.categories, g.types
		FROM atlas.subscription_slots s
		JOIN atlas.subscription_queues k ON k.subscription = s.subscription
		JOIN atlas.subscriptions g ON g.name = s.subscription
		WHERE s.subscription = $1 AND s.slot = 0`
	var p queuePlace
	err := f.log.pool.QueryRow(ctx, q, f.name).Scan(&p.turn, &p.position, &p.replayUpto, &p.replays, &p.filter.Categories, &p.filter.Types)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return err
	}
	f.place, f.reader = &p, f.log.tail.From(p.position, p.filter)
	return nil
}

// take queues a batch, and forgets the place where another node, or a reset, came first.
func (f *feeder) take(ctx context.Context, batch eventstore.Batch) (queued int, err error) {
	streams, err := f.streams(ctx, batch.Events)
	if err != nil {
		return 0, err
	}
	var counts bool
	const q = `SELECT atlas.fill_queue($1, $2, $3, $4, $5)`
	if err := f.log.pool.QueryRow(ctx, q, f.name, f.place.turn, f.place.position, batch.Upto, encoded(streams)).Scan(&counts); err != nil {
		return 0, fmt.Errorf("fill %s: %w", f.name, err)
	}
	if !counts {
		f.place = nil
		return len(streams), nil
	}
	f.place.position, f.moved = batch.Upto, time.Now()
	return len(streams), nil
}

// full says whether as many streams wait as may.
func (f *feeder) full(ctx context.Context) (full bool, err error) {
	const q = `SELECT count(*) >= $2 FROM (SELECT FROM atlas.subscription_queued WHERE subscription = $1 LIMIT $2) q`
	if err := f.log.pool.QueryRow(ctx, q, f.name, f.log.maxQueued).Scan(&full); err != nil {
		return false, fmt.Errorf("count streams of %s: %w", f.name, err)
	}
	return full, nil
}

// fedStream is what was read of a stream: where its first event lies, and its last.
type fedStream struct {
	Stream   string `json:"stream"`
	Position int64  `json:"position"`
	Version  int64  `json:"version"`
	Seen     int64  `json:"seen"`
}

// streams returns what the events say of their streams. What was done before the last reset is left out, if the queue takes
// no part in replays: in each stream that is what comes first, so that everything behind it is handed out.
func (f *feeder) streams(ctx context.Context, batch []*eventstore.Recorded) ([]*fedStream, error) {
	undone, err := f.undone(ctx, batch)
	if err != nil {
		return nil, err
	}
	found := map[eventstore.Stream]*fedStream{}
	for _, e := range batch {
		if !f.place.replays && e.Position <= f.place.replayUpto {
			if from, some := undone[e.Stream.String()]; !some || e.Position < from {
				continue
			}
		}
		s := found[e.Stream]
		if s == nil {
			s = &fedStream{Stream: e.Stream.String(), Position: e.Position, Version: e.Version}
			found[e.Stream] = s
		}
		s.Seen = e.Position
	}
	all := make([]*fedStream, 0, len(found))
	all = slices.AppendSeq(all, maps.Values(found))
	slices.SortFunc(all, func(a, b *fedStream) int { return cmp.Compare(a.Position, b.Position) })
	return all, nil
}

// undone returns from where on the events' streams were not done before the last reset, where they were not.
func (f *feeder) undone(ctx context.Context, batch []*eventstore.Recorded) (map[string]int64, error) {
	if f.place.replays || len(batch) == 0 || batch[0].Position > f.place.replayUpto {
		return nil, nil
	}
	names := make([]string, len(batch))
	for i, e := range batch {
		names[i] = e.Stream.String()
	}
	const q = `SELECT stream, position FROM atlas.subscription_undone WHERE subscription = $1 AND stream = ANY ($2)`
	rows, err := f.log.pool.Query(ctx, q, f.name, names)
	if err != nil {
		return nil, fmt.Errorf("replays of %s: %w", f.name, err)
	}
	from := map[string]int64{}
	var stream string
	var position int64
	_, err = pgx.ForEachRow(rows, []any{&stream, &position}, func() error { from[stream] = position; return nil })
	return from, err
}

// look returns how many streams' turn has come, at most so many.
func (f *feeder) look(most int) (n int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTimeout)
	defer cancel()
	const q = `
		SELECT s.epoch, (
			SELECT count(*) FROM (
				SELECT FROM atlas.subscription_queued q WHERE q.subscription = $1 AND q.next_at <= now() LIMIT $2
			) due
		)
		FROM atlas.subscription_slots s
		WHERE s.subscription = $1 AND s.slot = 0`
	var turn int64
	err = f.log.pool.QueryRow(ctx, q, f.name, most).Scan(&turn, &n)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", f.name, err)
	}
	f.turned(turn)
	return n, nil
}

// tidyBatch is how many answers are dropped at once.
const tidyBatch = 10_000

// tidy drops answers that nobody needs, once a minute, and again at once where there were more. Nobody fails when it does.
func (f *feeder) tidy() {
	if time.Since(f.tidied) < time.Minute {
		return
	}
	dropped, err := f.drop()
	if err != nil {
		f.log.log.Warn("old answers stay", "subscription", f.name, "error", err)
	}
	if dropped < tidyBatch {
		f.tidied = time.Now()
	}
}

// drop drops old answers, beside others who do the same.
func (f *feeder) drop() (n int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTimeout)
	defer cancel()
	const q = `
		WITH old AS MATERIALIZED (
			SELECT o.lease FROM atlas.subscription_leases o
			WHERE o.subscription = $1 AND o.expires_at < now() - interval '` + leaseMemory + `'
				AND NOT EXISTS (
					SELECT FROM atlas.subscription_queued q
					WHERE q.subscription = o.subscription AND q.stream = o.stream AND q.lease = o.lease
				)
			LIMIT $2
			FOR UPDATE SKIP LOCKED
		)
		DELETE FROM atlas.subscription_leases l USING old WHERE l.lease = old.lease`
	tag, err := f.log.pool.Exec(ctx, q, f.name, tidyBatch)
	return tag.RowsAffected(), err
}
