package projections_test

import (
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections"
)

var phone = eventstore.Metadata{Actor: ann, Client: eventstore.Client{Address: "192.0.2.7", UserAgent: "Phone/1"}}

func TestASessionShowsTheMachineItCameFrom(t *testing.T) {
	fold(t, projections.Sessions).with(phone).
		given(events.SessionStarted{UserID: ann, StartedAt: at(0)}).
		then(projections.SessionRow{
			ID: id, UserID: ann, Status: "active", Address: "192.0.2.7", UserAgent: "Phone/1", Epoch: 1, Version: 1, StartedAt: at(0),
		})
}

func TestAnEndedSessionSaysWhenAndWhy(t *testing.T) {
	end := at(2)
	fold(t, projections.Sessions).with(phone).
		given(events.SessionStarted{UserID: ann, StartedAt: at(0)}, events.SessionEnded{UserID: ann, Reason: "logout"}).
		then(projections.SessionRow{
			ID: id, UserID: ann, Status: "ended", EndReason: "logout", Address: "192.0.2.7", UserAgent: "Phone/1",
			Epoch: 1, Version: 2, StartedAt: at(0), EndedAt: &end,
		})
}
