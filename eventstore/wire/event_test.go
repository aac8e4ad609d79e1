package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/wire"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")

// registered appends an event with clear, sealed and secret fields, and returns it as a reader gets it.
func registered(t *testing.T, l *logtest.Log, stream eventstore.Stream) *eventstore.Recorded {
	t.Helper()
	ctx := eventstore.WithMetadata(t.Context(), eventstore.Metadata{
		Actor: ann, RequestID: "request-1", Client: eventstore.Client{Address: "192.0.2.7", UserAgent: "curl"},
	})
	_, err := l.Store.Append(ctx, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{events.UserRegistered{
		UserID: ann, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash of hers", Roles: []string{"user"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return read(t, l, stream)
}

// read reads the stream's first event.
func read(t *testing.T, l *logtest.Log, stream eventstore.Stream) *eventstore.Recorded {
	t.Helper()
	all, err := l.Store.Load(t.Context(), stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// show returns the event and its JSON.
func show(t *testing.T, r *eventstore.Recorded, unseal bool) (wire.Event, string) {
	t.Helper()
	e, err := wire.Show(r, unseal)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return e, string(text)
}

func TestWhatIsPersonalIsShownToWhoMaySeeItAndWhatIsSecretToNobody(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := eventstore.NewStream("user", ann)
	r := registered(t, l, stream)
	for _, c := range []struct {
		unseal bool
		want   wire.Sealed
	}{{true, wire.Shown}, {false, wire.Withheld}} {
		e, text := show(t, r, c.unseal)
		if e.Sealed != c.want {
			t.Errorf("unseal %t: sealed is %s, want %s", c.unseal, e.Sealed, c.want)
		}
		for _, personal := range []string{"ann@example.com", `"Ann"`, "192.0.2.7", "curl"} {
			if strings.Contains(text, personal) != c.unseal {
				t.Errorf("unseal %t: %s in %s", c.unseal, personal, text)
			}
		}
		if strings.Contains(text, "hash of hers") || strings.Contains(text, "password_hash") {
			t.Errorf("unseal %t: a secret is shown: %s", c.unseal, text)
		}
		if !strings.Contains(text, `"roles":["user"]`) || !strings.Contains(text, `"request_id":"request-1"`) || *e.Metadata.ActorID != ann {
			t.Errorf("unseal %t: what is not personal is missing: %s", c.unseal, text)
		}
	}
	if _, err := l.Keys.Forget(t.Context(), l.Store, ann); err != nil {
		t.Fatal(err)
	}
	e, text := show(t, read(t, l, stream), true)
	if e.Sealed != wire.Erased || strings.Contains(text, "ann@example.com") || strings.Contains(text, "192.0.2.7") || !strings.Contains(text, `"roles"`) {
		t.Errorf("forgotten: %s", text)
	}
}

func TestTheHashOfAnAPIKeyStaysWithinAtlas(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := eventstore.NewStream("apikey", ann)
	_, err := l.Store.Append(t.Context(), eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{
		events.ServiceKeyCreated{CreatedBy: ann, Name: "search", Scopes: []string{"events:read"}, Hash: "hash of the key"},
		events.APIKeyRotated{Hash: "hash of the next", Generation: 2, Least: 1},
		events.APIKeyCreated{OwnerID: ann, Name: "hers", Hash: "hash of hers"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	alter(t, l, `UPDATE atlas.events SET schema_version = 99 WHERE version = 2`) // as of a newer release
	all, err := l.Store.Load(t.Context(), stream, 1)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	for _, r := range all {
		if _, text := show(t, r, true); strings.Contains(text, "hash") || !strings.Contains(text, `"data":{"`) {
			t.Errorf("%s: got %s", r.Type, text)
		}
	}
}

func TestADamagedValueIsSaidToBeAndNothingElseIsMissing(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := eventstore.NewStream("user", ann)
	registered(t, l, stream)
	alter(t, l, `UPDATE atlas.events SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 255)`)
	r := read(t, l, stream)
	if e, text := show(t, r, true); e.Sealed != wire.Damaged || !strings.Contains(text, `"roles"`) || strings.Contains(text, "ann@example.com") {
		t.Errorf("got %s", text)
	}
	if e, text := show(t, r, false); e.Sealed != wire.Withheld || !strings.Contains(text, `"roles"`) {
		t.Errorf("to who may not see it anyway: %s", text)
	}
}

// TestAnEventOfANewerBinaryComesAsItIsStored stores an unknown type and a version to come.
func TestAnEventOfANewerBinaryComesAsItIsStored(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := eventstore.NewStream("user", ann)
	registered(t, l, stream)
	for _, change := range []string{`type = 'user.teleported'`, `type = 'user.registered', schema_version = 99`} {
		alter(t, l, `UPDATE atlas.events SET data = data || '{"big": 9007199254740993}', `+change)
		r := read(t, l, stream)
		e, text := show(t, r, true)
		if e.Schema != r.Schema || e.Type != r.Type || e.Sealed != wire.Shown || !strings.Contains(text, `"big":9007199254740993`) || !strings.Contains(text, "ann@example.com") {
			t.Errorf("%s: got %s", change, text)
		}
	}
}

type noteV1 struct {
	Owner uuid.UUID `json:"owner" pii:"subject"`
	Text  string    `json:"text" pii:"seal"`
	Stars int       `json:"stars"`
}

type noteV2 struct {
	Owner  uuid.UUID `json:"owner" pii:"subject"`
	Text   string    `json:"text" pii:"seal"`
	Rating int       `json:"rating"`
}

func renameStars(v1 json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(strings.Replace(string(v1), `"stars"`, `"rating"`, 1)), nil
}

// storeOf returns the log as a binary with one event type sees it.
func storeOf(t *testing.T, l *logtest.Log, typ events.Type) *eventstore.Store {
	t.Helper()
	v, err := events.NewVocabulary(typ)
	if err != nil {
		t.Fatal(err)
	}
	return eventstore.New(l.Pool, v, l.Keys)
}

// TestAFormerShapeIsLifted holds that data has the shape that schema_version says, with what is personal and without.
func TestAFormerShapeIsLifted(t *testing.T) {
	t.Parallel()
	l, stream := logtest.New(t), eventstore.NewStream("note", ann)
	old, now := storeOf(t, l, events.Define[noteV1]("note.written")), storeOf(t, l, events.Define[noteV2]("note.written", renameStars))
	_, err := old.Append(t.Context(), eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{noteV1{Owner: ann, Text: "mine", Stars: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		store  *eventstore.Store
		unseal bool
		schema int
		want   string
	}{
		{old, true, 1, `{"owner":"` + ann.String() + `","stars":3,"text":"mine"}`},
		{now, true, 2, `{"owner":"` + ann.String() + `","rating":3,"text":"mine"}`},
		{now, false, 2, `{"owner":"` + ann.String() + `","rating":3}`},
	} {
		all, err := c.store.Load(t.Context(), stream, 1)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := show(t, all[0], c.unseal)
		data, err := json.Marshal(e.Data)
		if err != nil || e.Schema != c.schema || string(data) != c.want {
			t.Errorf("unseal %t: got version %d %s %v, want %d %s", c.unseal, e.Schema, data, err, c.schema, c.want)
		}
	}
}

func TestTheJSONIsAContract(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	_, text := show(t, registered(t, l, eventstore.NewStream("user", ann)), false)
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	for _, varies := range []string{"position", "id", "recorded_at"} {
		if got[varies] == nil {
			t.Errorf("%s is missing: %s", varies, text)
		}
		delete(got, varies)
	}
	metadata := got["metadata"].(map[string]any)
	delete(metadata, "correlation_id")
	want := map[string]any{
		"stream": "user-" + ann.String(), "version": 1.0, "type": "user.registered", "schema_version": got["schema_version"], "subject": ann.String(),
		"sealed": "withheld", "data": map[string]any{"user_id": ann.String(), "roles": []any{"user"}},
		"metadata": map[string]any{"actor_id": ann.String(), "causation_id": nil, "request_id": "request-1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// alter changes what is stored behind the log's back.
func alter(t *testing.T, l *logtest.Log, sql string) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), l.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SET LOCAL session_replication_role = replica`); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), sql)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
