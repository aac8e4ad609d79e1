package projections_test

import (
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/projections"
)

var registered = events.UserRegistered{UserID: id, Email: "ann@example.com", Name: "Ann", PasswordHash: "$argon2id$…", Roles: []string{"admin"}}

func TestARegisteredUserIsActive(t *testing.T) {
	fold(t, projections.Users).
		given(registered).
		then(projections.UserRow{
			ID: id, Email: "ann@example.com", Name: "Ann", Roles: []string{"admin"}, Status: "active",
			SessionEpoch: 1, Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestAUserWithoutRolesHasAnEmptyList(t *testing.T) {
	fold(t, projections.Users).
		given(events.UserRegistered{UserID: id, Email: "ann@example.com"}).
		then(projections.UserRow{
			ID: id, Email: "ann@example.com", Roles: []string{}, Status: "active", SessionEpoch: 1, Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestARenamedUserKeepsTheirAddress(t *testing.T) {
	fold(t, projections.Users).
		given(registered, events.UserNameChanged{UserID: id, Name: "Anne"}).
		then(projections.UserRow{
			ID: id, Email: "ann@example.com", Name: "Anne", Roles: []string{"admin"}, Status: "active",
			SessionEpoch: 1, Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestADisabledUserStaysListed(t *testing.T) {
	fold(t, projections.Users).
		given(registered, events.UserDisabled{UserID: id, Epoch: 1}).
		then(projections.UserRow{
			ID: id, Email: "ann@example.com", Name: "Ann", Roles: []string{"admin"}, Status: "disabled",
			SessionEpoch: 1, Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestAnEnabledUserIsActiveAgainAndARoleChangeShows(t *testing.T) {
	fold(t, projections.Users).
		given(registered, events.UserDisabled{UserID: id, Epoch: 2}, events.UserEnabled{UserID: id},
			events.UserRoleChanged{UserID: id, Roles: []string{"user"}, Epoch: 3}).
		then(projections.UserRow{
			ID: id, Email: "ann@example.com", Name: "Ann", Roles: []string{"user"}, Status: "active",
			SessionEpoch: 2, Version: 4, CreatedAt: at(1), UpdatedAt: at(4),
		})
}
