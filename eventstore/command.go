package eventstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Command identifies an append, so that the same command twice is carried out once.
type Command struct {
	ID          uuid.UUID
	Fingerprint []byte // what the command asked for; the same id with another fingerprint is ErrCommandReused
	Given       bool   // the caller chose the id, so it may have come before
}

type commandKey struct{}

// WithCommand returns a context in which the next append is the command. Without one, an append makes its own id.
func WithCommand(ctx context.Context, id uuid.UUID, fingerprint []byte) context.Context {
	c := Command{ID: id, Fingerprint: append([]byte{}, fingerprint...), Given: true} // not nil, which is NULL
	return context.WithValue(ctx, commandKey{}, c)
}

// CommandFrom returns the command of the context; without one it makes a new id.
func CommandFrom(ctx context.Context) Command {
	if c, ok := ctx.Value(commandKey{}).(Command); ok {
		return c
	}
	return Command{ID: newID(), Fingerprint: []byte{}}
}

// Outcome is what an append did: first to the streams it only checked, by name, then to those it wrote to, in the order
// of the writes.
type Outcome struct {
	Streams  []StreamOutcome
	Replayed bool // the command had been carried out before, and this is what it did then
}

// StreamOutcome is what an append did to one stream. A command that decided on nothing tells where the stream stood.
type StreamOutcome struct {
	Stream   Stream `json:"stream"`
	Version  int64  `json:"version"`  // of the stream afterwards
	Position int64  `json:"position"` // of the stream's last event afterwards
	Events   int64  `json:"events"`   // how many were appended
}

// Position returns the highest position the outcome speaks of.
func (o Outcome) Position() int64 {
	position := int64(0)
	for _, s := range o.Streams {
		position = max(position, s.Position)
	}
	return position
}

// Of returns what the append did to the first stream of the category.
func (o Outcome) Of(category string) (StreamOutcome, bool) {
	i := slices.IndexFunc(o.Streams, func(s StreamOutcome) bool { return s.Stream.Category == category })
	if i < 0 {
		return StreamOutcome{}, false
	}
	return o.Streams[i], true
}

// Lookup returns what the command did, if it was carried out in the last thirty days. It waits for an append of the
// same command that is still under way, so "not found" means that nothing has happened yet.
func (s *Store) Lookup(ctx context.Context, c Command) (o Outcome, found bool, err error) {
	const lock = `SELECT atlas.lock_command($1)`
	const q = `SELECT fingerprint, outcome FROM atlas.commands WHERE id = $1`
	var fingerprint, raw []byte
	err = s.retry(ctx, s.pool, func() error {
		return s.inTx(ctx, func(tx txLike) error {
			if _, err := tx.Exec(ctx, lock, c.ID); err != nil {
				return err
			}
			found, err = queryMaybe(ctx, tx, q, []any{c.ID}, &fingerprint, &raw)
			return err
		})
	})
	switch {
	case err != nil:
		return Outcome{}, false, fmt.Errorf("look up command %s: %w", c.ID, err)
	case !found:
		return Outcome{}, false, nil
	case !slices.Equal(fingerprint, c.Fingerprint):
		return Outcome{}, false, ErrCommandReused
	}
	o, err = parseOutcome(raw)
	o.Replayed = true
	return o, true, err
}

// commandPart returns the table of commands whose turn it is at a time, as atlas.command_part does.
func commandPart(at time.Time) int32 {
	const turn, turns = 10 * 24 * 60 * 60, 5
	return int32(at.Unix() / turn % turns)
}

func parseOutcome(raw []byte) (o Outcome, err error) {
	if err = json.Unmarshal(raw, &o.Streams); err != nil {
		return Outcome{}, fmt.Errorf("parse outcome: %w", err)
	}
	return o, nil
}
