package outbox

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

func document(title string) events.DocumentCreated {
	return events.DocumentCreated{OwnerID: ann, Title: title, Body: title, ContentType: "text/markdown", Tags: []string{title}}
}

func TestEachEventBecomesItsMessageOnceInOrder(t *testing.T) {
	t.Parallel()
	p := Projection()
	l := newLog(t, p)
	waiter := start(t, l, p)
	user, doc := newStream("user"), newStream("document")
	mustAppend(t, l.Store, user, events.UserRegistered{UserID: ann, Email: "ann@example.com", Name: "Ann"})
	mustAppend(t, l.Store, doc, document("Plan"), events.DocumentRevised{OwnerID: ann})
	mustAppend(t, l.Store, user, events.UserNameChanged{UserID: ann, Name: "Anna"})
	mustAppend(t, l.Store, newStream("session"), events.SessionStarted{UserID: ann})
	mustAppend(t, l.Store, doc, events.DocumentArchived{}, events.DocumentRestored{}, events.DocumentDeleted{})
	last := mustAppend(t, l.Store, user, events.UserDisabled{UserID: ann, Epoch: 2})
	wait(t, waiter, last, p)

	wantEachOnceInOrder(t, l, "user", Users)
	wantEachOnceInOrder(t, l, "document", Documents)
	var contracts []string
	for _, m := range append(messages(t, l.Pool, Users), messages(t, l.Pool, Documents)...) {
		contracts = append(contracts, m.Metadata[MetaContract])
	}
	want := []string{
		"user.registered.v1", "user.name_changed.v1", "user.disabled.v1", "document.created.v1", "document.revised.v1",
		"document.archived.v1", "document.restored.v1", "document.deleted.v1",
	}
	if diff := cmp.Diff(want, contracts); diff != "" {
		t.Errorf("contracts (-want +got):\n%s", diff)
	}
}

// TestTwoNodesPublishEachMessageOnce races two runners of the outbox, and another version of it, against four writers.
func TestTwoNodesPublishEachMessageOnce(t *testing.T) {
	t.Parallel()
	p, next := Projection(), projection(Version+1, Catalog())
	l := newLog(t, p)
	prepare(t, l.Pool, next)
	other := l.Node(t)
	waiter := start(t, l, p)
	start(t, other, p)
	start(t, l.Node(t), next)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			node := []*logtest.Log{l, other}[w%2]
			for range 40 {
				mustAppend(t, node.Store, newStream("document"), document("x"), events.DocumentArchived{})
			}
		})
	}
	writers.Wait()
	last := mustAppend(t, l.Store, newStream("document"), document("last"))
	wait(t, waiter, last, p)
	wait(t, waiter, last, next)
	wantEachOnceInOrder(t, l, "document", Documents)
}

// TestABatchThatFailsIsDoneAsFarAsItCan takes the second topic's table away, so that a batch fails after its first topic
// was written: that is taken back with it, and then the events before the one that fails are done by themselves.
func TestABatchThatFailsIsDoneAsFarAsItCan(t *testing.T) {
	t.Parallel()
	p := Projection()
	l := newLog(t, p)
	mustExec(t, l.Pool, `ALTER TABLE outbox.documents RENAME TO away`)
	both, err := l.Store.Append(t.Context(), // so that one batch has both
		eventstore.Write{Stream: newStream("user"), Events: []events.Event{events.UserRegistered{UserID: ann}}},
		eventstore.Write{Stream: newStream("document"), Events: []events.Event{document("x")}})
	if err != nil {
		t.Fatal(err)
	}
	last := both.Position()
	waiter := start(t, l, p)
	untilStuck(t, l, p)
	if got := messages(t, l.Pool, Users); len(got) != 1 {
		t.Errorf("the event before the one that fails has %d messages, want one", len(got))
	}
	mustExec(t, l.Pool, `ALTER TABLE outbox.away RENAME TO documents`)
	wait(t, waiter, last, p)
	wantEachOnceInOrder(t, l, "user", Users)
	wantEachOnceInOrder(t, l, "document", Documents)
}

// untilStuck waits until the projection has reported that it stands still.
func untilStuck(t *testing.T, l *logtest.Log, p engine.Projection) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		all, err := engine.List(t.Context(), l.Pool, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if s.ID == p.ID() && s.Error != "" {
				return
			}
		}
	}
	t.Fatal("the projection reports no error")
}

func mustExec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestAReplayMakesTheSameMessagesAndWritesOnlyWhatIsGone(t *testing.T) {
	t.Parallel()
	p := Projection()
	l := newLog(t, p)
	waiter := start(t, l, p)
	var last int64
	for range 5 {
		last = mustAppend(t, l.Store, newStream("document"), document("x"), events.DocumentArchived{})
	}
	wait(t, waiter, last, p)
	before := messages(t, l.Pool, Documents)
	mustExec(t, l.Pool, `DELETE FROM outbox.documents WHERE "offset" <= 4`)

	next := projection(Version+1, Catalog())
	prepare(t, l.Pool, next)
	wait(t, start(t, l, next), last, next)
	after := messages(t, l.Pool, Documents)
	want := append(before[4:len(before):len(before)], before[:4]...)
	if diff := cmp.Diff(want, after, cmpopts.IgnoreFields(row{}, "Offset")); diff != "" {
		t.Errorf("after the replay (-want +got):\n%s", diff)
	}
}

func TestNoRowHoldsPersonalData(t *testing.T) {
	t.Parallel()
	p := Projection()
	l := newLog(t, p)
	waiter := start(t, l, p)
	ctx := eventstore.WithMetadata(t.Context(), eventstore.Metadata{
		Actor: ann, RequestID: "request", Client: eventstore.Client{Address: canary, UserAgent: canary},
	})
	tags := []string{canary}
	o, err := l.Store.Append(ctx,
		eventstore.Write{Stream: newStream("user"), Events: []events.Event{
			events.UserRegistered{UserID: ann, Email: canary, Name: canary, PasswordHash: canary, Roles: []string{"user"}},
			events.UserNameChanged{UserID: ann, Name: canary},
		}},
		eventstore.Write{Stream: newStream("document"), Events: []events.Event{
			events.DocumentCreated{OwnerID: ann, Title: canary, Body: canary, ContentType: "text/markdown", Tags: tags},
			events.DocumentRevised{OwnerID: ann, Title: canary, Body: canary, ContentType: "text/markdown", Tags: tags},
		}})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, waiter, o.Position(), p)
	for _, topic := range []string{Users, Documents} {
		var rows int
		var all string
		q := `SELECT count(*), string_agg(to_json(t)::text, ' ') FROM outbox.` + topic + ` t`
		if err := l.Pool.QueryRow(t.Context(), q).Scan(&rows, &all); err != nil {
			t.Fatal(err)
		}
		if rows != 2 || strings.Contains(all, canary) {
			t.Errorf("topic %s has %d rows, want 2 without personal data:\n%s", topic, rows, all)
		}
	}
}
