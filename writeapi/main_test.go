package writeapi_test

import (
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var ann, bob = apptest.Ann, apptest.Bob

// plan is Ann's document.
var plan = events.DocumentCreated{OwnerID: ann, Title: "Plan", Body: "Ship it.", ContentType: "text/markdown", Tags: []string{"q4"}}

// given is the events of one stream.
func given(all ...events.Event) []events.Event { return all }

// header is one header.
func header(name, value string) map[string]string { return map[string]string{name: value} }
