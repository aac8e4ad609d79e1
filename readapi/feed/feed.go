package feed

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/wait"
)

// How a feed reads: so much at once, and not again sooner than this where it has caught up, so that a thousand feeds do not
// wake for each of a thousand appends a second.
const (
	batchEvents = 128
	batchBytes  = 512 << 10
	readGap     = 10 * time.Millisecond
	retryGap    = 500 * time.Millisecond
)

// Query says what a feed brings.
type Query struct {
	Start  Start
	Filter eventstore.Filter
	Unseal bool // with what is personal
}

// Feed is one open feed.
type Feed struct {
	feeds    *Feeds
	key      uuid.UUID
	query    Query
	standing eventstore.Standing
	after    int64
	taken    atomic.Int64 // how far the reader has come
}

// Close gives up a feed that is not served.
func (d *Feed) Close() { d.feeds.leave(d) }

// Serve sends the feed until ctx ends, the reader is gone or too slow, or reading fails for good. It closes the feed.
func (d *Feed) Serve(ctx context.Context, out *Stream) {
	defer d.feeds.leave(d)
	ctx, cancel := context.WithCancelCause(ctx)
	calm := context.AfterFunc(ctx, out.hurry)
	pages, sent, done := make(chan page), make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		cancel(d.read(ctx, pages, sent))
	}()
	d.finish(ctx, out, d.write(ctx, out, pages, sent))
	calm()
	cancel(nil)
	<-done
}

// page is a batch, and the epoch in which it was read.
type page struct {
	eventstore.Batch
	epoch string
}

// read reads on until ctx ends or it fails for good: a page when the one before was sent, so that one is in memory.
func (d *Feed) read(ctx context.Context, pages chan<- page, sent <-chan struct{}) error {
	standing, after := d.standing, d.after
	reader := d.reader(after)
	for {
		b, err := reader.Next(ctx, batchEvents)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if standing, err = d.again(ctx, standing.Here(after), err); err != nil {
				return err
			}
			reader = d.reader(after)
			continue
		}
		after = b.Upto
		select {
		case <-ctx.Done():
			return nil
		case pages <- page{b, standing.Here(0).Epoch}:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-sent:
		}
		if after >= d.feeds.tail.Position() && !wait.For(ctx, readGap) {
			return nil
		}
	}
}

func (d *Feed) reader(after int64) *eventstore.Reader {
	return d.feeds.tail.From(after, d.query.Filter).Modest(batchBytes, d.feeds.turns)
}

// again waits until the log can be read again, and holds that it is still the one that the feed has read so far.
func (d *Feed) again(ctx context.Context, place eventstore.Place, why error) (eventstore.Standing, error) {
	for {
		if !errors.Is(why, eventstore.ErrTailReset) && !errors.Is(why, eventstore.ErrUnavailable) {
			return eventstore.Standing{}, why
		}
		if !wait.For(ctx, retryGap) {
			return eventstore.Standing{}, nil
		}
		standing, err := d.feeds.store.Standing(ctx)
		if err == nil {
			if _, err = Behind(place).Resolve(standing); err == nil {
				return standing, nil
			}
			return standing, fmt.Errorf("feed at %s: %w", place, err)
		}
		why = err
	}
}
