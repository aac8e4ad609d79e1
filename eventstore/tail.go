package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/wait"
)

// ErrTailReset says that the tail began anew after it lost the server. A server that crashed may hand out again
// positions that only rolled-back transactions had drawn, so what a reader remembers in memory is worth nothing: it
// must continue from its stored checkpoint, or from the last event it has seen.
var ErrTailReset = errors.New("the tail began anew; continue from the stored checkpoint")

// How the tail reads: at least this often, this soon again while an append is still open below the end of the log, and
// what it keeps in memory for readers that are a little behind.
const (
	pollInterval = 250 * time.Millisecond
	openInterval = 5 * time.Millisecond
	keepBytes    = 32 << 20
)

// Tail follows the log: one reader per process that reads every event once and serves all who have caught up. It is
// safe for concurrent use.
type Tail struct {
	store *Store
	waker *Waker
	log   *slog.Logger
	poll  time.Duration // pollInterval, but for tests

	mu      sync.Mutex
	epoch   int           // how often the tail began anew
	recent  []*Recorded   // the events in (low, high]
	bytes   int           // about what recent takes
	low     int64         // recent holds everything after it
	high    int64         // and up to here; the last event that was final when the log was last read
	read    time.Time     // when the log was last read successfully
	looked  time.Time     // when it was last looked beyond the horizon for the forgotten
	changed chan struct{} // closed when any of the above changes
}

// NewTail returns a tail of the log. Nothing is read before Run.
func NewTail(store *Store, waker *Waker, log *slog.Logger) *Tail {
	return &Tail{store: store, waker: waker, log: log, poll: pollInterval, low: -1, high: -1, changed: make(chan struct{})}
}

// Batch is what a reader gets: events in the order of the log, and how far it has now read. Positions up to Upto are
// final, so a checkpoint in this database may move there even where no event was for this reader.
type Batch struct {
	Events []*Recorded
	Upto   int64
}

// Run follows the log until ctx ends. It survives the loss of the server and says so in the log.
func (t *Tail) Run(ctx context.Context) error {
	for {
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		t.log.Warn("tail lost the log", "error", err)
		t.reset()
		if !wait.For(ctx, pollInterval) {
			return nil
		}
	}
}

// follow reads until something fails. It keeps one connection, so that a server that crashed does not go unnoticed.
func (t *Tail) follow(ctx context.Context) error {
	conn, err := t.store.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := t.store.ensureEpoch(ctx, conn); err != nil {
		return err
	}
	first, err := t.store.mark(ctx, conn)
	if err != nil {
		return err
	}
	t.store.unsure() // who was forgotten up to here went unread
	last, err := t.store.lastEvent(ctx, conn, first.horizon)
	if err != nil {
		return err
	}
	t.begin(last)
	for {
		woken := t.waker.Woken()
		open, err := t.advance(ctx, conn, first)
		if err != nil {
			return err
		}
		gap := t.poll
		if open {
			gap = openInterval
		}
		if !wait.Until(ctx, woken, gap) {
			return ctx.Err()
		}
	}
}

// advance reads what has become final. open tells that appends beyond it are under way.
func (t *Tail) advance(ctx context.Context, conn *pgxpool.Conn, first mark) (open bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	now, page, err := t.store.readOn(ctx, conn, t.position())
	if err != nil {
		return false, err
	}
	if !now.started.Equal(first.started) || now.end < t.position() {
		return false, errOtherServer
	}
	for len(page.Events) > 0 {
		t.extend(page.Events)
		if page.Upto >= now.horizon {
			break
		}
		if page, err = t.store.readAll(ctx, conn, page.Upto, now.horizon, Filter{}, fullPage); err != nil {
			return false, err
		}
	}
	if err := t.lookBeyond(ctx, conn, now); err != nil {
		return false, err
	}
	t.touch()
	return now.horizon < now.end, nil
}

var errOtherServer = errors.New("the server was restarted or is another one")

// lookBeyond heeds who was forgotten beyond the horizon, where an open append keeps the tail from reading: that somebody
// is forgotten needs no order, and must not wait.
func (t *Tail) lookBeyond(ctx context.Context, q querier, now mark) error {
	const sql = `
		SELECT ` + eventColumns + `, NULL, 0
		FROM atlas.events
		WHERE position > $1 AND type = $2
		ORDER BY position`
	if now.horizon >= now.end || time.Since(t.looked) < pollInterval {
		return nil
	}
	t.looked = time.Now()
	found, err := t.store.read(ctx, q, sql, now.horizon, forgottenType)
	if err != nil {
		return fmt.Errorf("look for the forgotten after %d: %w", now.horizon, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erase(found)
	return nil
}

// erase takes what can be read about a person out of the memory, where one of the events says that they are forgotten.
// Readers keep what they have been given: they hold it for the time of a batch. Call it with mu held.
func (t *Tail) erase(said []*Recorded) {
	subjects := map[uuid.UUID]bool{}
	for _, r := range said {
		if r.Type == forgottenType {
			subjects[r.Stream.ID] = true
		}
	}
	if len(subjects) == 0 {
		return
	}
	for i, r := range t.recent {
		if r.isAbout(subjects) {
			t.recent[i] = r.erased(subjects)
			t.bytes += t.recent[i].size() - r.size()
		}
	}
}

// begin sets where the tail starts. Nothing before is kept: readers that are behind read for themselves.
func (t *Tail) begin(last int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.low, t.high = last, last
	t.broadcast()
}

func (t *Tail) position() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.high
}

// extend adds events, and forgets the oldest beyond what is kept. The tail comes to the last event and no further:
// positions above it may be handed out again should the server crash, while those below an event never are, since the
// event's commit made the sequence durable. So what a reader takes along, in memory or into a checkpoint it stores after
// a crash, is always worth something.
func (t *Tail) extend(page []*Recorded) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range page {
		t.recent = append(t.recent, r)
		t.bytes += r.size()
	}
	t.erase(page)
	t.high = page[len(page)-1].Position
	drop := 0
	for ; t.bytes > keepBytes && drop < len(t.recent); drop++ {
		t.bytes -= t.recent[drop].size()
		t.low = t.recent[drop].Position
	}
	clear(t.recent[:drop]) // so that they can be collected before append moves the rest to a new array
	t.recent = t.recent[drop:]
	t.broadcast()
}

// touch notes that the log was read just now.
func (t *Tail) touch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = time.Now()
}

// reset forgets everything and finishes every reader.
func (t *Tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch++
	t.recent, t.bytes, t.low, t.high = nil, 0, -1, -1
	t.broadcast()
}

// broadcast wakes every waiting reader. Call it with mu held.
func (t *Tail) broadcast() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Position returns the last event that the tail has come to; below zero before the first time.
func (t *Tail) Position() int64 { return t.position() }

// LastRead returns when the log was last read successfully; zero before the first time.
func (t *Tail) LastRead() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.read
}

// Turns bound how many readers who are behind read for themselves at the same time.
type Turns chan struct{}

// NewTurns lets so many read at once.
func NewTurns(n int) Turns { return make(Turns, n) }

// take waits for a turn.
func (t Turns) take(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case t <- struct{}{}:
		return nil
	}
}

func (t Turns) giveBack() { <-t }

// Reader is one consumer's place in the log. It is not safe for concurrent use.
type Reader struct {
	tail   *Tail
	filter Filter
	accept func(*Recorded) bool
	after  int64
	epoch  int
	bytes  int   // of a batch
	turns  Turns // nil where it may read for itself whenever it likes
}

// Modest has the reader take at most about so many bytes in a batch, one event at least, and read for itself only when it
// has a turn: for many readers who may all be behind at once.
func (r *Reader) Modest(bytes int, turns Turns) *Reader {
	r.bytes, r.turns = bytes, turns
	return r
}

// From returns a reader of what the filter chooses after a position.
func (t *Tail) From(after int64, f Filter) *Reader {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Reader{tail: t, filter: f, accept: f.accepts(), after: after, epoch: t.epoch, bytes: pageBytes}
}

// Next returns at most limit events after the last batch, fewer where they are large, and waits while the log has
// nothing new. A batch may be without events: then the log went on, but not for this reader. After a loss of the server
// it is ErrTailReset, and the reader is finished.
func (r *Reader) Next(ctx context.Context, limit int) (Batch, error) {
	for {
		b, behind, changed, err := r.look(limit)
		if err != nil {
			return Batch{}, err
		}
		if behind {
			if b, err = r.catchUp(ctx, b.Upto, limit); err != nil {
				return Batch{}, fmt.Errorf("catch up: %w", err)
			}
		}
		if b.Upto > r.after {
			r.after = b.Upto
			return b, nil
		}
		select {
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		case <-changed:
		}
	}
}

// catchUp reads for itself what the tail no longer holds.
func (r *Reader) catchUp(ctx context.Context, upto int64, limit int) (Batch, error) {
	if r.turns != nil {
		if err := r.turns.take(ctx); err != nil {
			return Batch{}, err
		}
		defer r.turns.giveBack()
	}
	return r.tail.store.readAll(ctx, r.tail.store.pool, r.after, upto, r.filter, fill{limit, r.bytes})
}

// look takes what it can from the tail's memory. behind tells that the tail no longer holds what comes next, and the
// reader must read for itself, up to b.Upto.
func (r *Reader) look(limit int) (b Batch, behind bool, changed <-chan struct{}, err error) {
	t := r.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.epoch != r.epoch:
		return Batch{}, false, nil, ErrTailReset
	case t.high <= r.after:
		return Batch{}, false, t.changed, nil
	case r.after < t.low:
		return Batch{Upto: t.high}, true, t.changed, nil
	}
	b.Upto = t.high
	bytes := 0
	for _, e := range t.recent[t.indexAfter(r.after):] {
		if !r.accept(e) {
			continue
		}
		if n := len(b.Events); n == limit || bytes >= r.bytes {
			b.Upto = b.Events[n-1].Position
			break
		}
		b.Events = append(b.Events, e)
		bytes += e.size()
	}
	return b, false, t.changed, nil
}

// indexAfter returns the index of the first recent event after a position. Call it with mu held.
func (t *Tail) indexAfter(position int64) int {
	return sort.Search(len(t.recent), func(i int) bool { return t.recent[i].Position > position })
}
