package projections

import (
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
	Version   int64      `json:"version"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
}

// Sessions keeps one row per sign-in.
var Sessions = engine.Define[SessionRow]("sessions", 1, sessionsTable,
	engine.On(func(s *SessionRow, e engine.Recorded[events.SessionStarted]) {
		s.UserID, s.Status, s.StartedAt = e.Event.UserID, "active", e.At
		s.Address, s.UserAgent = e.Metadata.Client.Address, e.Metadata.Client.UserAgent
	}),
	engine.On(func(s *SessionRow, e engine.Recorded[events.SessionEnded]) {
		at := e.At
		s.Status, s.EndReason, s.EndedAt = "ended", e.Event.Reason, &at
	}),
).Always(func(s *SessionRow, e *eventstore.Recorded) { s.Version = e.Version })
