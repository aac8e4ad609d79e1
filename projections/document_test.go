package projections_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections"
)

var (
	plan = events.DocumentCreated{OwnerID: ann, Title: "Plan", Body: "Größe", ContentType: "text/markdown", Tags: []string{"b", "a"}}
	bare = events.DocumentCreated{OwnerID: ann, Title: "Plan", ContentType: "text/plain"}
)

func TestACreatedDocumentIsActive(t *testing.T) {
	fold(t, projections.Documents).
		given(plan).
		then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan", Body: "Größe", ContentType: "text/markdown", Tags: []string{"b", "a"},
			Status: "active", Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestADocumentWithoutTagsHasAnEmptyList(t *testing.T) {
	fold(t, projections.Documents).
		given(bare).
		then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan", ContentType: "text/plain", Tags: []string{},
			Status: "active", Version: 1, CreatedAt: at(1), UpdatedAt: at(1),
		})
}

func TestARevisionReplacesAllThatTheDocumentSays(t *testing.T) {
	fold(t, projections.Documents).
		given(plan, events.DocumentRevised{OwnerID: ann, Title: "Plan B", Body: "new", ContentType: "text/plain"}).
		then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan B", Body: "new", ContentType: "text/plain", Tags: []string{},
			Status: "active", Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestAnArchivedDocumentKeepsWhatItSays(t *testing.T) {
	fold(t, projections.Documents).
		given(plan, events.DocumentArchived{OwnerID: ann}).
		then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan", Body: "Größe", ContentType: "text/markdown", Tags: []string{"b", "a"},
			Status: "archived", Version: 2, CreatedAt: at(1), UpdatedAt: at(2),
		})
}

func TestARestoredDocumentIsActiveAgain(t *testing.T) {
	fold(t, projections.Documents).
		given(bare, events.DocumentArchived{OwnerID: ann}, events.DocumentRestored{}).
		then(projections.DocumentRow{
			ID: id, OwnerID: ann, Title: "Plan", ContentType: "text/plain", Tags: []string{},
			Status: "active", Version: 3, CreatedAt: at(1), UpdatedAt: at(3),
		})
}

func TestADeletedDocumentHasNoRow(t *testing.T) {
	fold(t, projections.Documents).given(plan, events.DocumentDeleted{OwnerID: ann}).thenNothing()
}

func TestEveryEntryOfAHistoryNamesTheOwner(t *testing.T) {
	fold(t, projections.DocumentHistory).
		given(plan).
		then(projections.DocumentChange{
			DocumentID: id, Version: 1, OwnerID: ann, Position: 10, Type: "document.created", At: at(1),
			Changes: map[string]any{"title": "Plan", "body_bytes": len("Größe"), "content_type": "text/markdown", "tags": []string{"b", "a"}},
		})
}

func TestAHistoryHoldsOfABodyOnlyItsSizeInBytes(t *testing.T) {
	fold(t, projections.DocumentHistory).after(1).with(eventstore.Metadata{Actor: bob}).
		given(events.DocumentRevised{OwnerID: ann, Title: "Plan B", Body: "naïve", ContentType: "text/plain"}).
		then(projections.DocumentChange{
			DocumentID: id, Version: 2, OwnerID: ann, Position: 20, Type: "document.revised", At: at(2), ActorID: &bob,
			Changes: map[string]any{"title": "Plan B", "body_bytes": 6, "content_type": "text/plain", "tags": []string{}},
		})
}

func TestAHistorySaysWhatBecameOfTheDocument(t *testing.T) {
	for want, e := range map[string]events.Event{
		"archived": events.DocumentArchived{OwnerID: ann},
		"active":   events.DocumentRestored{OwnerID: ann},
		"deleted":  events.DocumentDeleted{OwnerID: ann},
	} {
		typ := map[string]string{"archived": "document.archived", "active": "document.restored", "deleted": "document.deleted"}[want]
		t.Run(want, func(t *testing.T) {
			fold(t, projections.DocumentHistory).after(4).given(e).
				then(projections.DocumentChange{
					DocumentID: id, Version: 5, OwnerID: ann, Position: 50, Type: typ, At: at(5), Changes: map[string]any{"status": want},
				})
		})
	}
}

func TestNobodysEventHasNoActor(t *testing.T) {
	fold(t, projections.DocumentHistory).with(eventstore.Metadata{Actor: uuid.Nil}).given(events.DocumentArchived{OwnerID: ann}).
		then(projections.DocumentChange{
			DocumentID: id, Version: 1, OwnerID: ann, Position: 10, Type: "document.archived", At: at(1), Changes: map[string]any{"status": "archived"},
		})
}
