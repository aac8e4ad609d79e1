package projections_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
)

// tables is a log, its read tables, and how to write to the one and wait for the other.
type tables struct {
	t      *testing.T
	log    *logtest.Log
	waiter *engine.Waiter
	*projections.Reader
}

func newTables(t *testing.T) tables {
	t.Helper()
	l := logtest.New(t, engine.Migrations())
	all, quiet := projections.Catalog(), slog.New(slog.DiscardHandler)
	if err := engine.Prepare(t.Context(), l.Pool, all); err != nil {
		t.Fatal(err)
	}
	w := engine.NewWaiter(l.Pool, quiet)
	runner, err := engine.NewRunner(l.Store, l.Tail, l.Pool, quiet, w, all)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return tables{t: t, log: l, waiter: w, Reader: projections.NewReader(l.Pool)}
}

// write appends to the stream of an aggregate and waits until the tables have it.
func (ts tables) write(category string, id uuid.UUID, written ...events.Event) {
	ts.t.Helper()
	o, err := ts.log.Store.Append(ts.t.Context(), eventstore.Write{
		Stream: eventstore.NewStream(category, id), Expect: eventstore.AnyVersion, Events: written,
	})
	if err != nil {
		ts.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ts.t.Context(), 60*time.Second)
	defer cancel()
	for _, p := range projections.Catalog() {
		if err := ts.waiter.Wait(ctx, o.Position(), p.ID()); err != nil {
			ts.t.Fatal(err)
		}
	}
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func TestADocumentIsReadByItsOwnerOnly(t *testing.T) {
	t.Parallel()
	ts := newTables(t)
	ts.write("document", id, plan)
	row, err := ts.Document(t.Context(), ann, id)
	if err != nil || row.Title != "Plan" || row.Body != "Größe" || row.Version != 1 {
		t.Errorf("got %+v, %v, want the plan", row, err)
	}
	for _, owner := range []uuid.UUID{bob, uuid.Nil} {
		if _, err := ts.Document(t.Context(), owner, id); !errors.Is(err, projections.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", owner, err)
		}
	}
}

func TestAListOfDocumentsGoesOnWhereThePageBeforeEnded(t *testing.T) {
	t.Parallel()
	ts := newTables(t)
	ids := []uuid.UUID{newID(), newID(), newID(), newID()}
	for _, id := range ids {
		ts.write("document", id, plan)
	}
	ts.write("document", ids[1], events.DocumentArchived{OwnerID: ann})
	ts.write("document", ids[2], events.DocumentDeleted{OwnerID: ann})
	ts.write("document", newID(), events.DocumentCreated{OwnerID: bob, Title: "Bob's", ContentType: "text/plain"})
	list := func(status string, before uuid.UUID) (listed []uuid.UUID) {
		rows, err := ts.DocumentsOf(t.Context(), ann, status, before, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Body != "" || r.OwnerID != ann {
				t.Errorf("the list has %+v, want ann's, without a body", r)
			}
			listed = append(listed, r.ID)
		}
		return listed
	}
	for _, c := range []struct {
		status string
		before uuid.UUID
		want   []uuid.UUID
	}{
		{"", uuid.Nil, []uuid.UUID{ids[3], ids[1]}},
		{"", ids[1], []uuid.UUID{ids[0]}},
		{"", ids[0], nil},
		{"archived", uuid.Nil, []uuid.UUID{ids[1]}},
		{"active", uuid.Nil, []uuid.UUID{ids[3], ids[0]}},
	} {
		if diff := cmp.Diff(c.want, list(c.status, c.before)); diff != "" {
			t.Errorf("%q before %s (-want +got):\n%s", c.status, c.before, diff)
		}
	}
}

func TestAHistoryIsReadByTheOwnerOnlyOnEveryPage(t *testing.T) {
	t.Parallel()
	ts := newTables(t)
	ts.write("document", id, plan, events.DocumentArchived{OwnerID: ann}, events.DocumentDeleted{})
	types := func(after int64) (listed []string) {
		changes, err := ts.DocumentHistory(t.Context(), ann, id, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			listed = append(listed, c.Type)
		}
		return listed
	}
	for after, want := range map[int64][]string{0: {"document.created", "document.archived"}, 2: {"document.deleted"}, 3: nil} {
		if diff := cmp.Diff(want, types(after)); diff != "" {
			t.Errorf("after %d (-want +got):\n%s", after, diff)
		}
		if _, err := ts.DocumentHistory(t.Context(), bob, id, after, 2); !errors.Is(err, projections.ErrNotFound) {
			t.Errorf("bob after %d: got %v, want ErrNotFound", after, err)
		}
		if _, err := ts.DocumentHistory(t.Context(), ann, newID(), after, 2); !errors.Is(err, projections.ErrNotFound) {
			t.Errorf("no document after %d: got %v, want ErrNotFound", after, err)
		}
	}
}

func TestAUserIsReadByID(t *testing.T) {
	t.Parallel()
	ts := newTables(t)
	ts.write("user", id, registered)
	row, err := ts.User(t.Context(), id)
	if err != nil || row.Email != "ann@example.com" || row.Status != "active" {
		t.Errorf("got %+v, %v, want Ann", row, err)
	}
	if _, err := ts.User(t.Context(), bob); !errors.Is(err, projections.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
