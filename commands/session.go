package commands

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrSessionExists says that a session's id was used before.
var ErrSessionExists = fault.New(fault.Conflict, "session_exists", "a session with this id exists")

// Session decides what may happen to one sign-in.
var Session = Decider[session, SessionCommand, events.SessionEvent]{
	Category: "session",
	Decide:   decideSession,
	Evolve:   evolveSession,
}

type session struct {
	user    uuid.UUID // nil before the start
	started time.Time
	ended   bool
}

// SessionCommand is the closed set of what can be asked of a session.
type SessionCommand interface{ sessionCommand() }

// StartSession signs the user in. Whoever gives it has checked the user's credentials.
type StartSession struct {
	User uuid.UUID
	At   time.Time
}

// EndSession signs the user out. Ending an ended session is a success.
type EndSession struct {
	By     uuid.UUID
	Reason string // "logout" or "refresh_token_reused"
}

func (StartSession) sessionCommand() {}
func (EndSession) sessionCommand()   {}

func decideSession(s session, command SessionCommand) ([]events.SessionEvent, error) {
	switch c := command.(type) {
	case StartSession:
		if s.user != uuid.Nil {
			return nil, ErrSessionExists
		}
		return []events.SessionEvent{events.SessionStarted{UserID: c.User, StartedAt: c.At.UTC()}}, nil
	case EndSession:
		if s.user == uuid.Nil || s.user != c.By {
			return nil, ErrNotFound
		}
		if s.ended {
			return nil, nil
		}
		return []events.SessionEvent{events.SessionEnded{UserID: s.user, Reason: c.Reason}}, nil
	}
	panic(fmt.Sprintf("session: command %T not decided", command))
}

func evolveSession(s session, event events.SessionEvent) session {
	switch e := event.(type) {
	case events.SessionStarted:
		s.user, s.started = e.UserID, e.StartedAt
	case events.SessionEnded:
		s.ended = true
	default:
		panic(fmt.Sprintf("session: event %T not evolved", event))
	}
	return s
}
