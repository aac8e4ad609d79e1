package commands

import (
	"testing"
	"time"

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

// TestAConfirmedSessionOutlivesTheChangeThatEndsTheOthers folds what a change of credentials leaves of two sessions.
func TestAConfirmedSessionOutlivesTheChangeThatEndsTheOthers(t *testing.T) {
	started := events.SessionStarted{UserID: ann, StartedAt: noon, Epoch: 1, Shared: 3}
	confirmed := events.SessionConfirmed{UserID: ann, ConfirmedAt: noon.Add(time.Hour), Epoch: 2}
	specify(t, Session).given(started).when(ConfirmSession{By: ann, At: noon.Add(time.Hour), Epoch: 2}).then(confirmed)
	specify(t, Session).given(started).when(ConfirmSession{By: bob, Epoch: 2}).thenFails(ErrNotFound)
	specify(t, Session).given(started, events.SessionEnded{UserID: ann}).when(ConfirmSession{By: ann, Epoch: 2}).thenFails(ErrNotFound)

	changed := Account{ID: ann, Epoch: 2, SessionEpoch: 2}
	for _, c := range []struct {
		name   string
		signIn SignIn
		a      Account
		shared int64
		want   bool
	}{
		{"begun before the change", SignIn{User: ann, Epoch: 1, Shared: 3}, changed, 3, false},
		{"confirmed with the change", SignIn{User: ann, Epoch: 2, Shared: 3}, changed, 3, true},
		{"begun before a change that ends no session", SignIn{User: ann, Epoch: 1}, Account{ID: ann, Epoch: 2, SessionEpoch: 1}, 0, true},
		{"everybody was signed out since", SignIn{User: ann, Epoch: 2, Shared: 3}, changed, 4, false},
		{"the user is disabled", SignIn{User: ann, Epoch: 2}, Account{ID: ann, SessionEpoch: 2, Disabled: true}, 0, false},
		{"another's", SignIn{User: bob, Epoch: 2}, changed, 0, false},
	} {
		if got := c.signIn.Stands(c.a, c.shared); got != c.want {
			t.Errorf("a session %s stands: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestARepeatedAnswerLeavesATrace(t *testing.T) {
	started := events.SessionStarted{UserID: ann}
	specify(t, Session).given(started).when(NoteRepeat{By: ann}).then(events.SessionAnswerRepeated{UserID: ann})
	specify(t, Session).given(started).when(NoteRepeat{By: bob}).thenFails(ErrNotFound)
	specify(t, Session).given(started, events.SessionEnded{UserID: ann}).when(NoteRepeat{By: ann}).thenFails(ErrNotFound)
}

func TestASessionIsHiddenFromEverybodyElse(t *testing.T) {
	started, ended := events.SessionStarted{UserID: ann}, events.SessionEnded{UserID: ann, Reason: "logout"}
	for _, by := range []uuid.UUID{bob, uuid.Nil} {
		specify(t, Session).given(started).when(EndSession{By: by, Reason: "logout"}).thenFails(ErrNotFound)
		specify(t, Session).given(started, ended).when(EndSession{By: by, Reason: "logout"}).thenFails(ErrNotFound)
		specify(t, Session).given().when(EndSession{By: by, Reason: "logout"}).thenFails(ErrNotFound)
	}
}
