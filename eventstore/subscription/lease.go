package subscription

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// desk is where a member of a group does its paperwork: each call is one statement.
type desk struct {
	pool   *pgxpool.Pool
	group  string
	member uuid.UUID
	label  string
}

// hold is a slot as a member holds it.
type hold struct {
	Slot  int   `json:"slot"`
	Epoch int64 `json:"epoch"`
}

// grant is a slot that a member was given: where it stands, and what of it was done before.
type grant struct {
	hold
	Position    int64   `json:"position"`
	Acked       []int64 `json:"acked"`
	ReplayUpto  int64   `json:"replay_upto"`
	ReplayAcked []int64 `json:"replay_acked"`
}

// leased is a member's standing in its group.
type leased struct {
	Generation int64   `json:"generation"`
	Members    int     `json:"members"`
	Share      int     `json:"share"` // of slots, while the members are these
	Kept       []int   `json:"kept"`  // what it holds still
	Taken      []grant `json:"taken"` // what it holds from now on
}

// lease renews the member's lease, tells which of its holds stand, and takes what it has a share of.
func (d desk) lease(ctx context.Context, lasting time.Duration, paused string, held []hold, busy []int16) (l leased, err error) {
	const q = `SELECT atlas.lease_subscription($1, $2, $3, $4, $5, $6, $7)`
	if held == nil {
		held = []hold{}
	}
	if busy == nil {
		busy = []int16{}
	}
	var raw []byte
	if err := d.pool.QueryRow(ctx, q, d.group, d.member, d.label, lasting, paused, encoded(held), busy).Scan(&raw); err != nil {
		return l, fmt.Errorf("lease slots of %s: %w", d.group, err)
	}
	if raw == nil {
		return l, fmt.Errorf("lease slots of %s: %w", d.group, ErrNotFound)
	}
	return l, json.Unmarshal(raw, &l)
}

// generation tells whether anything changed in the group.
func (d desk) generation(ctx context.Context) (n int64, err error) {
	const q = `SELECT generation FROM atlas.subscriptions WHERE name = $1`
	err = d.pool.QueryRow(ctx, q, d.group).Scan(&n)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	return n, err
}

// release gives slots back; leaving says that the member will not come again.
func (d desk) release(ctx context.Context, held []hold, leaving bool) error {
	const q = `SELECT atlas.release_subscription($1, $2, $3, $4)`
	if held == nil {
		held = []hold{} // a member without slots leaves too
	}
	if _, err := d.pool.Exec(ctx, q, d.group, d.member, encoded(held), leaving); err != nil {
		return fmt.Errorf("release slots of %s: %w", d.group, err)
	}
	return nil
}

// change is what a member has done since it last said so.
type change struct {
	Turn    int64           `json:"turn"` // the member's count of changes; a late one counts for nothing
	Slots   []slotChange    `json:"slots"`
	Held    []heldChange    `json:"held,omitempty"`
	Healed  []healedChange  `json:"healed,omitempty"`
	Parked  []parkedChange  `json:"parked,omitempty"`
	Retried []retriedChange `json:"retried,omitempty"`
}

type slotChange struct {
	hold
	Position int64   `json:"position"`
	Acked    []int64 `json:"acked"`
}

type heldChange struct {
	Slot     int    `json:"slot"`
	Stream   string `json:"stream"`
	Position int64  `json:"position"`
	Version  int64  `json:"version"`
	Attempts int    `json:"attempts"`
	Error    string `json:"error"`
	Progress string `json:"progress"`
	HeldMS   int64  `json:"held_ms"`
	NextMS   *int64 `json:"next_ms"`
}

type healedChange struct {
	Slot   int    `json:"slot"`
	Stream string `json:"stream"`
}

type parkedChange struct {
	Slot     int       `json:"slot"`
	Position int64     `json:"position"`
	Stream   string    `json:"stream"`
	Version  int64     `json:"version"`
	Event    uuid.UUID `json:"event"`
	Type     string    `json:"type"`
	Attempts int       `json:"attempts"`
	Error    string    `json:"error"`
}

type retriedChange struct {
	Slot     int     `json:"slot"`
	Position int64   `json:"position"`
	Error    *string `json:"error"` // nil where it was done
}

// flush records a change and returns the slots for which it counted: those that are still the member's.
func (d desk) flush(ctx context.Context, c change) (mine []int16, err error) {
	const q = `SELECT atlas.flush_subscription($1, $2, $3)`
	if err := d.pool.QueryRow(ctx, q, d.group, d.member, encoded(c)).Scan(&mine); err != nil {
		return nil, fmt.Errorf("record progress of %s: %w", d.group, err)
	}
	return mine, nil
}

// heldStream is a stream that was set aside, as it is stored.
type heldStream struct {
	Slot     int16
	Stream   string
	Position int64
	Version  int64
	Attempts int
	Error    string
	Progress string
	HeldFor  time.Duration
	NextIn   *time.Duration
	Undone   bool // not held, but was at the last reset
	Parked   bool // a message that is to be tried once more
}

// streams returns what is known of single streams in slots: those set aside, and those that were at the last reset.
func (d desk) streams(ctx context.Context, slots []int16) ([]heldStream, error) {
	const q = `
		SELECT slot, stream, position, version, attempts, error, progress,
			clock_timestamp() - held_at, next_at - clock_timestamp(), false, false
		FROM atlas.subscription_held WHERE subscription = $1 AND slot = ANY ($2)
		UNION ALL
		SELECT slot, stream, position, 0, 0, '', '', interval '0', NULL::interval, true, false
		FROM atlas.subscription_undone WHERE subscription = $1 AND slot = ANY ($2)`
	rows, err := d.pool.Query(ctx, q, d.group, slots)
	if err != nil {
		return nil, fmt.Errorf("read held streams of %s: %w", d.group, err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[heldStream])
}

// retries returns the parked messages in slots that are to be tried again.
func (d desk) retries(ctx context.Context, slots []int16) ([]heldStream, error) {
	const q = `
		SELECT slot, stream, position, version, attempts, error, '', interval '0', NULL::interval, false, true
		FROM atlas.subscription_parked
		WHERE subscription = $1 AND slot = ANY ($2) AND retry_at IS NOT NULL
		ORDER BY position`
	rows, err := d.pool.Query(ctx, q, d.group, slots)
	if err != nil {
		return nil, fmt.Errorf("read retries of %s: %w", d.group, err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[heldStream])
}

// encoded returns a value as JSON text.
func encoded(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types above always encode
	}
	return string(raw)
}
