package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/measure"
)

// subscribeLog hands out a backlog, each time to a new group, in the three ways there are.
var subscribeLog = Case{
	Name: "subscribe",
	About: "hand a backlog of 100,000 messages out on a subscriber's channel, beside one bare ordered scan of the same; then by a " +
		"Watermill router (subscribe.router), to a plain function (subscribe.consume); and (subscribe.latency) append one to the " +
		"handler of another process, beside INSERT and NOTIFY",
	Clients: []int{1},
	Open:    openSubscribe,
}

// A sample of three seconds has a backlog of a hundred thousand messages.
const (
	backlogStreams = 10_000
	backlogRate    = 3400 // streams for each second of a sample
)

// backlog is a log whose messages no group has come to.
type backlog struct {
	log     *testLog
	horizon int64
	size    int64
}

// openBacklog fills a log of so many streams, and the bare table beside it; done closes both.
func openBacklog(ctx context.Context, s Setting, streams int) (b *backlog, bare *pgxpool.Pool, done func(), err error) {
	log, _, bare, err := openFilled(ctx, s, streams, streamEvents, subscription.Migrations())
	if err != nil {
		return nil, nil, nil, err
	}
	done = func() {
		log.pool.Close()
		bare.Close()
	}
	b = &backlog{log: log, size: int64(streams * streamEvents)}
	if b.horizon, err = log.store.Horizon(ctx); err != nil {
		done()
		return nil, nil, nil, err
	}
	return b, bare, done, nil
}

func openSubscribe(ctx context.Context, s Setting) (Contest, error) {
	if s.Clients != 1 {
		return Contest{}, errors.New("a sample is one process that works for one group: measure it with one client")
	}
	b, bare, done, err := openBacklog(ctx, s, perSecond(s, backlogRate, 50, backlogStreams))
	if err != nil {
		return Contest{}, err
	}
	latency, endLatency, err := openLatency(ctx, b.log, bare, byHandler)
	if err != nil {
		done()
		return Contest{}, err
	}
	contest := func(work func(*worker, context.Context) error) measure.Contest {
		scan := func(ctx context.Context, _ int) (int64, error) { return scanning(ctx, bare, b.horizon, false) }
		return measure.Contest{Unit: "messages/s", Atlas: b.side((*worker).makeGroup, work), Bare: reading(1, b.size, scan)}
	}
	return Contest{
		Contest: contest((*worker).channel),
		Also: []Also{
			{Name: "router", Contest: contest((*worker).router)},
			{Name: "consume", Contest: contest((*worker).consume)},
			{Name: "latency", Contest: latency},
		},
		Close: func() {
			endLatency()
			done()
		},
	}, nil
}

// worker works off a backlog for a new group, with what a process has for that: no sample is helped by what the one before
// has read, and nothing is left that follows the log beside the latencies.
type worker struct {
	group  string
	groups *subscription.Log
	*receipt
}

// side has a worker take each sample, and holds that each message came once and is recorded as done. The time begins with
// the subscribing and ends with the last message.
func (b *backlog) side(prepare, work func(*worker, context.Context) error) measure.Side {
	return measure.Side{Sample: func(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
		s := &measure.Sample{}
		return s, onLog(ctx, b.log.url, func(ctx context.Context, pool *pgxpool.Pool, store *eventstore.Store, tail *eventstore.Tail) error {
			w := &worker{uuid.NewString(), subscription.New(pool, store, tail, slog.New(slog.DiscardHandler)), b.newReceipt()}
			if err := prepare(w, ctx); err != nil {
				return err
			}
			if _, err := tail.From(0, eventstore.Filter{}).Next(ctx, 1); err != nil { // it follows the log from here on
				return err
			}
			started := time.Now()
			if err := work(w, ctx); err != nil {
				return err
			}
			s.Units, s.Took = b.size-w.left.Load(), w.ended.Sub(started)
			s.Latencies.Add(s.Took)
			return b.settled(ctx, w)
		})
	}}
}

func orders(group string) subscription.Definition {
	return subscription.Definition{Name: group, Filter: eventstore.Filter{Categories: []string{"order"}}}
}

func (w *worker) makeGroup(ctx context.Context) error { return w.groups.Create(ctx, orders(w.group)) }

// settled holds that all that came is recorded, and removes the group.
func (b *backlog) settled(ctx context.Context, w *worker) error {
	status, err := w.groups.Show(ctx, w.group)
	if err != nil {
		return err
	}
	if w.twice.Load() || w.left.Load() != 0 || status.Position < b.horizon {
		return fmt.Errorf("of %d messages %d did not come, some twice: %t; the group stands at %d of %d",
			b.size, w.left.Load(), w.twice.Load(), status.Position, b.horizon)
	}
	return w.groups.Delete(ctx, w.group)
}

// receipt counts the messages of a sample.
type receipt struct {
	seen  []atomic.Bool // by position
	left  atomic.Int64
	twice atomic.Bool
	ended time.Time // when the last came
	all   chan struct{}
}

func (b *backlog) newReceipt() *receipt {
	r := &receipt{seen: make([]atomic.Bool, b.horizon+1), all: make(chan struct{})}
	r.left.Store(b.size)
	return r
}

func (r *receipt) note(e *eventstore.Recorded) {
	if r.seen[e.Position].Swap(true) {
		r.twice.Store(true)
		return
	}
	if r.left.Add(-1) == 0 {
		r.ended = time.Now()
		close(r.all)
	}
}

// channel receives and acks, one message after the other in one goroutine.
func (w *worker) channel(ctx context.Context) error {
	s, err := w.subscriber()
	if err != nil {
		return err
	}
	messages, err := s.Subscribe(ctx, w.group)
	if err != nil {
		return err
	}
	for w.left.Load() > 0 {
		m, more := <-messages
		if !more {
			break
		}
		w.note(subscription.Event(m.Context()))
		m.Ack()
	}
	return s.Close()
}

func (w *worker) subscriber() (*subscription.Subscriber, error) {
	return subscription.NewSubscriber(w.groups, subscription.SubscriberConfig{
		Group: w.group, Definition: func(string, string) subscription.Definition { return orders(w.group) },
	})
}

// router has a Watermill router without middlewares call a handler.
func (w *worker) router(ctx context.Context) error {
	s, err := w.subscriber()
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router.AddConsumerHandler(w.group, w.group, s, func(m *message.Message) error {
		w.note(subscription.Event(m.Context()))
		return nil
	})
	return w.until(ctx, router.Run)
}

// consume has a plain function called.
func (w *worker) consume(ctx context.Context) error {
	return w.until(ctx, func(ctx context.Context) error {
		return w.groups.Consume(ctx, orders(w.group), subscription.Options{}, func(_ context.Context, e *eventstore.Recorded) error {
			w.note(e)
			return nil
		})
	})
}

// until runs something until all messages came.
func (r *receipt) until(ctx context.Context, run func(context.Context) error) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return run(ctx) })
	select {
	case <-r.all:
	case <-ctx.Done():
	}
	end()
	return g.Wait()
}

// followHandler works for a group from now on, and says what its handler is given.
func followHandler(ctx context.Context, url string, stdout io.Writer) error {
	return onLog(ctx, url, func(ctx context.Context, pool *pgxpool.Pool, store *eventstore.Store, tail *eventstore.Tail) error {
		d := orders("latency")
		d.Start = subscription.Now()
		groups := subscription.New(pool, store, tail, slog.New(slog.DiscardHandler))
		if err := groups.Create(ctx, d); err != nil {
			return err
		}
		fmt.Fprintln(stdout, "ready")
		return groups.Consume(ctx, d, subscription.Options{}, func(_ context.Context, e *eventstore.Recorded) error {
			_, err := fmt.Fprintln(stdout, e.Stream, e.Version)
			return err
		})
	})
}
