package projections_test

import (
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine/foldtest"
)

var registered = events.UserRegistered{UserID: id, Email: "ann@example.com", Name: "Ann", PasswordHash: "$argon2id$…", Roles: []string{"admin"}}

func TestARegisteredUserIsActive(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Users).
		Given(id, registered).
		Then(projections.UserRow{
			ID: id, Email: "ann@example.com", Name: "Ann", Roles: []string{"admin"}, Status: "active",
			SessionEpoch: 1, Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestAUserWithoutRolesHasAnEmptyList(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Users).
		Given(id, events.UserRegistered{UserID: id, Email: "ann@example.com"}).
		Then(projections.UserRow{
			ID: id, Email: "ann@example.com", Roles: []string{}, Status: "active", SessionEpoch: 1, Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestARenamedUserKeepsTheirAddress(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Users).
		Given(id, registered, events.UserNameChanged{UserID: id, Name: "Anne"}).
		Then(projections.UserRow{
			ID: id, Email: "ann@example.com", Name: "Anne", Roles: []string{"admin"}, Status: "active",
			SessionEpoch: 1, Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestADisabledUserStaysListed(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Users).
		Given(id, registered, events.UserDisabled{UserID: id, Epoch: 1}).
		Then(projections.UserRow{
			ID: id, Email: "ann@example.com", Name: "Ann", Roles: []string{"admin"}, Status: "disabled",
			SessionEpoch: 1, Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestAnEnabledUserIsActiveAgainAndARoleChangeShows(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Users).
		Given(id, registered, events.UserDisabled{UserID: id, Epoch: 2}, events.UserEnabled{UserID: id},
			events.UserRoleChanged{UserID: id, Roles: []string{"user"}, Epoch: 3}).
		Then(projections.UserRow{
			ID: id, Email: "ann@example.com", Name: "Ann", Roles: []string{"user"}, Status: "active",
			SessionEpoch: 2, Version: 4, CreatedAt: at(1), UpdatedAt: at(4),
		})
}

func TestAUserIsPendingUntilTheAddressIsVerified(t *testing.T) {
	t.Parallel()
	pending := foldtest.Of(t, projections.Users).Given(id, registered, events.UserVerificationRequested{UserID: id, VerifyBy: at(60)})
	row := projections.UserRow{
		ID: id, Email: "ann@example.com", Name: "Ann", Roles: []string{"admin"}, Status: "pending",
		SessionEpoch: 1, Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
	}
	pending.Then(row)
	row.Status, row.Version, row.UpdatedAt = "active", 3, at(3)
	pending.Given(id, events.UserVerified{UserID: id}).Then(row)
}

func TestAForgottenUserIsListedNoMore(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Users).
		Given(id, registered).Forgotten(id).Given(id, events.UserDisabled{UserID: id, Epoch: 2}).ThenNothing()
}
