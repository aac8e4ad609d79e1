package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
)

// How far and for how long a feed goes on past events that are not for it before it says so.
const (
	progressPositions = 10_000
	progressInterval  = time.Second
)

// comeAgain is how soon a reader comes again whose connection ended: not all of them at once.
func comeAgain() time.Duration { return time.Second + rand.N(2*time.Second) }

// cursor is what the reader has been told of how far the feed has come.
type cursor struct {
	epoch string
	told  int64     // the last id that was sent
	at    time.Time // when
	come  int64     // how far the feed has come
}

// write sends pages, and says that it is there while there is nothing to send. It tells of each page that it sent it.
func (d *Feed) write(ctx context.Context, out *Stream, pages <-chan page, sent chan<- struct{}) error {
	c := cursor{epoch: d.standing.Here(0).Epoch, come: d.after}
	out.retry(comeAgain())
	c.tell(out)
	if err := out.flush(); err != nil {
		return err
	}
	heart := time.NewTicker(d.feeds.config.Heartbeat)
	defer heart.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-pages:
			if err := d.send(ctx, out, &c, p); err != nil {
				return err
			}
			heart.Reset(d.feeds.config.Heartbeat)
			sent <- struct{}{}
		case <-heart.C:
			out.comment()
			if c.come > c.told {
				c.tell(out)
			}
			if err := out.flush(); err != nil {
				return err
			}
		}
		d.taken.Store(c.come)
	}
}

// send sends what is on a page, and lets go of each event that was sent: the reader may take long for the others.
func (d *Feed) send(ctx context.Context, out *Stream, c *cursor, p page) error {
	c.epoch = p.epoch
	for i, r := range p.Events {
		if ctx.Err() != nil {
			return nil // the rest of the page is not for a key that was revoked
		}
		p.Events[i] = nil
		text, err := d.text(ctx, r)
		if err != nil {
			return err
		}
		c.come = r.Position
		err = out.event(c.place(), text.json)
		runtime.KeepAlive(text) // as long as it is under way others share it
		if err != nil {
			return err
		}
		c.told, c.at = c.come, time.Now()
		d.feeds.sent.Add(1)
	}
	c.come = p.Upto
	if c.come-c.told >= progressPositions || c.come > c.told && time.Since(c.at) >= progressInterval {
		c.tell(out)
	}
	return out.flush()
}

// text returns the event as it may be shown now: it has waited here, and its subject may have been forgotten meanwhile.
func (d *Feed) text(ctx context.Context, r *eventstore.Recorded) (*text, error) {
	if d.query.Unseal {
		var err error
		if r, err = d.feeds.store.Current(ctx, r); err != nil {
			return nil, err
		}
	}
	return d.feeds.texts.of(r, d.query.Unseal)
}

func (c *cursor) place() eventstore.Place { return eventstore.Place{Epoch: c.epoch, Position: c.come} }

// tell sends an id alone.
func (c *cursor) tell(out *Stream) {
	out.id(c.place())
	c.told, c.at = c.come, time.Now()
}

// finish says why the feed ends, where anybody hears it.
func (d *Feed) finish(ctx context.Context, out *Stream, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if _, _, ended := fault.Of(context.Cause(ctx)); ended {
			return // the reader had a moment, not the time that they are promised
		}
		d.feeds.dropped.Add(1)
		d.feeds.log.InfoContext(ctx, "feed dropped: its reader is too slow", "key_id", d.key, "position", d.taken.Load(), "patience", d.feeds.config.Patience)
		return
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	o, f, is := fault.Of(err)
	switch {
	case is:
		out.retry(max(o.RetryAfter(), comeAgain()))
		out.end(f.Code(), o.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, errGone):
		return
	default:
		d.feeds.log.ErrorContext(ctx, "feed failed", "key_id", d.key, "position", d.taken.Load(), "error", err)
		out.end("internal", "something went wrong on our side; read on after the last id")
	}
	if err := out.flush(); err != nil {
		d.feeds.log.DebugContext(ctx, "end of feed not sent", "error", fmt.Errorf("key %s: %w", d.key, err))
	}
}
