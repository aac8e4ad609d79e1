package subscription

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/eventstore"
)

// Handler handles one message. Where it returns nil the message is done.
type Handler func(ctx context.Context, e *eventstore.Recorded) error

// Consume works for a group until ctx ends, and returns when what is in hand then is done or cut short. The group is
// made if it is not there. It survives the loss of the database; its errors are those of Create.
func (l *Log) Consume(ctx context.Context, d Definition, o Options, handle Handler) error {
	if err := l.Create(ctx, d); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	m := l.newMember(ctx, d, o, func(d *delivery) error { return call(d, handle) })
	defer l.enlist(m)()
	return m.run(ctx)
}

// call runs a handler. A panic is an error.
func call(d *delivery, handle Handler) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
			d.member.log.Error("handler panicked", "stream", d.event.Stream, "position", d.event.Position,
				"error", err, "stack", string(debug.Stack()))
		}
	}()
	if err := d.live(); err != nil {
		return err
	}
	return handle(&d.ctx, d.event)
}

// member is a process's part in a group. Its lock is held for moments only, never while anything is waited for.
type member struct {
	desk    desk
	options Options
	store   *eventstore.Store
	tail    *eventstore.Tail
	filter  eventstore.Filter
	log     *slog.Logger
	deliver func(*delivery) error // hands a message out and returns what became of it
	offers  bool                  // deliver only offers a message, until it says that it was taken
	base    context.Context       // what messages' contexts are made from
	stop    chan struct{}         // closed when nothing more is to be handed out
	abandon chan struct{}         // closed when answers are not waited for any more

	valid moment // until when the lease lasts

	mu      sync.Mutex
	slots   [Slots]*slot
	running context.Context // nothing more is handed out once it has ended
	inHand  []*delivery
	recall  chan struct{} // closed when what is only offered must be taken back
	idle    chan struct{} // closed when nothing is in hand, once somebody waits for that
	vacated bool          // the last handler in a slot that was lost has ended: it may be taken anew
	lanes   int
	ready   fifo[*stream]
	loads   fifo[*stream]
	timers  timers
	waiting int // messages in memory
	bytes   int // about what they take
	held    int // streams that are aside
	reading int64
	rewind  context.CancelFunc // makes the reader begin anew, further back
	touched map[*stream]struct{}
	turn    int64 // how often the member has said what it has done
	parked  []parkedChange
	retried []retriedChange

	flushing sync.Mutex // one flush at a time
	laneWork sync.WaitGroup

	room, load, timer, flush, beat signal
}

// signal wakes whoever waits for it. It is remembered until then, once.
type signal chan struct{}

func (s signal) give() {
	select {
	case s <- struct{}{}:
	default:
	}
}

func newSignal() signal { return make(signal, 1) }

func (l *Log) newMember(ctx context.Context, d Definition, o Options, deliver func(*delivery) error) *member {
	host, _ := os.Hostname()
	id := uuid.New()
	return &member{
		desk:    desk{pool: l.pool, group: d.Name, member: id, label: fmt.Sprintf("%s/%d", host, os.Getpid())},
		options: o.withDefaults(), store: l.store, tail: l.tail, filter: sorted(d.Filter),
		log: l.log.With("subscription", d.Name), deliver: deliver,
		base: context.WithoutCancel(ctx), running: ctx, stop: make(chan struct{}), abandon: make(chan struct{}),
		recall:  make(chan struct{}),
		touched: map[*stream]struct{}{},
		room:    newSignal(), load: newSignal(), timer: newSignal(), flush: newSignal(), beat: newSignal(),
	}
}

// run works until ctx ends, then lets go in good order.
func (m *member) run(ctx context.Context) error {
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	var readers, others errgroup.Group
	readers.Go(func() error { m.readOn(reading); return nil })
	readers.Go(func() error { m.loadOn(reading); return nil })
	others.Go(func() error { m.retryOn(rest); return nil })
	others.Go(func() error { m.sweepOn(rest); return nil })
	others.Go(func() error { m.flushOn(rest); return nil })
	others.Go(func() error { m.leaseOn(rest); return nil })

	<-ctx.Done()
	m.stopOffering()
	stopReading()
	ended := m.drain()
	stopRest()
	_ = readers.Wait()
	_ = others.Wait()
	m.leave(context.WithoutCancel(ctx))
	if ended {
		m.laneWork.Wait()
	}
	return nil
}

// stopOffering has nothing more handed out, and takes back what nobody has taken.
func (m *member) stopOffering() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.stop)
	m.recallAll()
}

// drain waits for what is in hand; what takes too long is cut short, and what never ends is left: then it says false.
func (m *member) drain() bool {
	if m.emptied(m.options.Drain) {
		return true
	}
	m.mu.Lock()
	for _, d := range m.inHand {
		d.end(ErrStopping)
	}
	m.mu.Unlock()
	if m.emptied(lastWait) {
		return true
	}
	close(m.abandon)
	return m.emptied(lastWait)
}

// emptied waits until nothing is in hand, for so long.
func (m *member) emptied(within time.Duration) bool {
	m.mu.Lock()
	if len(m.inHand) == 0 {
		m.mu.Unlock()
		return true
	}
	idle := make(chan struct{})
	m.idle = idle
	m.mu.Unlock()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
		return false
	}
}

// leave records what is done and gives the slots back. Where handlers may still run, the lease must run out.
func (m *member) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.options.Lease)
	defer cancel()
	if err := m.record(ctx, everything); err != nil {
		m.log.Warn("progress not recorded; some messages come again", "error", err)
		return
	}
	m.mu.Lock()
	var held []hold
	clean := true
	for _, s := range m.slots {
		if s == nil {
			continue
		}
		if s.idle() {
			held = append(held, s.hold)
		} else {
			clean = false
		}
	}
	clean = clean && len(m.inHand) == 0
	m.mu.Unlock()
	if err := m.desk.release(ctx, held, clean); err != nil {
		m.log.Warn("slots not given back; others take them when the lease ends", "error", err)
	}
}

// holdsLease says whether the lease lasts still.
func (m *member) holdsLease(now time.Time) bool {
	until, _ := m.valid.when()
	return now.Before(until)
}

// taken returns how many messages are in hand that somebody took.
func (m *member) taken() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.inHand {
		if _, taken := d.begun.when(); taken {
			n++
		}
	}
	return n
}

// tidy makes a text fit to be stored: of bounded length, and without what the database cannot hold.
func tidy(text string) string {
	const most = 2000
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "�"), "\x00", "�")
}
