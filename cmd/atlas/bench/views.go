package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
)

// keepViews is a node with the role projector: it keeps all read tables and the outbox up with the log.
func keepViews(ctx context.Context, url string, stdout io.Writer) error {
	l, err := openLog(ctx, url, os.Getenv(followMaster), catalogWords)
	if err != nil {
		return err
	}
	defer l.pool.Close()
	quiet := slog.New(slog.DiscardHandler)
	waker := eventstore.NewWaker(l.store, quiet)
	tail := eventstore.NewTail(l.store, waker, quiet)
	waiter := engine.NewWaiter(l.pool, quiet)
	runner, err := engine.NewRunner(l.store, tail, l.pool, quiet, waiter, folded())
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{waker.Run, tail.Run, runner.Run} {
		g.Go(func() error { return part(ctx) })
	}
	g.Go(func() error {
		last, err := l.store.Last(ctx)
		if err != nil {
			return err
		}
		var ids []engine.ID
		for _, p := range folded() {
			ids = append(ids, p.ID())
		}
		if err := waiter.Wait(ctx, last, ids...); err != nil {
			return err
		}
		fmt.Fprintln(stdout, "ready")
		return nil
	})
	return g.Wait()
}

// live writes documents to a log whose views another process keeps up, and sees when they show them.
type live struct {
	log     *testLog
	authors chan *author
	written atomic.Int64
	done    func()
}

// authors is how many documents are written to at once.
const authors = 64

// openLive starts the process that keeps the views up. Close what it returns before the log.
func openLive(ctx context.Context, log *testLog) (*live, error) {
	ctx, end := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	l := &live{log: log, authors: make(chan *author, authors)}
	waker := eventstore.NewWaker(log.store, slog.New(slog.DiscardHandler))
	g.Go(func() error { return waker.Run(ctx) })
	l.done = func() {
		end()
		_ = g.Wait() // which only says that it has ended
	}
	node, err := startFollower(ctx, log, byViews)
	if err != nil {
		l.done()
		return nil, err
	}
	g.Go(node.cmd.Wait)
	for _, owner := range newOwners(authors) {
		l.authors <- &author{owner: owner}
	}
	return l, nil
}

// write appends one event to one of the documents and returns its position.
func (l *live) write(ctx context.Context) (int64, error) {
	a := <-l.authors
	defer func() { l.authors <- a }()
	a.next()
	w := eventstore.Write{Stream: a.stream, Expect: a.version, Events: []events.Event{documentEvent(a.owner, a.version+1)}}
	o, err := l.log.store.Append(eventstore.WithMetadata(ctx, newMetadata()), w)
	if err != nil {
		return 0, err
	}
	a.version++
	l.written.Add(1)
	return o.Streams[0].Position, nil
}

// during samples until something has ended, half a second at a time.
func (l *live) during(ctx context.Context, rate int, work func(context.Context) error) (*measure.Sample, error) {
	g, ctx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	g.Go(func() error {
		defer close(ended)
		return work(ctx)
	})
	total := &measure.Sample{}
	g.Go(func() error {
		for {
			s, err := l.sample(ctx, rate, time.Second/2)
			if err != nil {
				return err
			}
			total.Units += s.Units
			total.Took += s.Took
			total.Latencies.Merge(&s.Latencies)
			select {
			case <-ended:
				return nil
			default:
			}
		}
	})
	return total, g.Wait()
}

// sample writes so many events a second, and counts each until whoever reads the view would see it.
func (l *live) sample(ctx context.Context, rate int, length time.Duration) (*measure.Sample, error) {
	seen, err := watchViews(ctx, l.log.pool)
	if err != nil {
		return nil, err
	}
	defer seen.stop()
	return measure.Paced(ctx, rate, length, func(ctx context.Context) error {
		position, err := l.write(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		return seen.await(ctx, position)
	})
}

// sightings is how far the view of documents is seen to have come, by a session that does nothing but look.
type sightings struct {
	stop func()

	mu      sync.Mutex
	at      int64
	err     error
	changed chan struct{} // closed when any of the above changes
}

// lookPause is how long the session rests between two looks.
const lookPause = time.Millisecond

// watchViews looks at the view's checkpoint, which is committed with its rows.
func watchViews(ctx context.Context, pool *pgxpool.Pool) (*sightings, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(ctx)
	s := &sightings{changed: make(chan struct{})}
	ended := make(chan struct{})
	s.stop = func() { end(); <-ended }
	go func() {
		defer close(ended)
		defer conn.Release()
		for ctx.Err() == nil {
			s.note(position(context.WithoutCancel(ctx), conn))
			time.Sleep(lookPause)
		}
	}()
	return s, nil
}

func position(ctx context.Context, conn *pgxpool.Conn) (at int64, err error) {
	const q = `SELECT position FROM atlas.projections WHERE name = $1 AND version = $2 AND state = 'live'`
	id := projections.Documents.ID()
	return at, conn.QueryRow(ctx, q, id.Name, id.Version).Scan(&at)
}

func (s *sightings) note(at int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at != s.at || err != nil {
		s.at, s.err = at, err
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// longestLag is when a view has stopped for good.
const longestLag = time.Minute

// await waits until the view shows a position.
func (s *sightings) await(ctx context.Context, position int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longestLag, errors.New("the view stands still"))
	defer cancel()
	for {
		s.mu.Lock()
		at, err, changed := s.at, s.err, s.changed
		s.mu.Unlock()
		if at >= position || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
