package commands

import (
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
)

func TestASessionStartsOnce(t *testing.T) {
	started := events.SessionStarted{UserID: ann}
	specify(t, Session).given().when(StartSession{User: ann}).then(started)
	specify(t, Session).given(started).when(StartSession{User: ann}).thenFails(ErrSessionExists)
	specify(t, Session).given(started, events.SessionEnded{UserID: ann, Reason: "logout"}).when(StartSession{User: ann}).thenFails(ErrSessionExists)
}

func TestASessionEndsOnceForTheFirstReason(t *testing.T) {
	started, ended := events.SessionStarted{UserID: ann}, events.SessionEnded{UserID: ann, Reason: "logout"}
	specify(t, Session).given(started).when(EndSession{By: ann, Reason: "logout"}).then(ended)
	specify(t, Session).given(started, ended).when(EndSession{By: ann, Reason: "refresh_token_reused"}).then()
}

func TestASessionIsHiddenFromEverybodyElse(t *testing.T) {
	started, ended := events.SessionStarted{UserID: ann}, events.SessionEnded{UserID: ann, Reason: "logout"}
	for _, by := range []uuid.UUID{bob, uuid.Nil} {
		specify(t, Session).given(started).when(EndSession{By: by, Reason: "logout"}).thenFails(ErrNotFound)
		specify(t, Session).given(started, ended).when(EndSession{By: by, Reason: "logout"}).thenFails(ErrNotFound)
		specify(t, Session).given().when(EndSession{By: by, Reason: "logout"}).thenFails(ErrNotFound)
	}
}
