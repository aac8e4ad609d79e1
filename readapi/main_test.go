package readapi_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var ann, bob = apptest.Ann, apptest.Bob

// plan is Ann's document, and what became of it.
var (
	plan     = events.DocumentCreated{OwnerID: ann, Title: "Plan", Body: "Ship it.", ContentType: "text/plain", Tags: []string{"q4"}}
	revised  = events.DocumentRevised{OwnerID: ann, Title: "Plan B", Body: "Später.", ContentType: "text/markdown"}
	archived = events.DocumentArchived{OwnerID: ann}
	deleted  = events.DocumentDeleted{OwnerID: ann}
)

// given is the events of one stream.
func given(all ...events.Event) []events.Event { return all }

// header is one header.
func header(name, value string) map[string]string { return map[string]string{name: value} }

// document is one as it is read.
type document struct {
	ID          uuid.UUID
	Title, Body string
	ContentType string `json:"content_type"`
	Tags        []string
	Status      string
	OwnerID     uuid.UUID `json:"owner_id"`
	Version     int64
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// page is one page of a list.
type page[T any] struct {
	Data       []T
	NextCursor *string `json:"next_cursor"`
	HasMore    bool    `json:"has_more"`
}
