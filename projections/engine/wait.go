package engine

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/wait"
)

// How often the checkpoints are read while somebody waits: at least so often where no runner in this process says that
// they moved, and less often while the database is away.
const (
	waitPoll = 10 * time.Millisecond
	waitLost = 250 * time.Millisecond
)

// patientFor is how long somebody waits before it is asked whether there is anything to wait for: the log may end with
// positions that were drawn and rolled back, and no projection comes to those.
const patientFor = 50 * time.Millisecond

// Waiter lets readers wait until projections have come to a position. However many wait, the node reads the checkpoints
// once for all of them: one statement for each look, and two more where somebody has waited for a while. It is safe for
// concurrent use.
type Waiter struct {
	pool *pgxpool.Pool
	log  *slog.Logger

	mu      sync.Mutex
	parked  map[ID]bool // which have parked keys, as of the last look
	looked  time.Time
	waiting map[*waiting]bool
	polling bool
	moved   chan struct{} // holds a token when a projection of this process has moved
}

// waiting is one reader and what it waits for.
type waiting struct {
	position int64
	ids      []ID
	since    time.Time
	answer   chan error
}

// sight is what a look has found out.
type sight struct {
	reached map[ID]int64
	end     int64 // the highest position that has been drawn
	final   int64 // every position up to here is final; 0 where that was not asked
	last    int64 // the last event up to final
}

// NewWaiter returns a waiter over the checkpoints in the database.
func NewWaiter(pool *pgxpool.Pool, log *slog.Logger) *Waiter {
	return &Waiter{pool: pool, log: log, waiting: map[*waiting]bool{}, moved: make(chan struct{}, 1)}
}

// Moved says that a projection of this process has moved.
func (w *Waiter) Moved() {
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

// Wait returns when all the projections have taken every event up to the position, whether there is one at the position or
// it was rolled back. When ctx ends first it is ErrLagging; a position beyond the end of the log is eventstore.ErrFuture.
func (w *Waiter) Wait(ctx context.Context, position int64, ids ...ID) error {
	if position <= 0 || len(ids) == 0 {
		return nil
	}
	one := &waiting{position: position, ids: ids, since: time.Now(), answer: make(chan error, 1)}
	w.join(one)
	defer w.leave(one)
	select {
	case err := <-one.answer:
		return err
	case <-ctx.Done():
		return ErrLagging.RetryAfter(time.Second)
	}
}

// join adds a reader, and starts the poll for the first.
func (w *Waiter) join(one *waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[one] = true
	if !w.polling {
		w.polling = true
		go w.poll()
	}
}

func (w *Waiter) leave(one *waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, one)
}

// poll reads the checkpoints until nobody waits any more.
func (w *Waiter) poll() {
	ctx := context.Background() // it belongs to all waiters, not to one; it ends with the last
	for {
		asked := w.everybody()
		if len(asked) == 0 {
			return
		}
		pause := waitPoll
		if err := w.look(ctx, asked); err != nil {
			w.log.Debug("checkpoints not read", "error", err)
			pause = waitLost
		}
		wait.Until(ctx, w.moved, pause)
	}
}

// everybody returns who waits; if nobody does, the poll has ended.
func (w *Waiter) everybody() []*waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.polling = len(w.waiting) > 0
	return slices.Collect(maps.Keys(w.waiting))
}

// look reads the checkpoints and tells those whose wait is over; where somebody waits on, it finds out whether that is for
// positions that were rolled back.
func (w *Waiter) look(ctx context.Context, asked []*waiting) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var s sight
	if s.reached, s.end, err = w.checkpoints(ctx); err != nil {
		return err
	}
	asked = w.answer(asked, s)
	if !slices.ContainsFunc(asked, func(one *waiting) bool { return time.Since(one.since) > patientFor }) {
		return nil
	}
	if err := w.readFinal(ctx, &s); err != nil {
		return err
	}
	w.answer(asked, s)
	return nil
}

// answer tells those whose wait is over, and returns the others. asked joined before the checkpoints were read: whoever
// came later may ask for a position drawn since, which lies beyond the end as it was then and yet not in the future.
func (w *Waiter) answer(asked []*waiting, s sight) (others []*waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range asked {
		switch {
		case one.position > s.end:
			one.answer <- eventstore.ErrFuture
		case one.satisfied(s):
			one.answer <- nil
		default:
			others = append(others, one)
			continue
		}
		delete(w.waiting, one)
	}
	return others
}

// satisfied says whether all projections have taken every event up to the position: they have come to it, or to the last
// event there is below it and will ever be.
func (one *waiting) satisfied(s sight) bool {
	upto := one.position
	if upto <= s.final {
		upto = min(upto, s.last)
	}
	for _, id := range one.ids {
		if s.reached[id] < upto {
			return false
		}
	}
	return true
}

// readFinal reads how far the log is final, and then, in another statement, since it must see what was committed before,
// the last event up to there.
func (w *Waiter) readFinal(ctx context.Context, s *sight) error {
	if err := w.pool.QueryRow(ctx, `SELECT atlas.horizon()`).Scan(&s.final); err != nil {
		return err
	}
	const q = `SELECT coalesce(max(position), 0) FROM atlas.events WHERE position <= $1`
	return w.pool.QueryRow(ctx, q, s.final).Scan(&s.last)
}

// checkpoints reads how far all projections have come, and the end of the log.
func (w *Waiter) checkpoints(ctx context.Context) (reached map[ID]int64, end int64, err error) {
	const q = `SELECT p.name, p.version, p.position, p.parked > 0, s.last_value FROM atlas.projections p, atlas.events_position s WHERE p.state = 'live'`
	started := time.Now()
	rows, err := w.pool.Query(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	reached = map[ID]int64{}
	waitsFor := map[ID]bool{}
	var id ID
	var at int64
	var parked bool
	_, err = pgx.ForEachRow(rows, []any{&id.Name, &id.Version, &at, &parked, &end}, func() error {
		reached[id], waitsFor[id] = at, parked
		return nil
	})
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.parked, w.looked = waitsFor, started
	}
	return reached, end, err
}

// parkedFor is how old the knowledge may be of which projections have parked keys. A reader that waited for a position
// knows as of then.
const parkedFor = time.Second

// Parked says whether the projection has keys that are parked, so that a reader of its table must ask which.
func (w *Waiter) Parked(ctx context.Context, id ID) (bool, error) {
	w.mu.Lock()
	parked, old := w.parked[id], time.Since(w.looked) > parkedFor
	w.mu.Unlock()
	if !old {
		return parked, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, _, err := w.checkpoints(ctx); err != nil {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parked[id], nil
}
