package engine_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
)

var bob = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000002")

// Owned is a row that belongs to a person.
type Owned struct {
	ID      uuid.UUID `json:"id" row:"key"`
	OwnerID uuid.UUID `json:"owner_id" row:"subject"`
	Title   string    `json:"title"`
}

// owned keeps one row per document; whoever revises it, owns it.
func owned() *engine.View[Owned] {
	return engine.Define[Owned]("owned", 1, `CREATE TABLE {table} (id uuid PRIMARY KEY, owner_id uuid NOT NULL, title text NOT NULL)`,
		engine.On(func(o *Owned, e engine.Recorded[events.DocumentCreated]) {
			o.OwnerID, o.Title = e.Event.OwnerID, e.Event.Title
		}),
		engine.On(func(o *Owned, e engine.Recorded[events.DocumentRevised]) {
			o.OwnerID, o.Title = e.Event.OwnerID, e.Event.Title
		}),
		engine.On(func(o *Owned, e engine.Recorded[events.DocumentArchived]) { o.Title = "archived" }),
	)
}

func ownedRows(t *testing.T, q pgx.Tx, v *engine.View[Owned]) (titles []string) {
	t.Helper()
	rows, err := q.Query(t.Context(), `SELECT title FROM `+v.Table()+` ORDER BY title`)
	if err != nil {
		t.Fatal(err)
	}
	if titles, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	return titles
}

func createdBy(owner uuid.UUID, title string) events.DocumentCreated {
	return events.DocumentCreated{OwnerID: owner, Title: title, Body: "body", ContentType: "text/plain"}
}

// TestForgettingTakesEffectInTheOrderOfTheLogHoweverItIsCut folds one log in batches of every size: rows that a batch has
// not touched go as those do that it has made itself, and what comes after is kept.
func TestForgettingTakesEffectInTheOrderOfTheLogHoweverItIsCut(t *testing.T) {
	t.Parallel()
	v := owned()
	l := newLog(t, v)
	a, b, c, d := newStream(), newStream(), newStream(), newStream()
	subject := eventstore.NewStream("subject", ann)
	var log []*eventstore.Recorded
	say := func(s eventstore.Stream, version int64, e events.Event) {
		log = append(log, recorded(t, s, version, int64(len(log)+1), e))
	}
	say(a, 1, createdBy(ann, "hers"))
	say(b, 1, createdBy(ann, "hers, then his"))
	say(c, 1, createdBy(bob, "his"))
	say(d, 1, createdBy(bob, "his, then hers"))
	say(b, 2, events.DocumentRevised{OwnerID: bob, Title: "hers, then his"})
	say(d, 2, events.DocumentRevised{OwnerID: ann, Title: "his, then hers"})
	say(subject, 1, events.SubjectForgotten{SubjectID: ann})
	say(c, 2, events.DocumentRevised{OwnerID: bob, Title: "his still"})
	for size := 1; size <= len(log); size++ {
		tx, err := l.Pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(log); at += size {
			if err := engine.Apply(t.Context(), tx, v, log[at:min(at+size, len(log))]); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{"hers, then his", "his still"}, ownedRows(t, tx, v)); diff != "" {
			t.Errorf("in batches of %d (-want +got):\n%s", size, diff)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, found, err := v.Fold([]*eventstore.Recorded{log[0], log[6]}); found || err != nil {
		t.Errorf("Fold: a row of hers is left, %v", err)
	}
	if row, found, err := v.Fold([]*eventstore.Recorded{log[2], log[6], log[7]}); !found || err != nil || row.Title != "his still" {
		t.Errorf("Fold: got %+v, %v, %v; want his row", row, found, err)
	}
}

// TestRowsOfTheForgottenGoAndDoNotComeBack forgets on a log that two nodes fold, writes about the forgotten afterwards, and
// folds it anew.
func TestRowsOfTheForgottenGoAndDoNotComeBack(t *testing.T) {
	t.Parallel()
	v := owned()
	all := []engine.Projection{
		projections.Users, projections.Sessions, projections.Documents, projections.DocumentHistory, projections.DocumentStatistics, v,
	}
	l := newLog(t, all...)
	other := l.Node(t)
	hers, his := newStream(), newStream()
	session := eventstore.NewStream("session", uuid.Must(uuid.NewV7()))
	mustAppend(t, l.Store, eventstore.NewStream("user", ann), events.UserRegistered{UserID: ann, Email: "ann@example.com", Name: "Ann"})
	mustAppend(t, l.Store, eventstore.NewStream("user", bob), events.UserRegistered{UserID: bob, Email: "bob@example.com", Name: "Bob"})
	mustAppend(t, l.Store, session, events.SessionStarted{UserID: ann})
	mustAppend(t, l.Store, hers, createdBy(ann, "hers"))
	last := mustAppend(t, l.Store, his, createdBy(bob, "his"))
	w, _ := start(t, l, all...)
	start(t, other, all...)
	await(t, w, last, all...)
	requireRows := func(when string, want map[string]int) {
		t.Helper()
		got := map[string]int{}
		for _, p := range all {
			var n int
			if err := l.Pool.QueryRow(t.Context(), `SELECT count(*) FROM read.`+p.ID().String()).Scan(&n); err != nil {
				t.Fatal(err)
			}
			got[p.ID().Name] = n
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", when, diff)
		}
	}
	requireRows("before", map[string]int{"users": 2, "sessions": 1, "documents": 2, "document_history": 2, "document_statistics": 2, "owned": 2})

	e, err := l.Keys.Forget(t.Context(), l.Store, ann)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]int{"users": 1, "sessions": 0, "documents": 1, "document_history": 1, "document_statistics": 1, "owned": 1}
	await(t, w, e.Position, all...)
	requireRows("forgotten", left)

	mustAppend(t, l.Store, hers, events.DocumentArchived{OwnerID: ann})
	mustAppend(t, l.Store, session, events.SessionEnded{UserID: ann, Reason: "logout"})
	mustAppend(t, l.Store, eventstore.NewStream("session", uuid.Must(uuid.NewV7())), events.SessionStarted{UserID: ann})
	last = mustAppend(t, l.Store, eventstore.NewStream("user", ann), events.UserDisabled{UserID: ann, Epoch: 2})
	await(t, w, last, all...)
	requireRows("after writes about the forgotten", left)

	for _, node := range []*logtest.Log{l, l.Node(t)} {
		for _, p := range all {
			if err := rebuild(t.Context(), node.Store, node.Pool, p); err != nil {
				t.Fatal(err)
			}
		}
		requireRows("rebuilt", left)
	}
	recordedHers, err := l.Store.Load(t.Context(), hers, 1)
	if err != nil {
		t.Fatal(err)
	}
	if row, found, err := projections.Documents.Fold(recordedHers); found || err != nil {
		t.Errorf("Fold: got %+v, %v; want no row", row, err)
	}
}
