package projections_test

import (
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine/foldtest"
)

var phone = eventstore.Metadata{Actor: ann, Client: eventstore.Client{Address: "192.0.2.7", UserAgent: "Phone/1"}}

func TestASessionShowsTheMachineItCameFrom(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Sessions).With(phone).
		Given(id, events.SessionStarted{UserID: ann, StartedAt: at(0)}).
		Then(projections.SessionRow{
			ID: id, UserID: ann, Status: "active", Address: "192.0.2.7", UserAgent: "Phone/1", Epoch: 1, Version: 1, StartedAt: at(0),
		})
}

func TestAnEndedSessionSaysWhenAndWhy(t *testing.T) {
	t.Parallel()
	end := at(2)
	foldtest.Of(t, projections.Sessions).With(phone).
		Given(id, events.SessionStarted{UserID: ann, StartedAt: at(0)}, events.SessionEnded{UserID: ann, Reason: "logout"}).
		Then(projections.SessionRow{
			ID: id, UserID: ann, Status: "ended", EndReason: "logout", Address: "192.0.2.7", UserAgent: "Phone/1",
			Epoch: 1, Version: 2, StartedAt: at(0), EndedAt: &end,
		})
}

func TestASessionThatIsConfirmedIsOfTheUsersNewEpoch(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Sessions).
		Given(id, events.SessionStarted{UserID: ann, StartedAt: at(0), Epoch: 2, Shared: 1}, events.SessionConfirmed{UserID: ann, ConfirmedAt: at(2), Epoch: 3}).
		Then(projections.SessionRow{ID: id, UserID: ann, Status: "active", Epoch: 3, Shared: 1, Version: 2, StartedAt: at(0)})
}

func TestNoSessionOfAForgottenUserIsLeft(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Sessions).With(phone).
		Given(id, events.SessionStarted{UserID: ann, StartedAt: at(0)}).
		Forgotten(ann).
		Given(id, events.SessionEnded{UserID: ann, Reason: "logout"}).
		ThenNothing()
}
