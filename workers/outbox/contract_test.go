package outbox

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// canary is what the tests put into everything personal.
const canary = "canary-7f3a"

// filled returns an event of the type with every field set; strings and lists hold the text.
func filled(t reflect.Type, text string) events.Event {
	v := reflect.New(t).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case uuid.UUID:
			f.Set(reflect.ValueOf(ann))
		case string:
			f.SetString(text)
		case []string:
			f.Set(reflect.ValueOf([]string{text}))
		case int64:
			f.SetInt(2)
		}
	}
	return v.Interface()
}

// sampleMessage returns the message that the contract makes of an event with all fields set.
func sampleMessage(t *testing.T, c Contract, text string) *message.Message {
	t.Helper()
	e := filled(reflect.TypeOf(c.event), text)
	stream := eventstore.NewStream("sample", uuid.MustParse("0197f2f0-7c00-7000-8000-000000000002"))
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	r, err := eventstore.NewRecorded(logtest.Vocabulary(t), stream, 3, 42, at, e)
	if err != nil {
		t.Fatal(err)
	}
	r.ID = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000003")
	r.Metadata = eventstore.Metadata{
		Actor:         ann,
		CorrelationID: uuid.MustParse("0197f2f0-7c00-7000-8000-000000000004"),
		CausationID:   uuid.MustParse("0197f2f0-7c00-7000-8000-000000000005"),
		Traceparent:   "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		RequestID:     text,
		Client:        eventstore.Client{Address: text, UserAgent: text},
	}
	m, err := c.message(r, e)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestGoldenMessages holds a message of every contract to what was released, byte by byte. -update writes those of new
// contracts and additions alone: TestGoldenContracts has looked at the shape, here it is what a shape does not show, such
// as the id, by which consumers tell what they have had.
func TestGoldenMessages(t *testing.T) {
	t.Parallel()
	for _, c := range Catalog() {
		t.Run(c.name, func(t *testing.T) {
			m := sampleMessage(t, c, "text")
			made := golden{m.Metadata, json.RawMessage(m.Payload), c.topic, m.UUID}
			path := filepath.Join("testdata", c.name+".json")
			if *update {
				if was, err := readGolden(path); err == nil {
					requireOnlyMore(t, was, made)
				}
				write(t, path, made)
			}
			was, err := readGolden(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(was.comparable(t), made.comparable(t)); diff != "" {
				t.Errorf("-golden +made:\n%s", diff)
			}
		})
	}
}

// golden is a message as it was released.
type golden struct {
	Metadata map[string]string `json:"metadata"`
	Payload  json.RawMessage   `json:"payload"`
	Topic    string            `json:"topic"`
	UUID     string            `json:"uuid"`
}

func readGolden(path string) (g golden, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return g, err
	}
	return g, json.Unmarshal(raw, &g)
}

// comparable returns the message's fields by name.
func (g golden) comparable(t *testing.T) map[string]any {
	t.Helper()
	fields := map[string]any{"topic": g.Topic, "uuid": g.UUID}
	var payload map[string]any
	if err := json.Unmarshal(g.Payload, &payload); err != nil {
		t.Fatal(err)
	}
	for name, value := range payload {
		fields["payload."+name] = value
	}
	for name, value := range g.Metadata {
		fields["metadata."+name] = value
	}
	return fields
}

// requireOnlyMore holds that all a message said it says still.
func requireOnlyMore(t *testing.T, was, made golden) {
	t.Helper()
	now := made.comparable(t)
	for name, value := range was.comparable(t) {
		if !cmp.Equal(value, now[name]) {
			t.Fatalf("%s was %v and would be %v, which breaks those who read it: declare a new version of the contract", name, value, now[name])
		}
	}
}

func TestContractsAreNamedAndDeclaredOnce(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(`^[a-z_]+(\.[a-z_]+)+\.v[1-9][0-9]*$`)
	seen := map[string]bool{}
	for _, c := range Catalog() {
		if !pattern.MatchString(c.name) {
			t.Errorf("contract %q is not of the form thing.happened.v1", c.name)
		}
		if seen[c.name] {
			t.Errorf("contract %s is declared twice", c.name)
		}
		seen[c.name] = true
		if _, err := logtest.Vocabulary(t).Of(c.event); err != nil {
			t.Errorf("contract %s: %v", c.name, err)
		}
	}
}

func TestNoContractCanHandOnPersonalFields(t *testing.T) {
	t.Parallel()
	for _, c := range Catalog() {
		personal := map[string]bool{}
		e := filled(reflect.TypeOf(c.event), canary)
		v := reflect.ValueOf(e)
		for i := range v.NumField() {
			f := v.Type().Field(i)
			personal[f.Name] = f.Tag.Get("pii") == "seal" || f.Tag.Get("pii") == "secret"
		}
		var seen events.Event
		spy := c
		spy.payload = func(r *eventstore.Recorded, e events.Event) Payload { seen = e; return c.payload(r, e) }
		m := sampleMessage(t, spy, canary)
		if seen == nil {
			t.Fatalf("%s was not made", c.name)
		}
		var payload map[string]any
		if err := json.Unmarshal(m.Payload, &payload); err != nil {
			t.Fatal(err)
		}
		for name, value := range payload {
			if text, _ := json.Marshal(value); strings.Contains(string(text), canary) && name != "content_type" {
				t.Errorf("%s hands on a personal field as %s", c.name, name)
			}
		}
		for key, value := range m.Metadata {
			if strings.Contains(value, canary) {
				t.Errorf("%s hands on personal data in metadata %s", c.name, key)
			}
		}
	}
}

func TestPersonalFieldsAreEmptiedBeforeAContractSeesThem(t *testing.T) {
	t.Parallel()
	got := withoutPersonal(filled(reflect.TypeFor[events.UserRegistered](), canary).(events.UserRegistered))
	want := events.UserRegistered{UserID: ann, Roles: []string{canary}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEveryTopicHasItsTables(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, Migrations())
	for _, c := range Catalog() {
		for _, table := range []string{messagesTable(c.topic), offsetsTable(c.topic)} {
			if _, err := pool.Exec(t.Context(), "SELECT FROM "+table); err != nil {
				t.Errorf("contract %s: %v", c.name, err)
			}
		}
	}
}
