package eventstore

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/internal/wait"
)

// channel is what nodes notify one another on.
const channel = "atlas_log"

// A node notifies the others once in notifyGap on average, and what lies between is told together. After a pause it may
// notify notifyBurst times as soon as it likes: where an append follows another once that has been handled, waiting for
// the gap each time would cost more than all the rest of the way.
const (
	notifyGap   = 2 * time.Millisecond
	notifyBurst = 10
)

// Waker tells the readers of this process and of the others that the log has grown. It never notifies inside an
// append's transaction, which would make all commits of the cluster queue for one lock: it does so afterwards, in a
// transaction of its own, so what is announced can already be read. A lost notification costs one poll interval.
type Waker struct {
	pool *pgxpool.Pool
	node string
	log  *slog.Logger

	mu     sync.Mutex
	woken  chan struct{} // closed at the next growth
	outbox chan struct{} // holds a token while other nodes must be told
}

// NewWaker returns a waker and makes the store's appends announce through it.
func NewWaker(store *Store, log *slog.Logger) *Waker {
	w := &Waker{pool: store.pool, node: newID().String(), log: log, woken: make(chan struct{}), outbox: make(chan struct{}, 1)}
	store.announce = w.announce
	return w
}

// Woken returns a channel that is closed when the log next grows.
func (w *Waker) Woken() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.woken
}

// wake wakes this process's readers.
func (w *Waker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.woken)
	w.woken = make(chan struct{})
}

// announce wakes this process's readers now, and the other nodes' soon.
func (w *Waker) announce() {
	w.wake()
	select {
	case w.outbox <- struct{}{}:
	default: // they are about to be told anyway
	}
}

// Run tells the other nodes and listens to them until ctx ends. It holds one connection; behind a pooler that cannot
// listen, polling is what remains.
func (w *Waker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.notify(ctx) })
	g.Go(func() error { return w.listen(ctx) })
	return g.Wait()
}

func (w *Waker) notify(ctx context.Context) error {
	notified := pace{gap: notifyGap, burst: notifyBurst}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.outbox:
		}
		if err := w.tell(ctx); err != nil && ctx.Err() == nil {
			w.log.Debug("other nodes not notified; they poll", "error", err)
		}
		if !wait.For(ctx, notified.now(time.Now())) {
			return nil
		}
	}
}

// tell notifies the other nodes. A notification is a transaction of its own, which PostgreSQL would write to the disk
// before it passes it on; a node that crashes has more to forget than that.
func (w *Waker) tell(ctx context.Context) error {
	const q = `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`
	_, err := w.pool.Exec(ctx, q, channel, w.node)
	return err
}

func (w *Waker) listen(ctx context.Context) error {
	for {
		err := w.listenOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		w.log.Debug("not listening; polling", "error", err)
		if !wait.For(ctx, time.Second) {
			return nil
		}
	}
}

// listenOnce listens on a connection of its own until it is lost.
func (w *Waker) listenOnce(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, w.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	w.wake() // to what was announced while nobody listened
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if n.Payload != w.node {
			w.wake()
		}
	}
}
