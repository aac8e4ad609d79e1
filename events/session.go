package events

import (
	"time"

	"github.com/google/uuid"
)

// SessionEvent is the closed set of facts a session's stream may hold.
type SessionEvent interface{ session() }

// Session lists the session events in the order they happen. How often a session was refreshed is not history: its
// counter lives in an operational table.
var Session = []Type{
	Define[SessionStarted]("session.started"),
	Define[SessionEnded]("session.ended"),
}

// SessionStarted says that the user signed in.
type SessionStarted struct {
	UserID    uuid.UUID `json:"user_id" pii:"subject"`
	StartedAt time.Time `json:"started_at"` // when the user proved who they are
}

// SessionEnded makes every token of the session worthless.
type SessionEnded struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
	Reason string    `json:"reason"` // "logout" or "refresh_token_reused"
}

func (SessionStarted) session() {}
func (SessionEnded) session()   {}

// CutOff implements Revoking.
func (SessionEnded) CutOff() CutOff { return CutOff{Of: OfSession, Epoch: Ended} }
