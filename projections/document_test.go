package projections_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine/foldtest"
)

var (
	plan = events.DocumentCreated{OwnerID: ann, Title: "Plan", Body: "Größe", ContentType: "text/markdown", Tags: []string{"b", "a"}}
	bare = events.DocumentCreated{OwnerID: ann, Title: "Plan", ContentType: "text/plain"}
)

func TestACreatedDocumentIsActive(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Documents).
		Given(id, plan).
		Then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan", Body: "Größe", ContentType: "text/markdown", Tags: []string{"b", "a"},
			Status: "active", Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestADocumentWithoutTagsHasAnEmptyList(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Documents).
		Given(id, bare).
		Then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan", ContentType: "text/plain", Tags: []string{},
			Status: "active", Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestARevisionReplacesAllThatTheDocumentSays(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Documents).
		Given(id, plan, events.DocumentRevised{OwnerID: ann, Title: "Plan B", Body: "new", ContentType: "text/plain"}).
		Then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan B", Body: "new", ContentType: "text/plain", Tags: []string{},
			Status: "active", Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestAnArchivedDocumentKeepsWhatItSays(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Documents).
		Given(id, plan, events.DocumentArchived{OwnerID: ann}).
		Then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan", Body: "Größe", ContentType: "text/markdown", Tags: []string{"b", "a"},
			Status: "archived", Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestARestoredDocumentIsActiveAgain(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Documents).
		Given(id, bare, events.DocumentArchived{OwnerID: ann}, events.DocumentRestored{}).
		Then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan", ContentType: "text/plain", Tags: []string{},
			Status: "active", Version: 3, CreatedAt: at(1), UpdatedAt: at(3),
		})
}

func TestADeletedDocumentHasNoRow(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Documents).Given(id, plan, events.DocumentDeleted{OwnerID: ann}).ThenNothing()
}

func TestEveryEntryOfAHistoryNamesTheOwner(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.DocumentHistory).
		Given(id, plan).
		Then(projections.DocumentChange{
			DocumentID: id, Version: 1, OwnerID: ann, Position: 10, Type: "document.created", At: at(1),
			Changes: map[string]any{"title": "Plan", "body_bytes": len("Größe"), "content_type": "text/markdown", "tags": []string{"b", "a"}},
		})
}

func TestAHistorySaysWhatBecameOfTheDocumentAndWhoDidIt(t *testing.T) {
	t.Parallel()
	change := func(version int, typ string, actor *uuid.UUID, changes map[string]any) projections.DocumentChange {
		return projections.DocumentChange{
			DocumentID: id, Version: int64(version), OwnerID: ann, Position: foldtest.Position(version), Type: typ, At: at(version),
			ActorID: actor, Changes: changes,
		}
	}
	foldtest.Of(t, projections.DocumentHistory).
		Given(id, bare).
		With(eventstore.Metadata{Actor: bob}).
		Given(id, events.DocumentRevised{OwnerID: ann, Title: "Plan B", Body: "naïve", ContentType: "text/plain"},
			events.DocumentArchived{OwnerID: ann}, events.DocumentRestored{OwnerID: ann}).
		With(eventstore.Metadata{Actor: uuid.Nil}).
		Given(id, events.DocumentDeleted{OwnerID: ann}).
		Then(
			change(1, "document.created", nil, map[string]any{"title": "Plan", "body_bytes": 0, "content_type": "text/plain", "tags": []string{}}),
			change(2, "document.revised", &bob, map[string]any{"title": "Plan B", "body_bytes": len("naïve"), "content_type": "text/plain", "tags": []string{}}),
			change(3, "document.archived", &bob, map[string]any{"status": "archived"}),
			change(4, "document.restored", &bob, map[string]any{"status": "active"}),
			change(5, "document.deleted", nil, map[string]any{"status": "deleted"}),
		)
}

func TestWhatHappensToADeletedDocumentMakesNoRow(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Documents).
		Given(id, plan, events.DocumentDeleted{OwnerID: ann}, events.DocumentArchived{OwnerID: ann},
			events.DocumentRevised{OwnerID: ann, Title: "Plan B"}, events.DocumentRestored{OwnerID: ann}).
		ThenNothing()
}

func TestNothingOfAForgottenOwnersDocumentsIsLeft(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.Documents).
		Given(id, plan).Forgotten(ann).Given(id, events.DocumentArchived{OwnerID: ann}).ThenNothing()
	foldtest.Of(t, projections.DocumentHistory).
		Given(id, plan, events.DocumentArchived{OwnerID: ann}).Forgotten(ann).Given(id, events.DocumentRestored{OwnerID: ann}).ThenNothing()
}
