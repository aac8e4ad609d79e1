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
	Define[SessionConfirmed]("session.confirmed"),
	Define[SessionAnswerRepeated]("session.answer_repeated"),
	Define[SessionEnded]("session.ended"),
}

// SessionStarted says that the user signed in.
type SessionStarted struct {
	UserID    uuid.UUID `json:"user_id" pii:"subject"`
	StartedAt time.Time `json:"started_at"`       // when the user proved who they are
	Epoch     int64     `json:"epoch,omitempty"`  // the user's credential epoch then
	Shared    int64     `json:"shared,omitempty"` // the epoch of everybody's then
}

// SessionConfirmed says that the user proved anew who they are. It lets the session outlive a change of credentials, which
// ends the user's other ones.
type SessionConfirmed struct {
	UserID      uuid.UUID `json:"user_id"`
	ConfirmedAt time.Time `json:"confirmed_at"`
	Epoch       int64     `json:"epoch"` // the user's credential epoch from now on
}

// SessionAnswerRepeated says that a refresh token was presented that had been replaced, later than requests cross, and was
// answered: as when an answer got lost, or a thief is about. It happens at most once in 24 hours.
type SessionAnswerRepeated struct {
	UserID uuid.UUID `json:"user_id"`
}

// SessionEnded makes every token of the session worthless.
type SessionEnded struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
	Reason string    `json:"reason"` // "logout", "revoked" or "refresh_token_reused"
}

func (SessionStarted) session()        {}
func (SessionConfirmed) session()      {}
func (SessionAnswerRepeated) session() {}
func (SessionEnded) session()          {}

// CutOff implements Revoking.
func (SessionEnded) CutOff() CutOff { return CutOff{Of: OfSession, Epoch: Ended} }
