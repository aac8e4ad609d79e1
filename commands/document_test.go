package commands

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
)

var (
	annsDocument = events.DocumentCreated{OwnerID: ann, Title: "Plan", Body: "first", ContentType: "text/markdown"}
	archived     = events.DocumentArchived{OwnerID: ann}
	restored     = events.DocumentRestored{OwnerID: ann}
	deleted      = events.DocumentDeleted{OwnerID: ann}
)

func TestWhoeverCreatesADocumentOwnsIt(t *testing.T) {
	specify(t, Document).
		given().
		when(CreateDocument{By: ann, Title: "Plan", Body: "first", ContentType: "text/plain", Tags: []string{"a", "b"}}).
		then(events.DocumentCreated{OwnerID: ann, Title: "Plan", Body: "first", ContentType: "text/plain", Tags: []string{"a", "b"}})
}

func TestADocumentIsCreatedOnce(t *testing.T) {
	for name, history := range map[string][]events.DocumentEvent{
		"active":   {annsDocument},
		"archived": {annsDocument, archived},
		"deleted":  {annsDocument, deleted},
	} {
		t.Run(name, func(t *testing.T) {
			specify(t, Document).given(history...).when(CreateDocument{By: ann, Title: "Again"}).thenFails(ErrDocumentExists)
		})
	}
}

func TestTheOwnerRevisesADocumentAsAWhole(t *testing.T) {
	specify(t, Document).
		given(annsDocument).
		when(ReviseDocument{By: ann, Title: "Plan B", Body: "second", ContentType: "text/plain", Tags: []string{"a"}}).
		then(events.DocumentRevised{OwnerID: ann, Title: "Plan B", Body: "second", ContentType: "text/plain", Tags: []string{"a"}})
}

func TestAnArchivedDocumentRefusesRevisionUntilItIsRestored(t *testing.T) {
	revise := ReviseDocument{By: ann, Title: "Plan B"}
	specify(t, Document).given(annsDocument, archived).when(revise).thenFails(ErrDocumentArchived)
	specify(t, Document).given(annsDocument, archived, restored).when(revise).
		then(events.DocumentRevised{OwnerID: ann, Title: "Plan B"})
}

func TestArchivingAndRestoringTwiceIsDoneOnce(t *testing.T) {
	specify(t, Document).given(annsDocument).when(ArchiveDocument{By: ann}).then(archived)
	specify(t, Document).given(annsDocument, archived).when(ArchiveDocument{By: ann}).then()
	specify(t, Document).given(annsDocument, archived).when(RestoreDocument{By: ann}).then(restored)
	specify(t, Document).given(annsDocument).when(RestoreDocument{By: ann}).then()
	specify(t, Document).given(annsDocument, archived, restored).when(ArchiveDocument{By: ann}).then(archived)
}

func TestTheOwnerDeletesADocumentArchivedOrNot(t *testing.T) {
	specify(t, Document).given(annsDocument).when(DeleteDocument{By: ann}).then(deleted)
	specify(t, Document).given(annsDocument, archived).when(DeleteDocument{By: ann}).then(deleted)
}

// TestADocumentIsHiddenFromEverybodyElse holds for every verb that a document which is not there, not one's own or
// deleted cannot be told apart: the answer is the same, also where the owner would get another fault.
func TestADocumentIsHiddenFromEverybodyElse(t *testing.T) {
	verbs := func(by uuid.UUID) map[string]DocumentCommand {
		return map[string]DocumentCommand{
			"revise":         ReviseDocument{By: by, Title: "Mine"},
			"revise, badly":  ReviseDocument{By: by, Title: "", Body: strings.Repeat("x", maxBodyBytes+1)},
			"archive":        ArchiveDocument{By: by},
			"restore":        RestoreDocument{By: by},
			"delete":         DeleteDocument{By: by},
			"delete by none": DeleteDocument{},
		}
	}
	for _, c := range []struct {
		name    string
		by      uuid.UUID
		history []events.DocumentEvent
	}{
		{"stranger, active", bob, []events.DocumentEvent{annsDocument}},
		{"stranger, revised", bob, []events.DocumentEvent{annsDocument, events.DocumentRevised{OwnerID: ann, Title: "Plan B"}}},
		{"stranger, archived", bob, []events.DocumentEvent{annsDocument, archived}},
		{"stranger, restored", bob, []events.DocumentEvent{annsDocument, archived, restored}},
		{"stranger, deleted", bob, []events.DocumentEvent{annsDocument, deleted}},
		{"stranger, archived and deleted", bob, []events.DocumentEvent{annsDocument, archived, deleted}},
		{"stranger, missing", bob, nil},
		{"owner, missing", ann, nil},
		{"owner, deleted", ann, []events.DocumentEvent{annsDocument, deleted}},
		{"owner, archived and deleted", ann, []events.DocumentEvent{annsDocument, archived, deleted}},
	} {
		for verb, command := range verbs(c.by) {
			t.Run(c.name+"/"+verb, func(t *testing.T) {
				specify(t, Document).given(c.history...).when(command).thenFails(ErrNotFound)
			})
		}
	}
}

func TestLimitsOfADocument(t *testing.T) {
	tags := func(n, length int) []string { return slices.Repeat([]string{characters(length)}, n) }
	for _, c := range []struct {
		name        string
		title, body string
		tags        []string
		want        error
	}{
		{name: "title of one character", title: characters(1)},
		{name: "title of 200 characters", title: characters(200)},
		{name: "title of 201 characters", title: characters(201), want: ErrDocumentTitle},
		{name: "no title", title: "", want: ErrDocumentTitle},
		{name: "body of 1 MiB", title: "x", body: characters(1 << 18)},
		{name: "body of 1 MiB and a byte", title: "x", body: characters(1<<18) + "x", want: ErrDocumentBody},
		{name: "body of 1 MiB less a byte and one character more", title: "x", body: strings.Repeat("x", 1<<20-1) + "é", want: ErrDocumentBody},
		{name: "no body", title: "x"},
		{name: "20 tags of 50 characters", title: "x", tags: tags(20, 50)},
		{name: "21 tags", title: "x", tags: tags(21, 1), want: ErrDocumentTags},
		{name: "tag of 51 characters", title: "x", tags: []string{"a", characters(51)}, want: ErrDocumentTags},
		{name: "empty tag", title: "x", tags: []string{"a", ""}, want: ErrDocumentTags},
	} {
		t.Run(c.name, func(t *testing.T) {
			create := specify(t, Document).given().when(CreateDocument{By: ann, Title: c.title, Body: c.body, Tags: c.tags})
			revise := specify(t, Document).given(annsDocument).when(ReviseDocument{By: ann, Title: c.title, Body: c.body, Tags: c.tags})
			if c.want != nil {
				create.thenFails(c.want)
				revise.thenFails(c.want)
				return
			}
			create.then(events.DocumentCreated{OwnerID: ann, Title: c.title, Body: c.body, Tags: c.tags})
			revise.then(events.DocumentRevised{OwnerID: ann, Title: c.title, Body: c.body, Tags: c.tags})
		})
	}
}
