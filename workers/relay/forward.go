package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/internal/wait"
)

const (
	pageSize        = 500      // messages read from the outbox at once
	maxPending      = 1000     // messages that the broker has not acknowledged yet
	maxPendingBytes = 16 << 20 // and about what they take
	lookInterval    = 50 * time.Millisecond
	recordInterval  = 200 * time.Millisecond
	databaseTimeout = 30 * time.Second
	stopTimeout     = 3 * time.Second // for what is not acknowledged when the relay stops
)

// forwarder forwards one topic, for as long as the process holds it.
type forwarder struct {
	names
	desk       desk
	connection *connection
	log        *slog.Logger
	count      func(topic string, n int)

	at       place // where the topic is, as far as the broker acknowledged
	whole    int64 // the stream may have messages up to here and lack some before: until they are filled in, at stays
	recorded place
	when     time.Time // of the last record
	pending  []sent    // published and not acknowledged, in order
	bytes    int
	broken   bool   // one of those that were pending failed
	said     string // the last failure that was reported
	moved    bool   // something was acknowledged since the last failure
}

// sent is a message that was published.
type sent struct {
	offset   int64
	sequence uint64 // that it must get
	size     int
	ack      jetstream.PubAckFuture
}

// run forwards until ctx ends, whatever fails.
func (f *forwarder) run(ctx context.Context) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, lastPause) {
		f.moved = false
		err := f.forward(ctx)
		f.settle(ctx)
		if f.moved {
			pause = firstPause
		}
		if lost := f.record(ctx); errors.Is(lost, errLost) {
			err = lost
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errLost):
			return
		case errors.Is(err, errMoved) && f.moved:
		default:
			f.report(ctx, err)
			wait.For(ctx, pause)
		}
	}
	last, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if err := f.record(last); err != nil && !errors.Is(err, errLost) {
		f.log.Warn("place not recorded; the stream will tell", "error", err)
	}
}

// report says why the topic stands still: in the log once, and where operators look.
func (f *forwarder) report(ctx context.Context, err error) {
	if errors.Is(err, errMoved) && f.said == "" {
		f.said = errMoved.Error() // once is the turn of a lease, or an acknowledgement that was lost
		return
	}
	f.recorded = place{} // recording anew takes the failure back
	if text := err.Error(); text != f.said {
		f.said = text
		f.log.Warn("topic is not forwarded", "error", err)
	}
	if err := f.desk.fail(ctx, f.said); err != nil && ctx.Err() == nil {
		f.log.Warn("relay waits for the database", "error", err)
	}
}

// forward finds out where the topic is and goes on from there, until something fails.
func (f *forwarder) forward(ctx context.Context) error {
	js := f.connection.stream()
	if js == nil {
		return ErrNoBroker
	}
	if err := f.desk.requireAll(ctx); err != nil {
		return err
	}
	if f.at.made == 0 {
		known, err := f.desk.load(ctx)
		if err != nil {
			return err
		}
		f.at = known
	}
	stream, err := open(ctx, js, f.names)
	if err != nil {
		return err
	}
	from, err := f.locate(ctx, stream, f.at)
	if err != nil {
		return err
	}
	f.at = from.place
	if err := f.record(ctx); err != nil {
		return err
	}
	if f.said != "" {
		f.said = ""
		f.log.Info("topic is forwarded again", "offset", f.at.offset)
	}
	return f.pump(ctx, js, from)
}

// pump publishes what comes, each message after the one before it, and does not wait for one to be acknowledged before it
// publishes the next.
func (f *forwarder) pump(ctx context.Context, js jetstream.JetStream, from start) error {
	next := place{offset: from.offset, sequence: from.last, made: from.made} // once all is acknowledged
	f.whole = from.upto
	for ctx.Err() == nil {
		page, err := f.desk.read(ctx, next.offset, pageSize)
		if err != nil {
			return err
		}
		for _, r := range page {
			if next.offset = r.Offset; from.passes(r) {
				continue
			}
			if err := f.makeRoom(ctx); err != nil {
				return err
			}
			if err := f.publish(js, r, next.sequence); err != nil {
				return err
			}
			next.sequence++
		}
		if err := f.rest(ctx, next, len(page) >= pageSize/10); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// rest is what a forwarder does between two pages: it takes in what was acknowledged, and where there is little to publish, all
// of it; and it writes down where it is.
func (f *forwarder) rest(ctx context.Context, next place, more bool) error {
	for len(f.pending) > 0 && (!more || f.acknowledged()) {
		if err := f.settleFirst(ctx); err != nil {
			return err
		}
	}
	if len(f.pending) == 0 && next.offset >= f.whole {
		f.at = next
	}
	if time.Since(f.when) >= recordInterval {
		if err := f.record(ctx); err != nil {
			return err
		}
	}
	if !more {
		wait.For(ctx, lookInterval)
	}
	return nil
}

func (f *forwarder) publish(js jetstream.JetStream, r row, last uint64) error {
	m, err := f.message(r, last)
	if err != nil {
		return err
	}
	ack, err := js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0)) // a late one would be refused
	if err != nil {
		return fmt.Errorf("publish message %s at offset %d: %w", r.ID, r.Offset, explain(err))
	}
	f.pending = append(f.pending, sent{offset: r.Offset, sequence: last + 1, size: r.size(), ack: ack})
	f.bytes += r.size()
	return nil
}

// makeRoom waits until another message may be published.
func (f *forwarder) makeRoom(ctx context.Context) error {
	for len(f.pending) >= maxPending || f.bytes >= maxPendingBytes && len(f.pending) > 0 {
		if err := f.settleFirst(ctx); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged says whether the broker's word on the first pending message is there.
func (f *forwarder) acknowledged() bool {
	first := f.pending[0].ack
	return len(first.Ok()) > 0 || len(first.Err()) > 0
}

// settleFirst waits for the broker's word on the first pending message, and moves the place.
func (f *forwarder) settleFirst(ctx context.Context) error {
	s := f.pending[0]
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-s.ack.Err():
		f.drop()
		f.broken = true
		return fmt.Errorf("message at offset %d: %w", s.offset, explain(err))
	case ack := <-s.ack.Ok():
		if ack.Sequence != s.sequence {
			if ack.Duplicate && s.offset >= f.whole { // the outbox was replayed, and the stream has it from before
				f.at.offset, f.moved = s.offset, true
			}
			f.drop()
			f.broken = true
			return fmt.Errorf("%w: message at offset %d is its number %d", errMoved, s.offset, ack.Sequence)
		}
		f.drop()
		f.moved = true
		if s.offset >= f.whole {
			f.at.offset, f.at.sequence = s.offset, s.sequence
		}
		f.count(f.topic, 1)
	}
	return nil
}

func (f *forwarder) drop() {
	f.bytes -= f.pending[0].size
	f.pending[0] = sent{}
	f.pending = f.pending[1:]
}

// settle takes in what is still pending when forwarding has ended. Acknowledgements in order count, up to the first failure;
// behind it they are only waited for: the stream must not change any more when it is asked what it has.
func (f *forwarder) settle(ctx context.Context) {
	limit := ackTimeout + time.Second
	if ctx.Err() != nil {
		limit = stopTimeout
	}
	bounded, done := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer done()
	for len(f.pending) > 0 && bounded.Err() == nil {
		if !f.broken {
			_ = f.settleFirst(bounded) // which has failed once before, or is about to
			continue
		}
		select {
		case <-f.pending[0].ack.Ok():
		case <-f.pending[0].ack.Err():
		case <-bounded.Done():
		}
		f.drop()
	}
	f.pending, f.bytes, f.broken = nil, 0, false
}

// record writes down where the topic is.
func (f *forwarder) record(ctx context.Context) error {
	if f.at.made == 0 || f.at == f.recorded {
		return nil
	}
	if err := f.desk.record(ctx, f.at); err != nil {
		return err
	}
	f.recorded, f.when = f.at, time.Now()
	return nil
}
