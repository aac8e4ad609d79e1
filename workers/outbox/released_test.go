package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/projections/engine"
)

// released is where the schema of every contract lies as it was released.
const released = "contracts"

// schemas returns what is promised today, by name.
func schemas(t *testing.T, contracts []Contract) map[string]Schema {
	t.Helper()
	all := map[string]Schema{"metadata": MetadataSchema()}
	for _, c := range contracts {
		s, err := c.Schema()
		if err != nil {
			t.Fatal(err)
		}
		all[c.name] = s
	}
	return all
}

// TestGoldenContracts holds what Atlas promises to those outside to what was released. What breaks them fails and is not
// written by -update; what they can ignore only has to be written down.
func TestGoldenContracts(t *testing.T) {
	t.Parallel()
	made := schemas(t, Catalog())
	for _, name := range slices.Sorted(maps.Keys(made)) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(released, name+".json")
			was, err := readSchema(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err == nil {
				if broken := breaks(was, made[name]); len(broken) > 0 {
					t.Fatalf("%s would break those who read it: %s.\n%s", name, strings.Join(broken, "; "), remedy(name))
				}
			}
			if *update {
				write(t, path, made[name])
				return
			}
			if diff := cmp.Diff(was, made[name]); diff != "" {
				t.Errorf("%s has an addition, which breaks nobody: write it down with `make golden`\n-released +made:\n%s", name, diff)
			}
		})
	}
}

func TestNoReleasedContractIsGone(t *testing.T) {
	t.Parallel()
	for _, lost := range gone(t, schemas(t, Catalog())) {
		t.Error(lost)
	}
}

// gone names the contracts that were released and are not among those made.
func gone(t *testing.T, made map[string]Schema) (lost []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(released, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no released contracts were found: %v", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		if _, there := made[name]; !there {
			lost = append(lost, fmt.Sprintf("%s was released and is no longer made: keep it in Catalog, beside its next version, "+
				"for as long as anybody reads it; when nobody does, remove workers/outbox/%s", name, path))
		}
	}
	return lost
}

func readSchema(path string) (s Schema, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(raw, &s)
}

func write(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// remedy says what to do instead of breaking a contract.
func remedy(name string) string {
	version := regexp.MustCompile(`^(.*\.v)([0-9]+)$`).FindStringSubmatch(name)
	if version == nil {
		return "Leave it as it is; what is new may only be an addition that readers can ignore."
	}
	n, _ := strconv.Atoi(version[2])
	return fmt.Sprintf("Leave %s as it is and declare the new shape as %s%d beside it, until nobody reads the old one.", name, version[1], n+1)
}

// breaks lists what in a new schema breaks those who count on the old one.
func breaks(was, is Schema) (broken []string) {
	if was.Topic != is.Topic {
		broken = append(broken, fmt.Sprintf("its messages lay in the topic %q and would lie in %q", was.Topic, is.Topic))
	}
	return append(broken, breaksAt("the payload", was, is)...)
}

func breaksAt(what string, was, is Schema) (broken []string) {
	if was.Type != is.Type || was.Format != is.Format {
		return []string{fmt.Sprintf("%s was %s and would be %s", what, kind(was), kind(is))}
	}
	if was.Items != nil {
		broken = append(broken, breaksAt("an item of "+what, *was.Items, *is.Items)...)
	}
	for _, name := range slices.Sorted(maps.Keys(was.Properties)) {
		field := fmt.Sprintf("the field %q", name)
		now, there := is.Properties[name]
		switch {
		case !there:
			broken = append(broken, field+" is gone")
			continue
		case slices.Contains(was.Required, name) && !slices.Contains(is.Required, name):
			broken = append(broken, field+" was always there and may be missing now")
		case !slices.Contains(was.Required, name) && slices.Contains(is.Required, name):
			broken = append(broken, field+" would be required, which messages that were written before do not keep")
		}
		broken = append(broken, breaksAt(field, was.Properties[name], now)...)
	}
	for _, name := range is.Required {
		if _, there := was.Properties[name]; !there {
			broken = append(broken, fmt.Sprintf("the field %q is new and required, which messages that were written before do not keep: "+
				"make it a pointer or a list with omitempty", name))
		}
	}
	return broken
}

func kind(s Schema) string {
	if s.Format != "" {
		return s.Type + " (" + s.Format + ")"
	}
	return s.Type
}

// thing is a contract as it was released; the other types are what might become of it.
type thing struct {
	ID   uuid.UUID `json:"id"`
	Size int64     `json:"size"`
	Note *string   `json:"note,omitempty"`
	Tags []string  `json:"tags,omitempty"`
}

func (thing) Contract() string { return "thing.made.v1" }

type (
	thingAdded struct {
		thingSame
		More *time.Time `json:"more,omitempty"`
	}
	thingSame    = thing
	thingWithout struct {
		ID   uuid.UUID `json:"id"`
		Note *string   `json:"note,omitempty"`
		Tags []string  `json:"tags,omitempty"`
	}
	thingRetyped struct {
		ID   string   `json:"id"`
		Size string   `json:"size"`
		Note *string  `json:"note,omitempty"`
		Tags []*int64 `json:"tags,omitempty"`
	}
	thingLoose struct {
		ID   uuid.UUID `json:"id"`
		Size *int64    `json:"size,omitempty"`
		Note *string   `json:"note,omitempty"`
		Tags []string  `json:"tags,omitempty"`
	}
	thingStrict struct {
		ID   uuid.UUID `json:"id"`
		Size int64     `json:"size"`
		Note string    `json:"note"`
		Tags []string  `json:"tags,omitempty"`
		More time.Time `json:"more"`
	}
	thingExtended struct {
		ID   uuid.UUID  `json:"id"`
		Size int64      `json:"size"`
		Note *string    `json:"note,omitempty"`
		Tags []string   `json:"tags,omitempty"`
		More *time.Time `json:"more,omitempty"`
	}
)

func TestWhatBreaksAContractIsTold(t *testing.T) {
	t.Parallel()
	schema := func(body reflect.Type, topic string) Schema {
		s, err := Contract{name: "thing.made.v1", topic: topic, body: body}.Schema()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	was := schema(reflect.TypeFor[thing](), "things")
	for what, c := range map[string]struct {
		now  Schema
		want []string // each in one thing that is told
	}{
		"nothing":         {schema(reflect.TypeFor[thing](), "things"), nil},
		"an addition":     {schema(reflect.TypeFor[thingExtended](), "things"), nil},
		"another topic":   {schema(reflect.TypeFor[thing](), "others"), []string{`"things"`}},
		"a field gone":    {schema(reflect.TypeFor[thingWithout](), "things"), []string{`"size" is gone`}},
		"types changed":   {schema(reflect.TypeFor[thingRetyped](), "things"), []string{"string (uuid)", "integer and would be string", `item of the field "tags"`}},
		"no longer sure":  {schema(reflect.TypeFor[thingLoose](), "things"), []string{`"size" was always there`}},
		"required is new": {schema(reflect.TypeFor[thingStrict](), "things"), []string{`"note" would be required`, `"more" is new and required`}},
	} {
		got := breaks(was, c.now)
		if len(got) != len(c.want) {
			t.Errorf("%s: got %q, want %d things", what, got, len(c.want))
		}
		for _, w := range c.want {
			if !strings.Contains(strings.Join(got, "\n"), w) {
				t.Errorf("%s: got %q, want one with %q", what, got, w)
			}
		}
	}
	if got := remedy("thing.made.v9"); !strings.Contains(got, "thing.made.v10") {
		t.Errorf("the remedy is %q, want one that names the next version", got)
	}
	made := schemas(t, Catalog()[1:])
	if got := gone(t, made); len(got) != 1 || !strings.Contains(got[0], Catalog()[0].name) {
		t.Errorf("a catalogue without %s loses %q", Catalog()[0].name, got)
	}
}

func TestAPayloadThatNoSchemaTellsIsRefused(t *testing.T) {
	t.Parallel()
	for what, body := range map[string]reflect.Type{
		"a map": reflect.TypeFor[struct {
			M map[string]int `json:"m"`
		}](),
		"JSON of its own": reflect.TypeFor[struct {
			M json.RawMessage `json:"m"`
		}](),
		"a field unnamed":    reflect.TypeFor[struct{ M string }](),
		"an embedded struct": reflect.TypeFor[thingAdded](),
		"a pointer always": reflect.TypeFor[struct {
			M *string `json:"m"`
		}](),
		"a text left out": reflect.TypeFor[struct {
			M string `json:"m,omitempty"`
		}](),
		"a field left out": reflect.TypeFor[struct {
			M string `json:"-"`
		}](),
		"an interface inside": reflect.TypeFor[struct {
			M []any `json:"m,omitempty"`
		}](),
	} {
		if s, err := (Contract{name: "thing.made.v1", body: body}).Schema(); err == nil {
			t.Errorf("%s: got %+v, want an error", what, s)
		}
	}
}

// TestEveryMessageKeepsItsSchema holds real messages to the schemas, by a reading of the schema of its own.
func TestEveryMessageKeepsItsSchema(t *testing.T) {
	t.Parallel()
	for _, c := range Catalog() {
		s, err := c.Schema()
		if err != nil {
			t.Fatal(err)
		}
		m := sampleMessage(t, c, "text")
		var payload any
		if err := json.Unmarshal(m.Payload, &payload); err != nil {
			t.Fatal(err)
		}
		keeps(t, c.name, s, payload)
		metadata := map[string]any{}
		for key, value := range m.Metadata {
			metadata[key] = value
		}
		keeps(t, c.name+"'s metadata", MetadataSchema(), metadata)
	}
}

// keeps fails the test unless the value is what the schema says, with nothing the schema does not tell of.
func keeps(t *testing.T, what string, s Schema, value any) {
	t.Helper()
	switch v := value.(type) {
	case map[string]any:
		for _, name := range s.Required {
			if _, there := v[name]; !there {
				t.Errorf("%s lacks %s", what, name)
			}
		}
		for name, field := range v {
			told, there := s.Properties[name]
			if !there || s.Type != "object" {
				t.Errorf("%s has %s, which its schema does not tell of", what, name)
			}
			keeps(t, what+"."+name, told, field)
		}
	case []any:
		for _, item := range v {
			keeps(t, what, *s.Items, item)
		}
	case string:
		var err error
		switch s.Format {
		case "uuid":
			_, err = uuid.Parse(v)
		case "date-time":
			_, err = time.Parse(time.RFC3339Nano, v)
		}
		if err != nil || s.Type != "string" {
			t.Errorf("%s is %q, want %s", what, v, kind(s))
		}
	case float64:
		if whole := v == float64(int64(v)); s.Type != "number" && (s.Type != "integer" || !whole) {
			t.Errorf("%s is %v, want %s", what, v, kind(s))
		}
	case bool:
		if s.Type != "boolean" {
			t.Errorf("%s is %v, want %s", what, v, kind(s))
		}
	default:
		t.Errorf("%s is %v, want %s", what, v, kind(s))
	}
}

// TestTopicsAreByCategory holds that what happens to one category's streams lies in one topic, in whose order they are.
func TestTopicsAreByCategory(t *testing.T) {
	t.Parallel()
	vocabulary, err := events.NewVocabulary(events.Catalog()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Catalog() {
		typ, err := vocabulary.Of(c.event)
		if err != nil {
			t.Fatal(err)
		}
		category, _, _ := strings.Cut(typ.Name, ".")
		if c.topic != category+"s" || !strings.HasPrefix(c.name, category+".") {
			t.Errorf("%s is made of %s and lies in the topic %s, want %ss", c.name, typ.Name, c.topic, category)
		}
	}
}

// TestAnEventMayHaveTwoVersionsOfAContract is how a contract is replaced: both are made until nobody reads the old one.
func TestAnEventMayHaveTwoVersionsOfAContract(t *testing.T) {
	t.Parallel()
	next := Define(Documents, func(e engine.Recorded[events.DocumentArchived]) archivedAnew { return archivedAnew{e.Stream.ID} })
	p := projection(Version, append(Catalog(), next))
	l := newLog(t, p)
	wait(t, start(t, l, p), mustAppend(t, l.Store, newStream("document"), events.DocumentArchived{}), p)
	var names []string
	for _, m := range messages(t, l.Pool, Documents) {
		names = append(names, m.Metadata[MetaContract])
	}
	if diff := cmp.Diff([]string{"document.archived.v1", "document.archived.v2"}, names); diff != "" {
		t.Errorf("contracts (-want +got):\n%s", diff)
	}
}

type archivedAnew struct {
	ID uuid.UUID `json:"id"`
}

func (archivedAnew) Contract() string { return "document.archived.v2" }

// TestTheDocsListTheContracts holds the table of docs/outbox.md to the catalogue.
func TestTheDocsListTheContracts(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/outbox.md")
	if err != nil {
		t.Fatal(err)
	}
	told, made := map[string]string{}, map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.]+\\.v[0-9]+)` \\| `([a-z_]+)` \\| .").FindAllStringSubmatch(string(page), -1) {
		told[row[1]] = row[2]
	}
	for _, c := range Catalog() {
		made[c.Name()] = c.Topic()
	}
	if diff := cmp.Diff(made, told); diff != "" {
		t.Errorf("docs/outbox.md (-catalogue +page):\n%s", diff)
	}
}
