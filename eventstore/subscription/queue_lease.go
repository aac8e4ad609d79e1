package subscription

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
)

// Ask is what somebody who works for a queue wants.
type Ask struct {
	Owner uuid.UUID     // whose queue it has to be, as of QueueOf
	Most  int           // messages
	Lease time.Duration // how long they may take before others are given them
	Wait  time.Duration // how long to wait where there is none
}

// Leased is a message that was handed out.
type Leased struct {
	Token   uuid.UUID // with which it is answered
	Event   *eventstore.Recorded
	Attempt int       // 1 the first time
	Replay  bool      // it was done before the last reset
	Retried bool      // it was parked, and somebody had it tried once more
	Until   time.Time // when the lease ends
}

// Lease hands out messages of a queue, each of another stream and the next one of its stream. Where there are none it waits
// for some, and returns none when the time is over. When ctx ends it returns its error. A token is good on every node.
func (l *Log) Lease(ctx context.Context, name string, ask Ask) ([]Leased, error) {
	until := time.Now().Add(ask.Wait)
	for {
		got, err := l.leaseNow(ctx, name, ask)
		if err != nil {
			return nil, err
		}
		f := l.feeder(name)
		f.use()
		if len(got) == ask.Most {
			f.wake(1) // there may be more for somebody else
		}
		if len(got) > 0 {
			return got, nil
		}
		if woken, err := f.await(ctx, time.Until(until)); err != nil || !woken {
			return nil, err
		}
	}
}

// leaseTimeout bounds what a node does with streams that it has leased and not handed out. Others have them when they are
// leased for longer than that.
const (
	leaseTimeout = 10 * time.Second
	settling     = 15 * time.Second
)

// leaseKey is what asks have in common that go together in a round.
type leaseKey struct {
	name  string
	owner uuid.UUID
	lease time.Duration
}

// leaseCall is an ask in a round.
type leaseCall struct {
	ctx   context.Context // the caller's: when it ends before messages are handed out, they are another's
	most  int
	taken atomic.Bool // by a round, or by its caller who gave up
	got   []Leased
	err   error
	done  chan struct{}
}

// leaseNow hands out what is there.
func (l *Log) leaseNow(ctx context.Context, name string, ask Ask) ([]Leased, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &leaseCall{ctx: ctx, most: ask.Most, done: make(chan struct{})}
	l.leases.join(leaseKey{name, ask.Owner, ask.Lease}, c)
	select {
	case <-c.done:
	case <-ctx.Done():
		if c.taken.CompareAndSwap(false, true) {
			return nil, ctx.Err()
		}
		<-c.done // what it was given is not lost
	}
	return c.got, c.err
}

// leaseRound hands out to calls what is there, whoever has waited for longest first. Once streams are leased, what happens to
// them does not depend on callers who hang up.
func (l *Log) leaseRound(key leaseKey, all []*leaseCall) {
	calls := slices.DeleteFunc(all, func(c *leaseCall) bool { return !c.taken.CompareAndSwap(false, true) })
	if len(calls) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseTimeout)
	defer cancel()
	got, err := l.leaseFor(ctx, key, calls)
	for _, c := range calls {
		if c.err = cmp.Or(c.ctx.Err(), err); c.err == nil {
			n := min(c.most, len(got))
			c.got, got = got[:n:n], got[n:]
		}
		close(c.done)
	}
	if len(got) == 0 {
		return
	}
	back := make([]outcome, len(got)) // of callers who hung up
	for i, m := range got {
		back[i] = outcome{Lease: m.Token, Stream: m.Event.Stream.String(), Redo: m.Retried}
	}
	if err := l.giveBack(ctx, key.name, back); err != nil {
		l.log.Warn("messages that nobody has come again when their leases end", "subscription", key.name, "messages", len(back), "error", err)
	}
}

// leaseFor leases what the calls ask for together.
func (l *Log) leaseFor(ctx context.Context, key leaseKey, calls []*leaseCall) ([]Leased, error) {
	most := 0
	for _, c := range calls {
		most += c.most
	}
	turn, err := l.leaseStreams(ctx, key.name, key.owner, most)
	if err != nil || len(turn.Streams) == 0 {
		return nil, err
	}
	found, complete, err := l.store.ReadStreams(ctx, turn.cursors(), eventstore.Filter{Types: turn.Types}, 1)
	if err != nil {
		return nil, errors.Join(err, l.giveBack(ctx, key.name, turn.matched(nil, make([]bool, len(turn.Streams)))))
	}
	return l.handOut(ctx, key.name, turn.matched(found, complete), key.lease)
}

// turn is what is known of streams that were leased.
type turn struct {
	ReplayUpto int64         `json:"replay_upto"`
	Types      []string      `json:"types"` // that the queue lets through; all where there is none
	Streams    []turnsStream `json:"streams"`
}

// turnsStream is a stream that was leased: its next message lies at position or behind, up to seen.
type turnsStream struct {
	Lease        uuid.UUID `json:"lease"`
	Stream       string    `json:"stream"`
	Position     int64     `json:"position"`
	Version      int64     `json:"version"`
	Seen         int64     `json:"seen"`
	Attempts     int       `json:"attempts"`
	Undone       *int64    `json:"undone"`        // from here on its messages were not done before the last reset
	Redo         *int64    `json:"redo"`          // a parked message that is tried once more; it goes first
	RedoVersion  int64     `json:"redo_version"`  // and its version
	RedoAttempts int       `json:"redo_attempts"` // and how often it was tried

	name eventstore.Stream
}

// leaseStreams leases streams whose turn has come.
func (l *Log) leaseStreams(ctx context.Context, name string, owner uuid.UUID, most int) (t turn, err error) {
	var raw []byte
	its := uuid.NullUUID{UUID: owner, Valid: owner != uuid.Nil}
	err = l.pool.QueryRow(ctx, `SELECT atlas.lease_queue($1, $2, $3, $4)`, name, its, most, settling).Scan(&raw)
	switch {
	case err != nil:
		return t, fmt.Errorf("lease of %s: %w", name, unavailable(err))
	case raw == nil:
		_, err := l.QueueOf(ctx, name, owner)
		return t, err
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return t, fmt.Errorf("lease of %s: %w", name, err)
	}
	for i, s := range t.Streams {
		if t.Streams[i].name, err = eventstore.ParseStream(s.Stream); err != nil {
			return t, fmt.Errorf("lease of %s: %w", name, err)
		}
	}
	return t, nil
}

// cursors are where the streams' next messages lie.
func (t turn) cursors() []eventstore.Cursor {
	cursors := make([]eventstore.Cursor, len(t.Streams))
	for i, s := range t.Streams {
		cursors[i] = eventstore.Cursor{Stream: s.name, FromVersion: s.Version, After: s.Position - 1, Upto: s.Seen}
		if s.Redo != nil {
			cursors[i] = eventstore.Cursor{Stream: s.name, FromVersion: s.RedoVersion, After: *s.Redo - 1, Upto: *s.Redo}
		}
	}
	return cursors
}

// outcome is what a leased stream turned out to hold, as the database is told: a message, or none up to a position.
type outcome struct {
	Lease    uuid.UUID  `json:"lease"`
	Stream   string     `json:"stream"`
	Past     int64      `json:"past"` // 0 where there was no room for the message
	Position int64      `json:"position,omitempty"`
	Version  int64      `json:"version,omitempty"`
	Event    *uuid.UUID `json:"event,omitempty"`
	Type     string     `json:"type,omitempty"`
	Redo     bool       `json:"redo"`

	message Leased
}

// matched puts together the streams and what was found in them, in their order.
func (t turn) matched(found []*eventstore.Recorded, complete []bool) []outcome {
	all := make([]outcome, len(t.Streams))
	for i, s := range t.Streams {
		all[i] = outcome{Lease: s.Lease, Stream: s.Stream, Redo: s.Redo != nil}
		switch {
		case len(found) > 0 && found[0].Stream == s.name:
			all[i].is(t, s, found[0])
			found = found[1:]
		case complete[i] && s.Redo == nil:
			all[i].Past = s.Seen
		}
	}
	return all
}

// is says that the stream's next message is the event.
func (o *outcome) is(t turn, s turnsStream, e *eventstore.Recorded) {
	o.Position, o.Version, o.Event, o.Type = e.Position, e.Version, &e.ID, e.Type
	o.message = Leased{Token: s.Lease, Event: e, Attempt: s.Attempts + 1, Retried: o.Redo}
	if o.Redo {
		o.message.Attempt = s.RedoAttempts + 1
	}
	o.message.Replay = e.Position <= t.ReplayUpto && (s.Undone == nil || e.Position < *s.Undone)
}

// handOut records what was found, and returns the messages that may be handed out, for so long.
func (l *Log) handOut(ctx context.Context, name string, found []outcome, lasting time.Duration) ([]Leased, error) {
	ends, err := l.tokens(ctx, `SELECT token, until FROM atlas.hand_out_queue($1, $2, $3)`, name, encoded(found), lasting)
	if err != nil {
		return nil, err
	}
	var messages []Leased
	for _, o := range found {
		if until, ours := ends[o.Lease]; ours {
			o.message.Until = until
			messages = append(messages, o.message)
		}
	}
	return messages, nil
}

// tokens runs a statement that returns tokens and the ends of their leases.
func (l *Log) tokens(ctx context.Context, q, name string, args ...any) (map[uuid.UUID]time.Time, error) {
	rows, err := l.pool.Query(ctx, q, append([]any{name}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("leases of %s: %w", name, unavailable(err))
	}
	ends := map[uuid.UUID]time.Time{}
	var token uuid.UUID
	var until time.Time
	if _, err := pgx.ForEachRow(rows, []any{&token, &until}, func() error { ends[token] = until.UTC(); return nil }); err != nil {
		return nil, fmt.Errorf("leases of %s: %w", name, unavailable(err))
	}
	return ends, nil
}

// giveBack lets others have the streams of outcomes without a message at once.
func (l *Log) giveBack(ctx context.Context, name string, back []outcome) error {
	_, err := l.handOut(ctx, name, back, 0)
	return err
}
