package sealing_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// second is how long it may take until every node reads a forgotten subject's values as erased.
const second = time.Second

func mustForget(t *testing.T, l *logtest.Log, subject uuid.UUID) sealing.Erasure {
	t.Helper()
	e, err := l.Keys.Forget(t.Context(), l.Store, subject)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// read returns the log's events as the tail's readers get them, up to the one at a position.
func read(t *testing.T, l *logtest.Log, upto int64) (all []*eventstore.Recorded) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for r, at := l.Tail.From(0, eventstore.Filter{}), int64(0); at < upto; {
		b, err := r.Next(ctx, 100)
		if err != nil {
			t.Fatal(err)
		}
		all, at = append(all, b.Events...), b.Upto
	}
	return all
}

// titleOf returns what a document's first event says.
func titleOf(t *testing.T, r *eventstore.Recorded) string {
	t.Helper()
	e, err := r.Event()
	if err != nil {
		t.Fatal(err)
	}
	return e.(events.DocumentCreated).Title
}

func requireErased(t *testing.T, r *eventstore.Recorded) {
	t.Helper()
	if title := titleOf(t, r); title != "" || !r.Erased || r.Metadata.Client != (eventstore.Client{}) {
		t.Errorf("event %d: title %q, erased %v, client %+v; want nothing of it left", r.Position, title, r.Erased, r.Metadata.Client)
	}
}

// annsMachine is a context of appends that ann makes.
func annsMachine() context.Context {
	return eventstore.WithMetadata(context.Background(), eventstore.Metadata{Actor: ann, Client: eventstore.Client{Address: "192.0.2.7"}})
}

func mustAppend(t *testing.T, ctx context.Context, l *logtest.Log, s eventstore.Stream, e events.Event) eventstore.Outcome {
	t.Helper()
	o, err := l.Store.Append(ctx, eventstore.Write{Stream: s, Expect: eventstore.AnyVersion, Events: []events.Event{e}})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestWhatOneNodeForgetsAllReadAsErasedWithinASecond looks where another node might still have it: behind a cached key,
// in the memory of its tail, and in an event that a reader shares.
func TestWhatOneNodeForgetsAllReadAsErasedWithinASecond(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	other := l.Node(t)
	hers, his := documentStream(), documentStream()
	mustAppend(t, annsMachine(), l, hers, events.DocumentCreated{OwnerID: ann, Title: "Ann's"})
	last := mustAppend(t, annsMachine(), l, his, events.DocumentCreated{OwnerID: bob, Title: "Bob's"}).Position()
	held := read(t, other, last)[0]
	if titleOf(t, held) != "Ann's" || held.Metadata.Client.Address == "" {
		t.Fatalf("before: %+v", held)
	}

	e := mustForget(t, l, ann)
	began := time.Now()
	for _, node := range []*logtest.Log{l, other} {
		watchtest.Eventually(t, second-time.Since(began), "erased", func() bool {
			found, err := node.Store.Load(t.Context(), hers, 1)
			return err == nil && found[0].Erased
		})
		read(t, node, e.Position) // then the tail has come to it
		if took := time.Since(began); took > second {
			t.Errorf("the tail came to it after %s", took)
		}
		all := read(t, node, e.Position)
		requireErased(t, all[0])
		if titleOf(t, all[1]) != "Bob's" || all[1].Erased || all[1].Metadata.Client != (eventstore.Client{}) {
			t.Errorf("Bob's document, by Ann: got %+v", all[1])
		}
		if all[2].Position != e.Position || all[2].Stream != eventstore.NewStream("subject", ann) {
			t.Errorf("the log says it with %+v, want position %d", all[2], e.Position)
		}
	}
	if titleOf(t, held) != "Ann's" {
		t.Error("an event that a reader holds changed under it")
	}
}

// TestForgettingWaitsForNoOpenAppend holds the log open below the event that says who is forgotten.
func TestForgettingWaitsForNoOpenAppend(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	other := l.Node(t)
	hers := documentStream()
	last := mustAppend(t, annsMachine(), l, hers, events.DocumentCreated{OwnerID: ann, Title: "Ann's"}).Position()
	read(t, other, last)
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	write := eventstore.Write{Stream: documentStream(), Expect: eventstore.NoStream, Events: []events.Event{events.DocumentCreated{OwnerID: bob}}}
	if _, err := l.Store.AppendTx(t.Context(), tx, write); err != nil {
		t.Fatal(err)
	}
	mustForget(t, l, ann)
	watchtest.Eventually(t, second, "erased on the other node", func() bool {
		found, err := other.Store.Load(t.Context(), hers, 1)
		return err == nil && found[0].Erased
	})
	watchtest.Eventually(t, second, "erased in the memory of its tail", func() bool { return read(t, other, last)[0].Erased })
}

// TestATailThatWasLostForgetsWhomItMissed forgets while the other node's tail is cut off.
func TestATailThatWasLostForgetsWhomItMissed(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	other := l.Node(t)
	hers := documentStream()
	mustAppend(t, annsMachine(), l, hers, events.DocumentCreated{OwnerID: ann, Title: "Ann's"})
	if found, err := other.Store.Load(t.Context(), hers, 1); err != nil || found[0].Erased {
		t.Fatal(found, err)
	}
	for range 20 { // whatever the tail is doing, it begins anew around here
		const q = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
		conn, err := pgx.Connect(t.Context(), l.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		conn.Close(t.Context())
	}
	watchtest.Eventually(t, 30*time.Second, "forgotten", func() bool {
		_, err := l.Keys.Forget(t.Context(), l.Store, ann)
		return err == nil
	})
	watchtest.Eventually(t, 30*time.Second, "erased on the other node", func() bool {
		found, err := other.Store.Load(t.Context(), hers, 1)
		return err == nil && found[0].Erased
	})
}

func TestForgettingTwiceIsForgettingOnce(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	nodes := []*logtest.Log{l, l.Node(t)}
	appendTo(t, l, documentStream(), events.DocumentCreated{OwnerID: ann, Title: "Ann's"})
	erasures := make([]sealing.Erasure, 8)
	var wg sync.WaitGroup
	for i := range erasures {
		wg.Go(func() {
			var err error
			if erasures[i], err = nodes[i%2].Keys.Forget(annsMachine(), nodes[i%2].Store, ann); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, e := range erasures[1:] {
		if diff := cmp.Diff(erasures[0], e); diff != "" {
			t.Errorf("two erasures of one subject (-first +other):\n%s", diff)
		}
	}
	said, err := l.Store.Load(t.Context(), eventstore.NewStream("subject", ann), 1)
	if err != nil || len(said) != 1 || said[0].Position != erasures[0].Position || said[0].Metadata.Client != (eventstore.Client{}) {
		t.Errorf("the log says it with %d events (%v), want one at %d with no client", len(said), err, erasures[0].Position)
	}
}

// TestNoFirstKeyOutlivesForgetting races the making of a subject's first key with its forgetting.
func TestNoFirstKeyOutlivesForgetting(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	other := l.Node(t)
	for range 40 {
		subject := uuid.New()
		sealed := envelope(subject, "event", "value")
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := other.Keys.Seal(t.Context(), []*eventstore.Envelope{sealed}); err != nil && !errors.Is(err, sealing.ErrForgotten) {
				t.Error(err)
			}
		})
		wg.Go(func() { mustForget(t, l, subject) })
		wg.Wait()
		sealed.Plain = nil
		for _, keys := range []*sealing.Keys{l.Keys, other.Keys} {
			if sealed.Sealed == nil {
				break
			}
			watchtest.Eventually(t, second, "erased", func() bool {
				opened := *sealed
				err := keys.Open(t.Context(), []*eventstore.Envelope{&opened})
				return err == nil && opened.Plain == nil && opened.Err == nil
			})
		}
		if err := l.Keys.Seal(t.Context(), []*eventstore.Envelope{envelope(subject, "event", "value")}); !errors.Is(err, sealing.ErrForgotten) {
			t.Fatalf("sealing for a forgotten subject: %v", err)
		}
	}
}

// TestWhoeverWritesAndReadsMeanwhileNothingOfTheForgottenStays appends and reads on two nodes while a third forgets.
func TestWhoeverWritesAndReadsMeanwhileNothingOfTheForgottenStays(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	nodes := []*logtest.Log{l.Node(t), l.Node(t)}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var appended atomic.Int64
	stop := make(chan struct{})
	for i := range 4 {
		node := nodes[i%2]
		wg.Go(func() { // until it is refused
			for {
				_, err := node.Store.Append(ctx, eventstore.Write{Stream: documentStream(), Expect: eventstore.NoStream,
					Events: []events.Event{events.DocumentCreated{OwnerID: ann, Title: "Ann's"}}})
				if errors.Is(err, sealing.ErrForgotten) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				appended.Add(1)
			}
		})
		wg.Go(func() { // and shares what it reads with the others
			r := node.Tail.From(0, eventstore.Filter{})
			for {
				b, err := r.Next(ctx, 50)
				if err != nil {
					return
				}
				for _, e := range b.Events {
					if _, err := e.Event(); err != nil {
						t.Error(err)
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	watchtest.Eventually(t, 30*time.Second, "appended", func() bool { return appended.Load() > 50 })
	e := mustForget(t, l, ann)
	began := time.Now()
	close(stop)
	mustAppend(t, t.Context(), l, documentStream(), events.DocumentCreated{OwnerID: bob}) // so that every reader looks up
	wg.Wait()
	if took := time.Since(began); took > 5*second { // of work on a busy machine, not of waiting
		t.Errorf("appends for a forgotten subject were refused only after %s", took)
	}
	last := mustAppend(t, t.Context(), l, documentStream(), events.DocumentCreated{OwnerID: bob}).Position()
	for _, node := range append(nodes, l, l.Node(t)) {
		read(t, node, last)
		found := int64(0)
		for _, r := range read(t, node, last) {
			if r.Subject == ann {
				found++
				requireErased(t, r)
			}
		}
		if found != appended.Load() {
			t.Errorf("read %d events of the forgotten (one at %d), %d were appended", found, e.Position, appended.Load())
		}
	}
}

// TestAForgottenActorsMachineIsLeftOut holds that nobody's append fails for what is known of the caller's machine.
func TestAForgottenActorsMachineIsLeftOut(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	other := l.Node(t)
	mustAppend(t, annsMachine(), other, documentStream(), events.DocumentCreated{OwnerID: ann}) // whose key it has now
	mustForget(t, l, ann)
	for _, node := range []*logtest.Log{l, other, l.Node(t)} {
		s := documentStream()
		mustAppend(t, annsMachine(), node, s, events.DocumentCreated{OwnerID: bob, Title: "Bob's"})
		watchtest.Eventually(t, second, "left out", func() bool {
			found, err := node.Store.Load(t.Context(), s, 1)
			return err == nil && !found[0].Erased && titleOf(t, found[0]) == "Bob's" && found[0].Metadata.Client == (eventstore.Client{})
		})
	}
	watchtest.Eventually(t, second, "no client is stored", func() bool {
		s := documentStream()
		mustAppend(t, annsMachine(), other, s, events.DocumentCreated{OwnerID: bob})
		var stored bool
		const q = `SELECT metadata ? 'client' FROM atlas.events WHERE stream = $1`
		if err := l.Pool.QueryRow(t.Context(), q, s.String()).Scan(&stored); err != nil {
			t.Fatal(err)
		}
		return !stored
	})
}

// TestEventsThatSealNothingSayTooThatTheirSubjectIsForgotten holds for those with a key, without one, and forgotten.
func TestEventsThatSealNothingSayTooThatTheirSubjectIsForgotten(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	s := documentStream()
	appendTo(t, l, s, events.DocumentArchived{OwnerID: ann})
	requireFlag := func(want bool) {
		t.Helper()
		for _, node := range []*logtest.Log{l, l.Node(t)} {
			found, err := node.Store.Load(t.Context(), s, 1)
			if err != nil || found[0].Erased != want {
				t.Fatalf("%v, erased %v, want %v", err, found[0].Erased, want)
			}
			if e, err := found[0].Event(); err != nil || e != (events.DocumentArchived{OwnerID: ann}) {
				t.Errorf("got %+v, %v", e, err)
			}
		}
	}
	requireFlag(false)
	appendTo(t, l, documentStream(), events.DocumentCreated{OwnerID: ann})
	requireFlag(false)
	mustForget(t, l, ann)
	requireFlag(true)
}

// TestManyOpenTransactionsMayNeedNewKeys takes every connection of the node and then seals for new subjects on each.
func TestManyOpenTransactionsMayNeedNewKeys(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var open []pgx.Tx
	for l.Pool.Stat().AcquiredConns() < l.Pool.Config().MaxConns {
		tx, err := l.Pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, tx)
	}
	var wg sync.WaitGroup
	for _, tx := range open {
		wg.Go(func() {
			defer tx.Rollback(context.Background())
			write := eventstore.Write{Stream: documentStream(), Expect: eventstore.NoStream,
				Events: []events.Event{events.DocumentCreated{OwnerID: uuid.New(), Title: "new"}}}
			if _, err := l.Store.AppendTx(ctx, tx, write); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestATombstoneCannotBeTakenAway(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	appendTo(t, l, documentStream(), events.DocumentCreated{OwnerID: ann})
	mustForget(t, l, ann)
	for _, q := range []string{
		`UPDATE atlas.subject_keys SET wrapped = 'key', forgotten_at = NULL WHERE subject = $1`,
		`UPDATE atlas.subject_keys SET subject = gen_random_uuid() WHERE subject = $1`,
		`DELETE FROM atlas.subject_keys WHERE subject = $1`,
	} {
		if _, err := l.Pool.Exec(t.Context(), q, ann); err == nil {
			t.Errorf("not refused: %s", q)
		}
	}
}
