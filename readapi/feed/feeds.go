package feed

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
)

// Faults of opening a feed.
var (
	ErrTooManyOfKey = fault.New(fault.TooMany, "too_many_feeds",
		"this API key has as many feeds open on this node as it may; close one, or let one feed bring all that you need")
	ErrTooManyOfNode = fault.New(fault.Unavailable, "feeds_exhausted",
		"this node has as many feeds open as it may; try again, and another node may take it")
)

// Config says what feeds are given. What is zero is as said here.
type Config struct {
	PerNode   int           // feeds open at once; 1,000
	PerKey    int           // of one API key; 20
	Heartbeat time.Duration // how long a feed may be silent; 15 s
	Patience  time.Duration // how long a reader may take for what is sent at once, some 64 KiB; 10 s
}

// catchingUp is how many feeds read for themselves at the same time.
const catchingUp = 4

// Feeds are the feeds of one node. It is safe for concurrent use.
type Feeds struct {
	store  *eventstore.Store
	tail   *eventstore.Tail
	log    *slog.Logger
	config Config
	turns  eventstore.Turns
	texts  *texts

	mu     sync.Mutex
	open   map[*Feed]struct{}
	ofKeys map[uuid.UUID]int

	dropped atomic.Int64
	sent    atomic.Int64
}

// New returns a node's feeds.
func New(store *eventstore.Store, tail *eventstore.Tail, log *slog.Logger, c Config) *Feeds {
	c.PerNode, c.PerKey = cmp.Or(c.PerNode, 1000), cmp.Or(c.PerKey, 20)
	c.Heartbeat, c.Patience = cmp.Or(c.Heartbeat, 15*time.Second), cmp.Or(c.Patience, 10*time.Second)
	return &Feeds{
		store: store, tail: tail, log: log, config: c, turns: eventstore.NewTurns(catchingUp), texts: newTexts(),
		open: map[*Feed]struct{}{}, ofKeys: map[uuid.UUID]int{},
	}
}

// Open opens a feed for an API key. It fails as Start.Resolve does, or is ErrTooManyOfKey or ErrTooManyOfNode. Serve must
// be called, which closes it.
func (f *Feeds) Open(ctx context.Context, key uuid.UUID, q Query) (*Feed, error) {
	d := &Feed{feeds: f, key: key, query: q}
	if err := f.admit(d); err != nil {
		return nil, err
	}
	standing, err := f.store.Standing(ctx)
	if err == nil {
		d.after, err = q.Start.Resolve(standing)
	}
	if err != nil {
		f.leave(d)
		return nil, fmt.Errorf("open feed: %w", err)
	}
	d.standing = standing
	d.taken.Store(d.after)
	return d, nil
}

// admit counts a feed, unless there are too many.
func (f *Feeds) admit(d *Feed) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ofKeys[d.key] >= f.config.PerKey:
		return ErrTooManyOfKey
	case len(f.open) >= f.config.PerNode:
		return ErrTooManyOfNode.RetryAfter(5 * time.Second)
	}
	f.open[d] = struct{}{}
	f.ofKeys[d.key]++
	return nil
}

func (f *Feeds) leave(d *Feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, d)
	if f.ofKeys[d.key]--; f.ofKeys[d.key] == 0 {
		delete(f.ofKeys, d.key)
	}
}

// Stats are figures of a node's feeds.
type Stats struct {
	Open    int
	Dropped int64 // since the start, because they were too slow
	Sent    int64 // events since the start
	Lag     int64 // positions that the slowest one is behind
}

// Stats returns the figures.
func (f *Feeds) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Stats{Open: len(f.open), Dropped: f.dropped.Load(), Sent: f.sent.Load()}
	high := f.tail.Position()
	for d := range maps.Keys(f.open) {
		s.Lag = max(s.Lag, high-d.taken.Load())
	}
	return s
}
