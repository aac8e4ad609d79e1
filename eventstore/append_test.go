package eventstore_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

func TestAppendedEventsAreLoadedAsTheyWere(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream, want := newStream(), created("Plan")
	meta := eventstore.Metadata{Actor: ann, CorrelationID: uuid.New(), RequestID: "request-1", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Client: eventstore.Client{Address: "192.0.2.7", UserAgent: "curl"}}
	o, err := l.Store.Append(eventstore.WithMetadata(context.Background(), meta),
		eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{want, events.DocumentArchived{}}})
	if err != nil {
		t.Fatal(err)
	}
	got := mustLoad(t, l, stream)
	if len(got) != 2 || got[0].Version != 1 || got[1].Version != 2 {
		t.Fatalf("loaded %d events, want versions 1 and 2", len(got))
	}
	if diff := cmp.Diff(want, mustEvent(t, got[0])); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	meta.CommandID = got[0].Metadata.CommandID
	if diff := cmp.Diff(meta, got[0].Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if s := o.Streams[0]; s.Stream != stream || s.Version != 2 || s.Position != got[1].Position || s.Events != 2 {
		t.Errorf("outcome %+v does not tell of version 2 at %d", s, got[1].Position)
	}
}

func TestLostRaceTellsTheActualVersionAndWritesNothing(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream, other, missing := newStream(), newStream(), newStream()
	mustAppend(t, l, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{created("Plan"), events.DocumentArchived{}}})
	for _, c := range []struct {
		name   string
		stream eventstore.Stream
		expect int64
		actual int64
	}{
		{"stream exists", stream, eventstore.NoStream, 2},
		{"older version", stream, 1, 2},
		{"newer version", stream, 3, 2},
		{"missing stream", missing, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := l.Store.Append(context.Background(),
				eventstore.Write{Stream: c.stream, Expect: c.expect, Events: []events.Event{events.DocumentRestored{}}},
				eventstore.Write{Stream: other, Expect: eventstore.AnyVersion, Events: []events.Event{created("Other")}})
			var lost *eventstore.ErrVersion
			if !errors.As(err, &lost) || lost.Actual != c.actual || lost.Expected != c.expect || lost.Stream != c.stream {
				t.Errorf("got %v, want a lost race at version %d", err, c.actual)
			}
		})
	}
	if got := mustLoad(t, l, other); len(got) != 0 {
		t.Errorf("the other write of a lost race left %d events", len(got))
	}
	var rows int
	if err := l.Pool.QueryRow(context.Background(), `SELECT count(*) FROM atlas.streams`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("lost races left %d stream rows (%v), want 1", rows, err)
	}
}

func TestOneAppendWritesSeveralStreamsInTheOrderGiven(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	streams := []eventstore.Stream{newStream(), newStream(), newStream()}
	slices.Reverse(streams) // so that the order given is not the order of names
	var writes []eventstore.Write
	for _, s := range streams {
		writes = append(writes, eventstore.Write{Stream: s, Expect: eventstore.NoStream, Events: []events.Event{created("x")}})
	}
	mustAppend(t, l, writes...)
	last := int64(0)
	for i, s := range streams {
		got := mustLoad(t, l, s)
		if len(got) != 1 || got[0].Position <= last {
			t.Fatalf("stream %d lies at %v, want one event after %d", i, got, last)
		}
		last = got[0].Position
	}
}

func TestTheSameCommandIsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := newStream()
	ctx := eventstore.WithCommand(context.Background(), uuid.New(), []byte("a"))
	write := eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{created("Plan")}}
	first, err := l.Store.Append(ctx, write)
	if err != nil || first.Replayed {
		t.Fatalf("first: %+v, %v", first, err)
	}
	mustAppend(t, l, eventstore.Write{Stream: stream, Expect: 1, Events: []events.Event{events.DocumentArchived{}}})
	again, err := l.Store.Append(ctx, write)
	if err != nil || !again.Replayed {
		t.Fatalf("again: %+v, %v; want the first outcome, replayed", again, err)
	}
	if diff := cmp.Diff(first.Streams, again.Streams); diff != "" {
		t.Errorf("outcome (-first +again):\n%s", diff)
	}
	if got := mustLoad(t, l, stream); len(got) != 2 {
		t.Errorf("%d events, want 2: a replay must write nothing", len(got))
	}
	other := eventstore.WithCommand(context.Background(), eventstore.CommandFrom(ctx).ID, []byte("b"))
	if _, err := l.Store.Append(other, write); !errors.Is(err, eventstore.ErrCommandReused) {
		t.Errorf("another command under the id: got %v, want ErrCommandReused", err)
	}
	if _, _, err := l.Store.Lookup(other, eventstore.CommandFrom(other)); !errors.Is(err, eventstore.ErrCommandReused) {
		t.Errorf("looking up another command under the id: got %v, want ErrCommandReused", err)
	}
}

func TestConcurrentDuplicatesOnTwoNodesAreCarriedOutOnce(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	nodes := []*logtest.Log{l, l.Node(t)}
	ctx := eventstore.WithCommand(context.Background(), uuid.New(), []byte("a"))
	outcomes := make([]eventstore.Outcome, 16)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() {
			o, err := nodes[i%2].Store.Append(ctx, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("Plan")}})
			if err != nil {
				t.Error(err)
			}
			outcomes[i] = o
		})
	}
	wg.Wait()
	firsts := 0
	for _, o := range outcomes {
		if !o.Replayed {
			firsts++
		}
		if diff := cmp.Diff(outcomes[0].Streams, o.Streams); diff != "" {
			t.Errorf("outcomes differ:\n%s", diff)
		}
	}
	if firsts != 1 {
		t.Errorf("%d appends were carried out, want 1", firsts)
	}
}

func TestACommandThatDecidesOnNothingIsRecorded(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream := newStream()
	before := mustAppend(t, l, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{created("Plan")}})
	ctx := eventstore.WithCommand(context.Background(), uuid.New(), []byte("a"))
	o, err := l.Store.Append(ctx, eventstore.Write{Stream: stream, Expect: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s := o.Streams[0]; s.Version != 1 || s.Position != before.Position() || s.Events != 0 {
		t.Errorf("outcome %+v, want version 1 at %d and no events", s, before.Position())
	}
	again, found, err := l.Store.Lookup(ctx, eventstore.CommandFrom(ctx))
	if err != nil || !found || !again.Replayed {
		t.Fatalf("looked up %+v, %v, %v", again, found, err)
	}
	if diff := cmp.Diff(o.Streams, again.Streams); diff != "" {
		t.Errorf("outcome (-first +looked up):\n%s", diff)
	}
}

func TestLookupWaitsForAnAppendUnderWay(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx := eventstore.WithCommand(context.Background(), uuid.New(), []byte("a"))
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := l.Store.AppendTx(ctx, tx, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("Plan")}}); err != nil {
		t.Fatal(err)
	}
	found := make(chan bool, 1)
	go func() {
		_, ok, err := l.Store.Lookup(ctx, eventstore.CommandFrom(ctx))
		if err != nil {
			t.Error(err)
		}
		found <- ok
	}()
	awaitWaiting(t, l)
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if !<-found {
		t.Error("the lookup answered that nothing had happened while the append was under way")
	}
}

func TestTheDatabaseRefusesToChangeTheLog(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("Plan")}})
	for _, table := range []string{"atlas.events", "atlas.events_0"} {
		for _, q := range []string{"UPDATE " + table + " SET type = 'x'", "DELETE FROM " + table, "TRUNCATE " + table} {
			if _, err := l.Pool.Exec(context.Background(), q); err == nil || !strings.Contains(err.Error(), "AT002") {
				t.Errorf("%s: got %v, want AT002", q, err)
			}
		}
	}
}

func TestAJumpOfTheSequencePastTheLastPartStopsNobody(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	if _, err := l.Pool.Exec(context.Background(), `SELECT setval('atlas.events_position', 40 * 33554432::bigint)`); err != nil {
		t.Fatal(err)
	}
	stream := newStream()
	mustAppend(t, l, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{created("Plan")}})
	if got := mustLoad(t, l, stream); len(got) != 1 || got[0].Position <= 40*33554432 {
		t.Errorf("loaded %v", got)
	}
}

func TestPersonalDataIsNotInTheTableInTheClear(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	user := eventstore.NewStream("user", ann)
	registered := events.UserRegistered{UserID: ann, Email: "canary@example.com", Name: "Canary Name", PasswordHash: "canary-hash", Roles: []string{"user"}}
	ctx := eventstore.WithMetadata(context.Background(), eventstore.Metadata{Client: eventstore.Client{Address: "203.0.113.77", UserAgent: "canary-agent"}})
	if _, err := l.Store.Append(ctx, eventstore.Write{Stream: user, Expect: eventstore.NoStream, Events: []events.Event{registered}}); err != nil {
		t.Fatal(err)
	}
	var row string
	if err := l.Pool.QueryRow(ctx, `SELECT e::text || encode(sealed, 'escape') || encode(secret, 'escape') FROM atlas.events e`).Scan(&row); err != nil {
		t.Fatal(err)
	}
	for _, personal := range []string{"canary", "Canary", "203.0.113.77"} {
		if strings.Contains(row, personal) {
			t.Errorf("%q lies in the row: %s", personal, row)
		}
	}
	got := mustLoad(t, l, user)
	hidden := registered
	hidden.PasswordHash = ""
	if diff := cmp.Diff(hidden, mustEvent(t, got[0])); diff != "" {
		t.Errorf("what readers see (-want +got):\n%s", diff)
	}
	opened, err := l.Store.LoadWithSecrets(ctx, user, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(registered, mustEvent(t, opened[0])); diff != "" {
		t.Errorf("what commands see (-want +got):\n%s", diff)
	}
	if got[0].Metadata.Client.Address != "203.0.113.77" {
		t.Errorf("client %+v", got[0].Metadata.Client)
	}
}

func TestDataPostgreSQLCannotHoldIsRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	for name, title := range map[string]string{"NUL": "a\x00b"} {
		_, err := l.Store.Append(context.Background(), eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created(title)}})
		if !errors.Is(err, eventstore.ErrData) {
			t.Errorf("%s: got %v, want ErrData", name, err)
		}
	}
}
