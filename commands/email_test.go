package commands

import (
	"testing"

	"github.com/atlas-platform/atlas/events"
)

func TestAnAddressBelongsToOneUserAtATime(t *testing.T) {
	byAnn, freed := events.EmailReserved{UserID: ann}, events.EmailReleased{UserID: ann}
	specify(t, Email).given().when(ReserveEmail{User: ann}).then(byAnn)
	specify(t, Email).given(byAnn).when(ReserveEmail{User: bob}).thenFails(ErrEmailTaken)
	specify(t, Email).given(byAnn, freed).when(ReserveEmail{User: bob}).then(events.EmailReserved{UserID: bob})
	specify(t, Email).given(byAnn, freed, events.EmailReserved{UserID: bob}).when(ReserveEmail{User: ann}).thenFails(ErrEmailTaken)
}

func TestReservingOnesOwnAddressChangesNothing(t *testing.T) {
	specify(t, Email).given(events.EmailReserved{UserID: ann}).when(ReserveEmail{User: ann}).then()
}

func TestOnlyItsHolderReleasesAnAddress(t *testing.T) {
	byAnn := events.EmailReserved{UserID: ann}
	specify(t, Email).given(byAnn).when(ReleaseEmail{User: ann}).then(events.EmailReleased{UserID: ann})
	specify(t, Email).given(byAnn).when(ReleaseEmail{User: bob}).then()
	specify(t, Email).given().when(ReleaseEmail{User: ann}).then()
	specify(t, Email).given(byAnn, events.EmailReleased{UserID: ann}).when(ReleaseEmail{User: ann}).then()
}
