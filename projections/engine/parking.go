package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/eventstore"
)

// maxParked is how many keys of a projection may be parked. When there are more, the fault is not one of some events, and
// the projection stands still instead of setting aside all that comes.
const maxParked = 1000

// How soon a runner tries a parked key again by itself: at first, doubled with each failure, and at most.
const (
	firstRetry = 10 * time.Second
	lastRetry  = time.Hour
)

var errManyParked = fmt.Errorf("%d keys are parked, and more would be: mend the fold, or retry them", maxParked)

// parking is where a generation's keys wait whose events cannot be folded, within one transaction that has locked the
// generation.
type parking struct {
	id         ID
	generation int
	count      int64 // of parked keys

	fresh []parkedKey // not written yet
	held  []heldEvent
}

type parkedKey struct {
	key      string
	subject  uuid.UUID
	position int64
	err      string
}

type heldEvent struct {
	key      string
	position int64
}

// among says which of the keys are parked.
func (p *parking) among(ctx context.Context, tx pgx.Tx, keys []string) (map[string]bool, error) {
	const q = `SELECT key FROM atlas.projection_parked WHERE name = $1 AND version = $2 AND generation = $3 AND key = ANY ($4)`
	parked := map[string]bool{}
	if p.count == 0 || len(keys) == 0 {
		return parked, nil
	}
	rows, err := tx.Query(ctx, q, p.id.Name, p.id.Version, p.generation, keys)
	if err != nil {
		return nil, err
	}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error { parked[key] = true; return nil })
	return parked, err
}

// park sets a key aside from the event on at which it failed.
func (p *parking) park(key string, r *eventstore.Recorded, err error) {
	p.fresh = append(p.fresh, parkedKey{key: key, subject: r.Subject, position: r.Position, err: reason(err)})
	p.hold(key, r.Position)
	p.count++
}

// hold keeps the position of an event for a parked key.
func (p *parking) hold(key string, position int64) {
	p.held = append(p.held, heldEvent{key: key, position: position})
}

// write stores what was parked and held.
func (p *parking) write(ctx context.Context, tx pgx.Tx) error {
	if len(p.fresh) > 0 {
		if err := p.writeParked(ctx, tx); err != nil {
			return fmt.Errorf("park: %w", err)
		}
	}
	if len(p.held) == 0 {
		return nil
	}
	const q = `
		INSERT INTO atlas.projection_held (name, version, generation, key, position)
		SELECT $1, $2, $3, h.key, h.position FROM unnest($4::text[], $5::bigint[]) h (key, position)`
	keys, positions := make([]string, len(p.held)), make([]int64, len(p.held))
	for i, h := range p.held {
		keys[i], positions[i] = h.key, h.position
	}
	if _, err := tx.Exec(ctx, q, p.id.Name, p.id.Version, p.generation, keys, positions); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	return nil
}

func (p *parking) writeParked(ctx context.Context, tx pgx.Tx) error {
	const insert = `
		INSERT INTO atlas.projection_parked (name, version, generation, key, subject, position, error, next_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8::interval)`
	const count = `UPDATE atlas.projections SET parked = parked + $4 WHERE name = $1 AND version = $2 AND generation = $3`
	if p.count > maxParked {
		return fmt.Errorf("%w (the next is %s: %s)", errManyParked, p.fresh[0].key, p.fresh[0].err)
	}
	var all pgx.Batch
	for _, k := range p.fresh {
		var subject *uuid.UUID
		if k.subject != uuid.Nil {
			subject = &k.subject
		}
		all.Queue(insert, p.id.Name, p.id.Version, p.generation, k.key, subject, k.position, k.err, firstRetry)
	}
	all.Queue(count, p.id.Name, p.id.Version, p.generation, len(p.fresh))
	return tx.SendBatch(ctx, &all).Close()
}

// poisonous says whether an error comes from what an event says, so that it will come again each time the event is
// folded, and only then.
func poisonous(err error) bool {
	if row := (*rowError)(nil); errors.As(err, &row) {
		return true
	}
	answer := (*pgconn.PgError)(nil)
	if !errors.As(err, &answer) {
		return false
	}
	// What no column can hold, what a constraint refuses, what a trigger raises, what is too large for an index.
	return strings.HasPrefix(answer.Code, "22") || strings.HasPrefix(answer.Code, "23") || answer.Code == "P0001" || answer.Code == "54000"
}

var quotedValue = regexp.MustCompile(`"[^"]*"`)

// reason is an error as it is kept: without the values that PostgreSQL quotes where it cannot store them, which may be
// personal.
func reason(err error) string {
	text := err.Error()
	if answer := (*pgconn.PgError)(nil); errors.As(err, &answer) && strings.HasPrefix(answer.Code, "22") {
		text = quotedValue.ReplaceAllString(text, `"…"`)
	}
	const most = 2000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.ReplaceAll(text, "\x00", "")
}
