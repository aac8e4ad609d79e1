package eventstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

type undeclared struct{}

// TestAppendRefusesWhatIsWrongBeforeItWritesAnything gives every faulty write a sound one for company.
func TestAppendRefusesWhatIsWrongBeforeItWritesAnything(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream, sound := newStream(), newStream()
	fine := eventstore.Write{Stream: sound, Expect: eventstore.AnyVersion, Events: []events.Event{created("sound")}}
	one := func(s eventstore.Stream, expect int64, e ...events.Event) []eventstore.Write {
		return []eventstore.Write{fine, {Stream: s, Expect: expect, Events: e}}
	}
	large := created("large")
	large.Body = strings.Repeat("x", 16<<20)
	for _, c := range []struct {
		name   string
		writes []eventstore.Write
		says   string
		is     error
	}{
		{name: "no writes", writes: nil, says: "no stream is named"},
		{name: "event of 16 MiB", writes: one(stream, 0, large), says: "document.created", is: eventstore.ErrData},
		{name: "sum of parts over 16 MiB", writes: one(stream, 0, events.DocumentCreated{OwnerID: ann, Body: strings.Repeat("x", 9<<20), ContentType: strings.Repeat("y", 9<<20)}), is: eventstore.ErrData},
		{name: "NUL in a sealed field", writes: one(stream, 0, created("a\x00b")), is: eventstore.ErrData},
		{name: "NUL in a plain field", writes: one(stream, 0, events.SessionEnded{UserID: ann, Reason: "\x00"}), is: eventstore.ErrData},
		{name: "unknown type", writes: one(stream, 0, undeclared{}), says: "undeclared is not declared"},
		{name: "pointer to a type", writes: one(stream, 0, &events.DocumentArchived{}), says: "DocumentArchived is not declared"},
		{name: "nil event", writes: one(stream, 0, nil), says: "not declared"},
		{name: "sealed fields without a subject", writes: one(stream, 0, events.DocumentCreated{Title: "x"}), says: "subject is missing"},
		{name: "stream named twice", writes: append(one(stream, 0, created("a")), one(stream, 1, created("b"))[1]), says: "named twice"},
		{name: "stream named twice, once to check", writes: append(one(stream, 0, created("a")), eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion}), says: "named twice"},
		{name: "category with a dash", writes: one(eventstore.NewStream("a-b", uuid.New()), 0, created("x")), says: "bad category"},
		{name: "no category", writes: one(eventstore.NewStream("", uuid.New()), 0, created("x")), says: "bad category"},
		{name: "expected version below any", writes: one(stream, -2, created("x")), says: "expected version -2"},
	} {
		_, err := l.Store.Append(context.Background(), c.writes...)
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, want an error that says %q", c.name, err, c.says)
		}
	}
	for _, table := range []string{"events", "streams", "commands"} {
		var rows int
		if err := l.Pool.QueryRow(context.Background(), `SELECT count(*) FROM atlas.`+table).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d rows in %s (%v), want none", rows, table, err)
		}
	}
}

func TestALargeEventComesBackWhole(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream, want := newStream(), created("large")
	want.Body = strings.Repeat("x", 2<<20)
	mustAppend(t, l, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{want}})
	if got := mustEvent(t, mustLoad(t, l, stream)[0]).(events.DocumentCreated); got.Body != want.Body {
		t.Errorf("%d bytes came back, want %d", len(got.Body), len(want.Body))
	}
}

func TestACancelledAppendWritesNothing(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	stream := newStream()
	if _, err := l.Store.Append(ctx, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{events.DocumentArchived{}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	if got := mustLoad(t, l, stream); len(got) != 0 {
		t.Errorf("%d events were written", len(got))
	}
}

func TestACommandWithoutAFingerprintIsACommand(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	write := eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("Plan")}}
	ctx := eventstore.WithCommand(context.Background(), uuid.New(), nil)
	first, err := l.Store.Append(ctx, write)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Store.Append(ctx, write)
	if err != nil || !again.Replayed {
		t.Errorf("again: %+v, %v; want it replayed", again, err)
	}
	looked, found, err := l.Store.Lookup(ctx, eventstore.CommandFrom(ctx))
	if diff := cmp.Diff(first.Streams, looked.Streams); err != nil || !found || diff != "" {
		t.Errorf("looked up %v, %v (-first +looked up):\n%s", found, err, diff)
	}
}

func TestStreamNames(t *testing.T) {
	const id = "0197f2f0-7c00-7000-8000-000000000001"
	for _, name := range []string{"document-" + id, "a-" + id, "api_key2-" + id, strings.Repeat("a", 63) + "-" + id} {
		s, err := eventstore.ParseStream(name)
		if err != nil || s.String() != name {
			t.Errorf("%q: got %q, %v", name, s, err)
		}
	}
	for _, name := range []string{
		"", "-", "document", "document-", "-" + id, id, "document" + id, "document_" + id, "document--" + id, "a-b-" + id,
		"Document-" + id, "1document-" + id, "_a-" + id, "dökument-" + id, "document -" + id, " document-" + id, "document-" + id + "\n",
		"document\n-" + id, "document-" + id + "0", "document-" + id[:35], "document-" + strings.ReplaceAll(id, "-", ""), "document-{" + id + "}",
		"document-urn:uuid:" + id, "document-" + strings.ReplaceAll(id, "-", "_"), "document-" + id[:35] + "g", strings.Repeat("a", 64) + "-" + id,
		"document\x00-" + id,
	} {
		if s, err := eventstore.ParseStream(name); err == nil {
			t.Errorf("%q was read as %v", name, s)
		}
	}
	if _, err := eventstore.ParseStream("document-" + strings.ToUpper("abcdef00-7c00-7000-8000-000000000001")); err == nil {
		t.Error("a stream has two names: upper case was accepted")
	}
}
