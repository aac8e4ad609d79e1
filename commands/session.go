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
	user      uuid.UUID // nil before the start
	started   time.Time
	confirmed time.Time // when the user last proved who they are
	epoch     int64     // the credential epoch of the user at that time
	shared    int64     // the epoch of everybody's at the start
	ended     bool
}

// SessionCommand is the closed set of what can be asked of a session.
type SessionCommand interface{ sessionCommand() }

// StartSession signs the user in. Whoever gives it has checked the user's credentials.
type StartSession struct {
	User   uuid.UUID
	At     time.Time
	Epoch  int64 // the user's credential epoch, as Account said when the credentials were checked
	Shared int64 // the epoch of everybody's, likewise
}

// ConfirmSession says that the user has proved anew who they are. Whoever gives it has checked their credentials. Given
// together with a change of these, it lets this one session go on: Epoch is then the one that the change began.
type ConfirmSession struct {
	By    uuid.UUID
	At    time.Time
	Epoch int64
}

// NoteRepeat records that a lost answer was repeated to a refresh token that had been replaced.
type NoteRepeat struct{ By uuid.UUID }

// EndSession signs the user out. Ending an ended session is a success.
type EndSession struct {
	By     uuid.UUID
	Reason string // "logout", "revoked" or "refresh_token_reused"
}

func (StartSession) sessionCommand()   {}
func (ConfirmSession) sessionCommand() {}
func (NoteRepeat) sessionCommand()     {}
func (EndSession) sessionCommand()     {}

func decideSession(s session, command SessionCommand) ([]events.SessionEvent, error) {
	switch c := command.(type) {
	case StartSession:
		if s.user != uuid.Nil {
			return nil, ErrSessionExists
		}
		return []events.SessionEvent{events.SessionStarted{
			UserID: c.User, StartedAt: c.At.UTC(), Epoch: c.Epoch, Shared: c.Shared,
		}}, nil
	case ConfirmSession:
		if s.user == uuid.Nil || s.user != c.By || s.ended {
			return nil, ErrNotFound
		}
		return []events.SessionEvent{events.SessionConfirmed{UserID: s.user, ConfirmedAt: c.At.UTC(), Epoch: c.Epoch}}, nil
	case NoteRepeat:
		if s.user == uuid.Nil || s.user != c.By || s.ended {
			return nil, ErrNotFound
		}
		return []events.SessionEvent{events.SessionAnswerRepeated{UserID: s.user}}, nil
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
		s.user, s.started, s.confirmed = e.UserID, e.StartedAt, e.StartedAt
		s.epoch, s.shared = max(e.Epoch, 1), e.Shared
	case events.SessionConfirmed:
		s.confirmed, s.epoch = e.ConfirmedAt, e.Epoch
	case events.SessionAnswerRepeated:
	case events.SessionEnded:
		s.ended = true
	default:
		panic(fmt.Sprintf("session: event %T not evolved", event))
	}
	return s
}
