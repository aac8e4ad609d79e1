package sealing_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var (
	ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")
	bob = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000002")
)

func master(t *testing.T, keys ...string) *sealing.Master {
	t.Helper()
	m, err := sealing.ParseMaster(strings.Join(keys, ","))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// open returns a node's keys.
func open(t *testing.T, pool *pgxpool.Pool, masters ...string) *sealing.Keys {
	t.Helper()
	k, err := sealing.New(context.Background(), pool, master(t, masters...))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// forget leaves a subject's tombstone, as forgetting does.
func forget(t *testing.T, pool *pgxpool.Pool, subject uuid.UUID) {
	t.Helper()
	const q = `UPDATE atlas.subject_keys SET wrapped = NULL, forgotten_at = now() WHERE subject = $1`
	if tag, err := pool.Exec(context.Background(), q, subject); err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("forget: %s, %v", tag, err)
	}
}

func envelope(subject uuid.UUID, bound, plain string) *eventstore.Envelope {
	return &eventstore.Envelope{Subject: subject, Bound: bound, Plain: []byte(plain)}
}

// sealed returns the envelope as it comes out of the log.
func sealed(t *testing.T, k *sealing.Keys, subject uuid.UUID, bound, plain string) *eventstore.Envelope {
	t.Helper()
	e := envelope(subject, bound, plain)
	if err := k.Seal(context.Background(), []*eventstore.Envelope{e}); err != nil {
		t.Fatal(err)
	}
	e.Plain = nil
	return e
}

func requireOpens(t *testing.T, k *sealing.Keys, e *eventstore.Envelope, want string) {
	t.Helper()
	got := *e
	if err := errors.Join(k.Open(context.Background(), []*eventstore.Envelope{&got}), got.Err); err != nil || string(got.Plain) != want {
		t.Errorf("opened %q, %v; want %q", got.Plain, err, want)
	}
}

// requireRefuses holds that a value is neither opened nor taken for an erased one, that the error says whose it is, and
// that a sound value beside it is opened.
func requireRefuses(t *testing.T, k *sealing.Keys, e, sound *eventstore.Envelope) {
	t.Helper()
	beside := *sound
	if err := k.Open(context.Background(), []*eventstore.Envelope{e, &beside}); err != nil {
		t.Fatal(err)
	}
	if e.Err == nil || !strings.Contains(e.Err.Error(), e.Subject.String()) || e.Plain != nil {
		t.Errorf("opened %q with the error %v; want none of it, and an error that names %s", e.Plain, e.Err, e.Subject)
	}
	if beside.Err != nil || beside.Plain == nil {
		t.Errorf("a sound value beside it was not opened: %v", beside.Err)
	}
}

func TestAValueOpensOnlyForWhomAndWhereItWasSealed(t *testing.T) {
	t.Parallel()
	k := open(t, pgtest.NewPool(t, sealing.Migrations()), sealing.GenerateMaster())
	here := sealed(t, k, ann, "event-1/sealed", "value")
	sealed(t, k, bob, "event-2/sealed", "another")
	requireOpens(t, k, here, "value")
	for name, change := range map[string]func(*eventstore.Envelope){
		"another event":   func(e *eventstore.Envelope) { e.Bound = "event-2/sealed" },
		"another part":    func(e *eventstore.Envelope) { e.Bound = "event-1/secret" },
		"another subject": func(e *eventstore.Envelope) { e.Subject = bob },
		"no subject":      func(e *eventstore.Envelope) { e.Subject = uuid.Nil },
		"no key's":        func(e *eventstore.Envelope) { e.Subject = uuid.New() },
		"damaged":         func(e *eventstore.Envelope) { e.Sealed[len(e.Sealed)-1] ^= 1 },
		"damaged nonce":   func(e *eventstore.Envelope) { e.Sealed[0] ^= 1 },
		"cut off":         func(e *eventstore.Envelope) { e.Sealed = e.Sealed[:11] },
		"nothing left":    func(e *eventstore.Envelope) { e.Sealed = []byte{} },
	} {
		t.Run(name, func(t *testing.T) {
			moved := *here
			moved.Sealed = bytes.Clone(here.Sealed)
			change(&moved)
			requireRefuses(t, k, &moved, here)
		})
	}
}

func TestTheEmptyValueIsNotAnErasedOne(t *testing.T) {
	t.Parallel()
	k := open(t, pgtest.NewPool(t, sealing.Migrations()), sealing.GenerateMaster())
	e := sealed(t, k, ann, "event-1/sealed", "")
	if err := k.Open(context.Background(), []*eventstore.Envelope{e}); err != nil || e.Plain == nil {
		t.Errorf("opened %#v, %v; want an empty value", e.Plain, err)
	}
}

func TestEqualValuesDoNotLookAlike(t *testing.T) {
	t.Parallel()
	k := open(t, pgtest.NewPool(t, sealing.Migrations()), sealing.GenerateMaster())
	a, b := sealed(t, k, ann, "event-1/sealed", "value"), sealed(t, k, ann, "event-1/sealed", "value")
	if bytes.Equal(a.Sealed, b.Sealed) {
		t.Error("the same value was sealed to the same bytes twice")
	}
}

// TestCiphertextsThatChangedPlacesAreRefused swaps the sealed parts of two events of one subject in the table.
func TestCiphertextsThatChangedPlacesAreRefused(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	swapped := []eventstore.Stream{documentStream(), documentStream()}
	for _, s := range swapped {
		appendTo(t, l, s, events.DocumentCreated{OwnerID: ann, Title: "of " + s.String()})
	}
	const swap = `
		ALTER TABLE atlas.events_0 DISABLE TRIGGER ALL;
		ALTER TABLE atlas.events DISABLE TRIGGER ALL;
		UPDATE atlas.events e SET sealed = other.sealed FROM atlas.events other WHERE other.stream <> e.stream`
	if _, err := l.Pool.Exec(ctx, swap); err != nil {
		t.Fatal(err)
	}
	for _, s := range swapped {
		recorded, err := l.Store.Load(ctx, s, 1)
		if err != nil {
			t.Fatal(err)
		}
		event, err := recorded[0].Event()
		if err == nil || !strings.Contains(err.Error(), ann.String()) || recorded[0].Erased {
			t.Errorf("got %+v, %v, erased %v; want an error that names %s", event, err, recorded[0].Erased, ann)
		}
	}
	sound := documentStream()
	appendTo(t, l, sound, events.DocumentCreated{OwnerID: ann, Title: "sound"})
	for r, read := l.Tail.From(0, eventstore.Filter{}), 0; read < 3; {
		b, err := r.Next(ctx, 10)
		if err != nil {
			t.Fatalf("damaged events stop a reader of the log: %v", err)
		}
		read += len(b.Events)
	}
}

func documentStream() eventstore.Stream {
	return eventstore.NewStream("document", uuid.Must(uuid.NewV7()))
}

func appendTo(t *testing.T, l *logtest.Log, s eventstore.Stream, e events.Event) {
	t.Helper()
	if _, err := l.Store.Append(context.Background(), eventstore.Write{Stream: s, Expect: eventstore.AnyVersion, Events: []events.Event{e}}); err != nil {
		t.Fatal(err)
	}
}

// loadOne returns a stream's first event, with what keeps it from being read at any stage.
func loadOne(l *logtest.Log, s eventstore.Stream) (events.Event, error) {
	recorded, err := l.Store.LoadWithSecrets(context.Background(), s, 1)
	if err != nil {
		return nil, err
	}
	return recorded[0].Event()
}

func TestAForgottenSubjectsValuesReadAsErased(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx := eventstore.WithMetadata(context.Background(), eventstore.Metadata{Actor: ann, Client: eventstore.Client{Address: "192.0.2.7"}})
	stream := eventstore.NewStream("user", ann)
	registered := events.UserRegistered{UserID: ann, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash", Roles: []string{"user"}}
	if _, err := l.Store.Append(ctx, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{registered}}); err != nil {
		t.Fatal(err)
	}
	kept := documentStream()
	appendTo(t, l, kept, events.DocumentCreated{OwnerID: bob, Title: "Bob's"})
	forget(t, l.Pool, ann)

	fresh := l.Node(t) // which has not cached the key
	recorded, err := fresh.Store.LoadWithSecrets(ctx, stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := recorded[0]
	event, err := r.Event()
	if diff := cmp.Diff(events.UserRegistered{UserID: ann, Roles: []string{"user"}}, event); err != nil || diff != "" {
		t.Errorf("event: %v (-want +got):\n%s", err, diff)
	}
	if !r.Erased || r.Metadata.Client != (eventstore.Client{}) || r.Metadata.Actor != ann {
		t.Errorf("erased %v, client %+v, actor %s; want it erased and the client gone", r.Erased, r.Metadata.Client, r.Metadata.Actor)
	}
	if event, err := loadOne(fresh, kept); err != nil || event.(events.DocumentCreated).Title != "Bob's" {
		t.Errorf("another subject's event: %+v, %v", event, err)
	}
	_, err = fresh.Store.Append(context.Background(), eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion,
		Events: []events.Event{events.UserNameChanged{UserID: ann, Name: "Anna"}}})
	if !errors.Is(err, sealing.ErrForgotten) {
		t.Errorf("writing about a forgotten subject: got %v, want ErrForgotten", err)
	}
}

func TestATombstoneStands(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	ctx, key := context.Background(), sealing.GenerateMaster()
	old := sealed(t, open(t, pool, key), ann, "event-1/sealed", "value")
	forget(t, pool, ann)
	k := open(t, pool, key)
	for range 2 { // read from the table, then from the cache
		both := []*eventstore.Envelope{envelope(bob, "event-2/sealed", "bob's"), envelope(ann, "event-2/sealed", "ann's")}
		if err := k.Seal(ctx, both); !errors.Is(err, sealing.ErrForgotten) {
			t.Errorf("sealing: got %v, want ErrForgotten", err)
		}
		erased := *old
		if err := k.Open(ctx, []*eventstore.Envelope{&erased}); err != nil || erased.Plain != nil {
			t.Errorf("opened %q, %v; want nothing, without an error", erased.Plain, err)
		}
	}
	var rows int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM atlas.subject_keys WHERE subject = $1 AND wrapped IS NULL`, ann).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d tombstones (%v), want 1", rows, err)
	}
}

func TestAWrongMasterKeyIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	open(t, pool, sealing.GenerateMaster())
	wrong := sealing.GenerateMaster()
	_, err := sealing.New(context.Background(), pool, master(t, wrong))
	if !errors.Is(err, sealing.ErrMasterKey) {
		t.Fatalf("got %v, want ErrMasterKey", err)
	}
	if strings.Contains(err.Error(), wrong) {
		t.Errorf("the error repeats the key: %v", err)
	}
}

func TestANewMasterKeyBeforeTheOldOneWrapsAndTheOldOneStillOpens(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	ctx, oldKey, newKey := context.Background(), sealing.GenerateMaster(), sealing.GenerateMaster()
	before := sealed(t, open(t, pool, oldKey), ann, "event-1/sealed", "before")
	secret, err := open(t, pool, oldKey).Secret(ctx, "cursor")
	if err != nil {
		t.Fatal(err)
	}

	rotated := open(t, pool, newKey, oldKey)
	requireOpens(t, rotated, before, "before")
	again, err := rotated.Secret(ctx, "cursor")
	if err != nil || !bytes.Equal(secret, again) {
		t.Errorf("the shared secret changed with the master key (%v)", err)
	}
	after := sealed(t, rotated, bob, "event-2/sealed", "after")
	more := sealed(t, rotated, ann, "event-3/sealed", "more")

	onlyOld := open(t, pool, oldKey)
	requireOpens(t, onlyOld, more, "more")
	if err := onlyOld.Open(ctx, []*eventstore.Envelope{after}); err == nil || !strings.Contains(err.Error(), bob.String()) {
		t.Errorf("a node without the new master key: got %v, want an error that names %s", err, bob)
	}
	requireOpens(t, open(t, pool, oldKey, newKey), after, "after")
}

func TestFirstSealingsAtOnceAgreeOnOneKey(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	key := sealing.GenerateMaster()
	nodes := []*sealing.Keys{open(t, pool, key), open(t, pool, key)}
	all := make([]*eventstore.Envelope, 32)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = envelope(ann, "event", "value")
		wg.Go(func() {
			envelopes := []*eventstore.Envelope{all[i], envelope(bob, "event", "value")}
			if i%4 < 2 { // in both orders, which must not deadlock
				envelopes[0], envelopes[1] = envelopes[1], envelopes[0]
			}
			if err := nodes[i%2].Seal(context.Background(), envelopes); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	fresh := open(t, pool, key)
	for _, e := range all {
		requireOpens(t, fresh, e, "value")
	}
}

func TestAllNodesShareASecret(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	key := sealing.GenerateMaster()
	nodes := []*sealing.Keys{open(t, pool, key), open(t, pool, key)}
	secrets := make([][]byte, 16)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			s, err := nodes[i%2].Secret(context.Background(), "email")
			if err != nil {
				t.Error(err)
			}
			secrets[i] = s
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if len(s) != 32 || !bytes.Equal(s, secrets[0]) {
			t.Errorf("got %d bytes that differ from the first ones", len(s))
		}
	}
	other, err := nodes[0].Secret(context.Background(), "another")
	if err != nil || bytes.Equal(other, secrets[0]) {
		t.Errorf("two names have one secret (%v)", err)
	}
}

func TestNodesThatStartFirstAtOnceWithDifferentMasterKeysDoNotBothStart(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i := range errs {
		m := master(t, sealing.GenerateMaster())
		wg.Go(func() { _, errs[i] = sealing.New(context.Background(), pool, m) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), sealing.ErrMasterKey) {
		t.Errorf("got %v and %v, want one start and one ErrMasterKey", errs[0], errs[1])
	}
}
