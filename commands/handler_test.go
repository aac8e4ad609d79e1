package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// as returns a context in which the next command has a fresh id of its own.
func as(name string) context.Context {
	return eventstore.WithCommand(context.Background(), newID(), []byte(name))
}

func handled(t *testing.T, o eventstore.Outcome, err error) eventstore.Outcome {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// newDocument creates a document of Ann's.
func newDocument(t *testing.T, h *Handler) uuid.UUID {
	t.Helper()
	id := newID()
	o, err := h.Handle(context.Background(), Document.On(id, CreateDocument{By: ann, Title: "Plan"}))
	handled(t, o, err)
	return id
}

// types returns the stored names of a stream's events.
func types(t *testing.T, l *logtest.Log, category string, id uuid.UUID) (names []string) {
	t.Helper()
	recorded, err := l.Store.Load(context.Background(), eventstore.NewStream(category, id), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recorded {
		names = append(names, r.Type)
	}
	return names
}

func requireTypes(t *testing.T, l *logtest.Log, category string, id uuid.UUID, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, types(t, l, category, id)); diff != "" {
		t.Errorf("%s's events (-want +got):\n%s", category, diff)
	}
}

// requireReplay holds that an outcome is the first one, told again.
func requireReplay(t *testing.T, first, again eventstore.Outcome, err error) {
	t.Helper()
	if err != nil || !again.Replayed {
		t.Fatalf("again: %+v, %v; want the first outcome, replayed", again, err)
	}
	if diff := cmp.Diff(first.Streams, again.Streams); diff != "" {
		t.Errorf("outcome (-first +again):\n%s", diff)
	}
}

func register(id, address uuid.UUID) []Step {
	return []Step{
		User.On(id, RegisterUser{ID: id, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash"}),
		Email.On(address, ReserveEmail{User: id}),
	}
}

func TestATakenAddressRegistersNobody(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	h := NewHandler(l.Store)
	address, first, second := newID(), newID(), newID()
	o, err := h.Handle(context.Background(), register(first, address)...)
	handled(t, o, err)
	requireTypes(t, l, "user", first, "user.registered")
	requireTypes(t, l, "email", address, "email.reserved")
	if _, err := h.Handle(context.Background(), register(second, address)...); !errors.Is(err, ErrEmailTaken) {
		t.Errorf("got %v, want ErrEmailTaken", err)
	}
	requireTypes(t, l, "user", second)
	requireTypes(t, l, "email", address, "email.reserved")
}

func TestOfManyWhoRegisterOneAddressAtOnceOneWins(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	nodes := []*Handler{NewHandler(l.Store), NewHandler(l.Node(t).Store)}
	address := newID()
	users := make([]uuid.UUID, 8)
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range users {
		users[i] = newID()
		wg.Go(func() {
			_, err := nodes[i%2].Handle(context.Background(), register(users[i], address)...)
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrEmailTaken):
				t.Errorf("got %v, want ErrEmailTaken", err)
			}
		})
	}
	wg.Wait()
	registered := 0
	for _, id := range users {
		registered += len(types(t, l, "user", id))
	}
	if won.Load() != 1 || registered != 1 {
		t.Errorf("%d won and %d users are registered, want 1 and 1", won.Load(), registered)
	}
	requireTypes(t, l, "email", address, "email.reserved")
}

// TestCommandsThatMeetOnOneStreamAllCountOrSayThatTheyDidNot holds that every success is one event and every
// ErrContended none.
func TestCommandsThatMeetOnOneStreamAllCountOrSayThatTheyDidNot(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	nodes := []*Handler{NewHandler(l.Store), NewHandler(l.Node(t).Store)}
	id := newDocument(t, nodes[0])
	var done, contended atomic.Int32
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			_, err := nodes[i%2].Handle(context.Background(), Document.On(id, ReviseDocument{By: ann, Title: fmt.Sprint(i)}))
			switch {
			case err == nil:
				done.Add(1)
			case errors.Is(err, ErrContended):
				contended.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d done, %d gave up", done.Load(), contended.Load())
	if got := int32(len(types(t, l, "document", id))); got != 1+done.Load() {
		t.Errorf("%d events, want one for the creation and one for each of the %d that were done", got, done.Load())
	}
}

func TestAVersionThatIsNotTheStreamsIsAMismatch(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	h := NewHandler(l.Store)
	id := newDocument(t, h)
	revise := Document.On(id, ReviseDocument{By: ann, Title: "Plan B"})
	o, err := h.HandleAt(context.Background(), 1, revise)
	handled(t, o, err)
	for _, version := range []int64{1, 3, 0, -1} {
		if _, err := h.HandleAt(context.Background(), version, revise); !errors.Is(err, ErrVersionMismatch) {
			t.Errorf("version %d: got %v, want ErrVersionMismatch", version, err)
		}
	}
	noop := Document.On(id, RestoreDocument{By: ann})
	if _, err := h.HandleAt(context.Background(), 1, noop); !errors.Is(err, ErrVersionMismatch) {
		t.Errorf("a command that changes nothing, at a stale version: got %v, want ErrVersionMismatch", err)
	}
	o, err = h.HandleAt(context.Background(), 2, noop)
	handled(t, o, err)
	requireTypes(t, l, "document", id, "document.created", "document.revised")
}

func TestAStaleVersionTellsAStrangerNothing(t *testing.T) {
	t.Parallel()
	h := NewHandler(logtest.New(t).Store)
	id := newDocument(t, h)
	for name, step := range map[string]Step{
		"revise":  Document.On(id, ReviseDocument{By: bob, Title: "Mine"}),
		"archive": Document.On(id, ArchiveDocument{By: bob}),
		"restore": Document.On(id, RestoreDocument{By: bob}),
		"delete":  Document.On(id, DeleteDocument{By: bob}),
		"missing": Document.On(newID(), DeleteDocument{By: bob}),
	} {
		for _, version := range []int64{0, 1, 7} {
			if _, err := h.HandleAt(context.Background(), version, step); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s at version %d: got %v, want ErrNotFound", name, version, err)
			}
		}
	}
}

// TestARepeatedCommandGetsItsFirstAnswerThoughTheStateHasMovedOn repeats commands that would be refused if they were
// decided again, on this node and on another.
func TestARepeatedCommandGetsItsFirstAnswerThoughTheStateHasMovedOn(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	nodes := map[string]*Handler{"here": NewHandler(l.Store), "elsewhere": NewHandler(l.Node(t).Store)}
	h, id := nodes["here"], newID()

	create := as("create")
	createStep := Document.On(id, CreateDocument{By: ann, Title: "Plan"})
	o, err := h.Handle(create, createStep)
	created := handled(t, o, err)

	revise := as("revise at 1")
	reviseStep := Document.On(id, ReviseDocument{By: ann, Title: "Plan B"})
	o, err = h.HandleAt(revise, 1, reviseStep)
	revised := handled(t, o, err)

	o, err = h.Handle(context.Background(), Document.On(id, DeleteDocument{By: ann}))
	handled(t, o, err)
	for name, node := range nodes {
		t.Run(name, func(t *testing.T) {
			o, err := node.Handle(create, createStep)
			requireReplay(t, created, o, err)
			o, err = node.HandleAt(revise, 1, reviseStep)
			requireReplay(t, revised, o, err)
			other := eventstore.WithCommand(context.Background(), eventstore.CommandFrom(create).ID, []byte("something else"))
			if _, err := node.Handle(other, createStep); !errors.Is(err, eventstore.ErrCommandReused) {
				t.Errorf("another command under the id: got %v, want ErrCommandReused", err)
			}
		})
	}
	requireTypes(t, l, "document", id, "document.created", "document.revised", "document.deleted")
}

// duplicated is a log on which, just before the first stream is loaded, the same command is carried out elsewhere.
type duplicated struct {
	Log
	once  sync.Once
	first func()
}

func (d *duplicated) LoadWithSecrets(ctx context.Context, s eventstore.Stream, from int64) ([]*eventstore.Recorded, error) {
	d.once.Do(d.first)
	return d.Log.LoadWithSecrets(ctx, s, from)
}

// TestARepeatThatOvertakesItsFirstTryGetsTheFirstAnswer forces the schedule in which both tries find that the command
// was not carried out, and only then one of them does it: what the other then decides on is its own doing.
func TestARepeatThatOvertakesItsFirstTryGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	h := NewHandler(l.Store)
	id := newID()
	for _, c := range []struct {
		name   string
		handle func(*Handler, context.Context) (eventstore.Outcome, error)
	}{
		{"create", func(h *Handler, ctx context.Context) (eventstore.Outcome, error) {
			return h.Handle(ctx, Document.On(id, CreateDocument{By: ann, Title: "Plan"}))
		}},
		{"revise at a version", func(h *Handler, ctx context.Context) (eventstore.Outcome, error) {
			return h.HandleAt(ctx, 1, Document.On(id, ReviseDocument{By: ann, Title: "Plan B"}))
		}},
		{"delete", func(h *Handler, ctx context.Context) (eventstore.Outcome, error) {
			return h.Handle(ctx, Document.On(id, DeleteDocument{By: ann}))
		}},
	} {
		ctx := as(c.name)
		var first eventstore.Outcome
		again, err := c.handle(NewHandler(&duplicated{Log: l.Store, first: func() {
			o, err := c.handle(h, ctx)
			first = handled(t, o, err)
		}}), ctx)
		t.Run(c.name, func(t *testing.T) { requireReplay(t, first, again, err) })
	}
	requireTypes(t, l, "document", id, "document.created", "document.revised", "document.deleted")
}

func TestACommandThatChangesNothingTellsWhereItsStreamStands(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	h := NewHandler(l.Store)
	id := newID()
	o, err := h.Handle(context.Background(), Document.On(id, CreateDocument{By: ann, Title: "Plan"}))
	created, _ := handled(t, o, err).Of("document")
	ctx := as("restore")
	restore := Document.On(id, RestoreDocument{By: ann})
	o, err = h.Handle(ctx, restore)
	noop := handled(t, o, err)
	want := eventstore.StreamOutcome{Stream: eventstore.NewStream("document", id), Version: 1, Position: created.Position}
	if got, _ := noop.Of("document"); noop.Replayed || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	o, err = h.Handle(context.Background(), Document.On(id, ArchiveDocument{By: ann}))
	handled(t, o, err)
	again, err := h.Handle(ctx, restore)
	requireReplay(t, noop, again, err)
	requireTypes(t, l, "document", id, "document.created", "document.archived")
}

func TestAnotherAggregatesEventInAStreamIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	id := newID()
	_, err := l.Store.Append(context.Background(), eventstore.Write{
		Stream: eventstore.NewStream("document", id), Expect: eventstore.NoStream, Events: []events.Event{events.SessionStarted{UserID: ann}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewHandler(l.Store).Handle(context.Background(), Document.On(id, DeleteDocument{By: ann}))
	want := fmt.Sprintf("document-%s version 1: session.started does not belong in this stream", id)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAccountsAreReadFromTheLog(t *testing.T) {
	t.Parallel()
	h := NewHandler(logtest.New(t).Store)
	ctx, id, address, signIn := context.Background(), newID(), newID(), newID()
	signedIn := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	o, err := h.Handle(ctx, register(id, address)...)
	handled(t, o, err)
	want := Account{ID: id, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash", Roles: []string{"user"}, Epoch: 1, SessionEpoch: 1}
	got, err := h.AccountByEmail(ctx, address)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("by address: %v (-want +got):\n%s", err, diff)
	}
	for _, step := range []Step{
		User.On(id, ChangeUserName{ID: id, By: id, Name: "Anna"}),
		User.On(id, DisableUser{ID: id, By: Actor{User: id}}),
		Session.On(signIn, StartSession{User: id, At: signedIn}),
	} {
		o, err := h.Handle(ctx, step)
		handled(t, o, err)
	}
	want.Name, want.Disabled, want.Epoch, want.SessionEpoch = "Anna", true, 2, 2
	got, err = h.Account(ctx, id)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("by id: %v (-want +got):\n%s", err, diff)
	}
	if s, err := h.ActiveSession(ctx, signIn); err != nil || s.User != id || !s.StartedAt.Equal(signedIn) {
		t.Errorf("session: %+v, %v; want %s since %s", s, err, id, signedIn)
	}
	o, err = h.Handle(ctx, Session.On(signIn, EndSession{By: id, Reason: "logout"}))
	handled(t, o, err)
	for name, read := range map[string]func() error{
		"ended session":   func() error { _, err := h.ActiveSession(ctx, signIn); return err },
		"missing session": func() error { _, err := h.ActiveSession(ctx, newID()); return err },
		"missing account": func() error { _, err := h.Account(ctx, newID()); return err },
		"free address":    func() error { _, err := h.AccountByEmail(ctx, newID()); return err },
	} {
		if err := read(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
}
