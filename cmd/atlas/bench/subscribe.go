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
	pool    *pgxpool.Pool
	groups  *subscription.Log
	horizon int64
	size    int64
}

func openSubscribe(ctx context.Context, s Setting) (_ Contest, err error) {
	if s.Clients != 1 {
		return Contest{}, errors.New("a sample is one process that works for one group: measure it with one client")
	}
	streams := perSecond(s, backlogRate, 50, backlogStreams)
	log, _, bare, err := openFilled(ctx, s, streams, streamEvents, subscription.Migrations())
	if err != nil {
		return Contest{}, err
	}
	ctx, end := context.WithCancel(ctx)
	follow, ctx := errgroup.WithContext(ctx)
	done := func() {
		end()
		_ = follow.Wait() // which only says that it has ended
		log.pool.Close()
		bare.Close()
	}
	silent := slog.New(slog.DiscardHandler)
	waker := eventstore.NewWaker(log.store, silent)
	tail := eventstore.NewTail(log.store, waker, silent)
	follow.Go(func() error { return waker.Run(ctx) })
	follow.Go(func() error { return tail.Run(ctx) })
	b := &backlog{pool: log.pool, groups: subscription.New(log.pool, log.store, tail, silent), size: int64(streams * streamEvents)}
	if b.horizon, err = log.store.Horizon(ctx); err != nil {
		done()
		return Contest{}, err
	}
	latency, endLatency, err := openLatency(ctx, log, bare, byHandler)
	if err != nil {
		done()
		return Contest{}, err
	}
	contest := func(work func(context.Context, string, *receipt) error) measure.Contest {
		scan := func(ctx context.Context, _ int) (int64, error) { return scanning(ctx, bare, b.horizon, false) }
		return measure.Contest{Unit: "messages/s", Atlas: b.side(work), Bare: reading(1, b.size, scan)}
	}
	return Contest{
		Contest: contest(b.channel),
		Also: []Also{
			{Name: "router", Contest: contest(b.router)},
			{Name: "consume", Contest: contest(b.consume)},
			{Name: "latency", Contest: latency},
		},
		Close: func() {
			endLatency()
			done()
		},
	}, nil
}

// side has a new group work off the backlog in every sample, and holds that each message came once and is recorded as done.
// The time begins with the subscribing and ends with the last message.
func (b *backlog) side(work func(ctx context.Context, group string, r *receipt) error) measure.Side {
	return measure.Side{Sample: func(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
		s := &measure.Sample{}
		group := uuid.NewString()
		if err := b.groups.Create(ctx, orders(group)); err != nil {
			return s, err
		}
		r := b.newReceipt()
		started := time.Now()
		if err := work(ctx, group, r); err != nil {
			return s, err
		}
		s.Units, s.Took = b.size-r.left.Load(), r.ended.Sub(started)
		s.Latencies.Add(s.Took)
		return s, b.settled(ctx, group, r)
	}}
}

func orders(group string) subscription.Definition {
	return subscription.Definition{Name: group, Filter: eventstore.Filter{Categories: []string{"order"}}}
}

// settled holds that all that came is recorded, and removes the group.
func (b *backlog) settled(ctx context.Context, group string, r *receipt) error {
	status, err := b.groups.Show(ctx, group)
	if err != nil {
		return err
	}
	if r.twice.Load() || r.left.Load() != 0 || status.Position < b.horizon {
		return fmt.Errorf("of %d messages %d did not come, some twice: %t; the group stands at %d of %d",
			b.size, r.left.Load(), r.twice.Load(), status.Position, b.horizon)
	}
	return b.groups.Delete(ctx, group)
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

// channel receives and acks, one message after the other.
func (b *backlog) channel(ctx context.Context, group string, r *receipt) error {
	s, err := b.subscriber(group)
	if err != nil {
		return err
	}
	messages, err := s.Subscribe(ctx, group)
	if err != nil {
		return err
	}
	for r.left.Load() > 0 {
		m, more := <-messages
		if !more {
			break
		}
		r.note(subscription.Event(m.Context()))
		m.Ack()
	}
	return s.Close()
}

func (b *backlog) subscriber(group string) (*subscription.Subscriber, error) {
	return subscription.NewSubscriber(b.groups, subscription.SubscriberConfig{
		Group: group, Definition: func(string, string) subscription.Definition { return orders(group) },
	})
}

// router has a Watermill router without middlewares call a handler.
func (b *backlog) router(ctx context.Context, group string, r *receipt) error {
	s, err := b.subscriber(group)
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router.AddConsumerHandler(group, group, s, func(m *message.Message) error {
		r.note(subscription.Event(m.Context()))
		return nil
	})
	return r.until(ctx, router.Run)
}

// consume has a plain function called.
func (b *backlog) consume(ctx context.Context, group string, r *receipt) error {
	return r.until(ctx, func(ctx context.Context) error {
		return b.groups.Consume(ctx, orders(group), subscription.Options{}, func(_ context.Context, e *eventstore.Recorded) error {
			r.note(e)
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
