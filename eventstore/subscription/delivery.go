package subscription

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
)

// Why the context of a message in hand ends early (context.Cause).
var (
	ErrStopping  = errors.New("the process stops")
	ErrLeaseLost = errors.New("the lease of the message's slot ended; another process may go on with it")
	ErrTimeLimit = errors.New("the message was in hand for longer than it may be")
)

// errWithdrawn says that nobody took a message, and errUnanswered that whoever took it never said what became of it.
var (
	errWithdrawn  = errors.New("nobody took the message")
	errUnanswered = errors.New("nobody said what became of the message")
)

// delay is a handler's wish to have the message again later.
type delay struct {
	after time.Duration
}

func (d delay) Error() string { return fmt.Sprintf("to be handled in %s", d.after) }

// Delay returns an error with which a handler asks to have the message again after a time. The stream waits; it is no
// failure, and does not count as a try.
func Delay(after time.Duration) error { return delay{after} }

// permanent is a failure that no further try will mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks a failure as one that no further try will mend: the message is parked at once.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsAnswer says whether an error settles what becomes of a message, so that trying it again at once is no use: it is
// Permanent, or a Delay.
func IsAnswer(err error) bool {
	return errors.As(err, new(permanent)) || errors.As(err, new(delay))
}

// delivery is a message in hand.
type delivery struct {
	member  *member
	stream  *stream
	slot    *slot
	event   *eventstore.Recorded
	redo    bool
	replay  bool
	attempt int
	ctx     handContext
	recall  <-chan struct{} // closed when it must be taken back, if it is only offered
	begun   moment          // when somebody took it; until then it is only offered

	at       int       // its place in the member's inHand, guarded by the member's lock, like what follows
	extended time.Time // until when its handler asked to have it
	progress string
	cut      error // why its context ended, where the member ended it
	reported error // what the handler said through Report
}

// took returns for how long the message was in hand.
func (d *delivery) took() time.Duration {
	if begun, taken := d.begun.when(); taken {
		return time.Since(begun)
	}
	return 0
}

// late says whether the message was in hand for longer than it may be. Call it with the lock held.
func (d *delivery) late(begun, now time.Time) bool {
	return now.After(begun.Add(d.member.options.TimeLimit)) && now.After(d.extended)
}

// moment is a point in time that is set without the member's lock, since every message has some. It is unset at first.
type moment struct{ since atomic.Int64 }

// processBegan is what moments are counted from, by the clock that nobody sets.
var processBegan = time.Now()

func (m *moment) set(at time.Time) { m.since.Store(int64(at.Sub(processBegan))) }

func (m *moment) when() (at time.Time, set bool) {
	since := m.since.Load()
	if since == 0 {
		return at, false
	}
	return processBegan.Add(time.Duration(since)), true
}

type deliveryKey struct{}

// in returns the message in hand that a context belongs to.
func in(ctx context.Context) *delivery {
	d, _ := ctx.Value(deliveryKey{}).(*delivery)
	return d
}

// Event returns the event that the message in hand is; nil where the context is not that of a message.
func Event(ctx context.Context) *eventstore.Recorded {
	if d := in(ctx); d != nil {
		return d.event
	}
	e, _ := ctx.Value(eventKey{}).(*eventstore.Recorded)
	return e
}

type eventKey struct{}

// WithEvent returns a context with which a handler can be tested without a subscription.
func WithEvent(ctx context.Context, e *eventstore.Recorded) context.Context {
	return context.WithValue(ctx, eventKey{}, e)
}

// Attempt returns how many times the message was handed out, this time included, as far as that was recorded.
func Attempt(ctx context.Context) int {
	if d := in(ctx); d != nil {
		return d.attempt
	}
	return 1
}

// Group returns the name of the subscription that handed the message out.
func Group(ctx context.Context) string {
	if d := in(ctx); d != nil {
		return d.member.desk.group
	}
	return ""
}

// IsReplay says whether the message was done before a reset of its group. Only workers that take part in replays are
// handed such messages.
func IsReplay(ctx context.Context) bool {
	d := in(ctx)
	return d != nil && d.replay
}

// Live says why the message in hand must not be worked on any more: its lease or its time is over. A handler asks before
// an effect that nobody could undo. It is no guarantee, since the process may be stopped right after.
func Live(ctx context.Context) error {
	if d := in(ctx); d != nil {
		if err := d.live(); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (d *delivery) live() error {
	if why := d.ctx.reason(); why != nil {
		return why
	}
	if !d.member.holdsLease(time.Now()) {
		return ErrLeaseLost
	}
	return nil
}

// Stopping returns a channel that is closed when the process is told to stop. A handler that takes long then comes to an
// end that it can go on from: its context ends soon after. Without a message it is nil.
func Stopping(ctx context.Context) <-chan struct{} {
	if d := in(ctx); d != nil {
		return d.member.stop
	}
	return nil
}

// Extend gives the handler so much more time from now on, if its time is not over yet.
func Extend(ctx context.Context, by time.Duration) {
	d := in(ctx)
	if d == nil {
		return
	}
	d.member.mu.Lock()
	defer d.member.mu.Unlock()
	if until := time.Now().Add(by); until.After(d.extended) {
		d.extended = until
	}
}

// Progress tells operators how far a handler that takes long has come (atlas subscriptions show).
func Progress(ctx context.Context, text string) {
	d := in(ctx)
	if d == nil {
		return
	}
	d.member.mu.Lock()
	defer d.member.mu.Unlock()
	d.progress = tidy(text)
	if a := d.stream.aside; a != nil && !d.slot.lost {
		a.progress = d.progress
		d.member.touch(d.stream)
	}
}

// Report says why the message is about to be nacked, for those who answer by Ack and Nack alone: an error, a Delay or a
// Permanent.
func Report(ctx context.Context, err error) {
	if d := in(ctx); d != nil {
		d.member.mu.Lock()
		defer d.member.mu.Unlock()
		d.reported = err
	}
}
