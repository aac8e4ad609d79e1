package projections_test

import (
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine/foldtest"
)

var (
	robot   = events.APIKeyCreated{OwnerID: ann, Name: "robot", Scopes: []string{"documents:read"}, Hash: "h1"}
	service = events.ServiceKeyCreated{CreatedBy: bob, Name: "importer", Scopes: []string{"events:read"}, Hash: "h1"}
)

func TestARotatedKeySaysUntilWhenTheOldSecretIsAccepted(t *testing.T) {
	t.Parallel()
	until, rotated := at(60), at(2)
	foldtest.Of(t, projections.APIKeys).
		Given(id, robot, events.APIKeyRotated{OwnerID: ann, Hash: "h2", Generation: 2, Least: 1, PreviousUntil: &until}).
		Then(projections.APIKeyRow{
			ID: id, OwnerID: ann, CreatedBy: ann, Name: "robot", Scopes: []string{"documents:read"},
			PreviousUntil: &until, RotatedAt: &rotated, Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestAServiceKeyIsNobodysAndStaysWhenItsMakerIsForgotten(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.APIKeys).
		Given(id, service).
		Forgotten(bob).
		Then(projections.APIKeyRow{
			ID: id, CreatedBy: bob, Name: "importer", Scopes: []string{"events:read"}, Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestARevokedKeyIsListedNoMore(t *testing.T) {
	t.Parallel()
	revoked := foldtest.Of(t, projections.APIKeys).Given(id, robot, events.APIKeyRevoked{OwnerID: ann})
	revoked.ThenNothing()
	revoked.Given(id, events.APIKeyRotated{OwnerID: ann, Hash: "h2", Generation: 2, Least: 2}).ThenNothing()
	foldtest.Of(t, projections.APIKeys).Given(id, robot).Forgotten(ann).Given(id, events.APIKeyRevoked{OwnerID: ann}).ThenNothing()
}
