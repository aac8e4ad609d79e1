package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

const sessionsTable = `
	CREATE TABLE {table} (
		id         uuid        PRIMARY KEY,
		user_id    uuid        NOT NULL,
		status     text        NOT NULL,
		end_reason text        NOT NULL,
		address    text        NOT NULL,
		user_agent text        NOT NULL,
		epoch      bigint      NOT NULL,
		shared     bigint      NOT NULL,
		version    bigint      NOT NULL,
		started_at timestamptz NOT NULL,
		ended_at   timestamptz
	);
	CREATE INDEX ON {table} (user_id, id DESC);`

// SessionRow is one sign-in, and what is known of the machine it came from.
type SessionRow struct {
	ID        uuid.UUID  `json:"id" row:"key"`
	UserID    uuid.UUID  `json:"user_id" row:"subject"`
	Status    string     `json:"status"` // "active" or "ended"
	EndReason string     `json:"end_reason"`
	Address   string     `json:"address"`
	UserAgent string     `json:"user_agent"`
	Epoch     int64      `json:"epoch"`  // the user's credential epoch when they last proved who they are
	Shared    int64      `json:"shared"` // the epoch of everybody's at the start
	Version   int64      `json:"version"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
}

// Sessions keeps one row per sign-in.
var Sessions = engine.Define[SessionRow]("sessions", 2, sessionsTable,
	engine.Create(func(s *SessionRow, e engine.Recorded[events.SessionStarted]) {
		s.UserID, s.Status, s.StartedAt = e.Event.UserID, "active", e.Event.StartedAt
		s.Epoch, s.Shared = max(e.Event.Epoch, 1), e.Event.Shared
		s.Address, s.UserAgent = e.Metadata.Client.Address, e.Metadata.Client.UserAgent
	}),
	engine.Change(func(s *SessionRow, e engine.Recorded[events.SessionConfirmed]) { s.Epoch = e.Event.Epoch }),
	engine.Change(func(s *SessionRow, e engine.Recorded[events.SessionEnded]) {
		at := e.At
		s.Status, s.EndReason, s.EndedAt = "ended", e.Event.Reason, &at
	}),
).Always(func(s *SessionRow, e *eventstore.Recorded) { s.Version = e.Version })

// SessionsOf returns up to limit of the user's sessions that stand, newest first: those that have not ended, that began
// after that time, and that no change of credentials has ended since, nor one of everybody's (shared). It goes on after
// the session with the id before, the nil UUID for the first page.
func (r *Reader) SessionsOf(ctx context.Context, user uuid.UUID, since time.Time, shared int64, before uuid.UUID, limit int) ([]SessionRow, error) {
	q := `
		SELECT s.id, s.user_id, s.status, s.end_reason, s.address, s.user_agent, s.epoch, s.shared, s.version, s.started_at, s.ended_at
		FROM ` + Sessions.Table() + ` s
		JOIN ` + Users.Table() + ` u ON u.id = s.user_id
		WHERE s.user_id = $1
			AND s.status = 'active'
			AND s.started_at > $2
			AND s.shared >= $3
			AND s.epoch >= u.session_epoch
			AND ($4 = '00000000-0000-0000-0000-000000000000'::uuid OR s.id < $4)
		ORDER BY s.id DESC
		LIMIT $5`
	rows, err := many[SessionRow](ctx, r.pool, q, user, since, shared, before, limit)
	if err != nil {
		return nil, fmt.Errorf("sessions of %s: %w", user, err)
	}
	return rows, nil
}
