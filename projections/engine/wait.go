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
)

// How often the checkpoints are read while somebody waits: at least so often where no runner in this process says that
// they moved, and less often while the database is away.
const (
	waitPoll = 10 * time.Millisecond
	waitLost = 250 * time.Millisecond
)

// Waiter lets readers wait until projections have come to a position. However many wait, the node reads the checkpoints
// once for all of them. It is safe for concurrent use.
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
	answer   chan error
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

// Wait returns when all the projections have come to the position. When ctx ends first it is ErrLagging; a position
// beyond the end of the log is eventstore.ErrFuture.
func (w *Waiter) Wait(ctx context.Context, position int64, ids ...ID) error {
	if position <= 0 || len(ids) == 0 {
		return nil
	}
	one := &waiting{position: position, ids: ids, answer: make(chan error, 1)}
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
		reached, end, err := w.checkpoints(ctx)
		if err != nil {
			w.log.Debug("checkpoints not read", "error", err)
			pause = waitLost
		} else {
			w.answer(asked, reached, end)
		}
		select {
		case <-w.moved:
		case <-time.After(pause):
		}
	}
}

// everybody returns who waits; if nobody does, the poll has ended.
func (w *Waiter) everybody() []*waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.polling = len(w.waiting) > 0
	return slices.Collect(maps.Keys(w.waiting))
}

// answer tells those whose wait is over. asked joined before the checkpoints were read: whoever came later may ask for a
// position drawn since, which lies beyond the end as it was then and yet not in the future.
func (w *Waiter) answer(asked []*waiting, reached map[ID]int64, end int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range asked {
		if one.position > end {
			one.answer <- eventstore.ErrFuture
			delete(w.waiting, one)
		} else if one.satisfied(reached) {
			one.answer <- nil
			delete(w.waiting, one)
		}
	}
}

func (one *waiting) satisfied(reached map[ID]int64) bool {
	for _, id := range one.ids {
		if reached[id] < one.position {
			return false
		}
	}
	return true
}

// checkpoints reads how far all projections have come, and the end of the log.
func (w *Waiter) checkpoints(ctx context.Context) (reached map[ID]int64, end int64, err error) {
	const q = `SELECT p.name, p.version, p.position, p.parked > 0, s.last_value FROM atlas.projections p, atlas.events_position s WHERE p.state = 'live'`
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
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
	if _, _, err := w.checkpoints(ctx); err != nil {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parked[id], nil
}
