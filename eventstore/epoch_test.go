package eventstore_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func mustStand(t *testing.T, s *eventstore.Store) eventstore.Standing {
	t.Helper()
	st, err := s.Standing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func appendOne(t *testing.T, s *eventstore.Store) int64 {
	t.Helper()
	o, err := s.Append(t.Context(), eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}})
	if err != nil {
		t.Fatal(err)
	}
	return o.Position()
}

// restored dumps the log and restores it there.
func restored(t *testing.T, l *logtest.Log, url string) *eventstore.Store {
	t.Helper()
	dump := filepath.Join(t.TempDir(), "dump")
	tool(t, l, "pg_dump", "--format=custom", "--file="+dump, "--dbname="+l.URL)
	tool(t, l, "pg_restore", "--exit-on-error", "--dbname="+url, dump)
	return l.NodeAt(t, url).Store
}

// TestARestoredLogTellsWhatItHasFromWhatItLost restores a dump twice, into another cluster and into another database of
// the same, after which all three go on.
func TestARestoredLogTellsWhatItHasFromWhatItLost(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	early := mustStand(t, l.Store).Here(appendOne(t, l.Store))
	copies := []*eventstore.Store{restored(t, l, pgtest.StartServer(t).URL()), restored(t, l, pgtest.NewDatabase(t))}
	late := mustStand(t, l.Store).Here(appendOne(t, l.Store))
	for _, there := range copies {
		if now := appendOne(t, there); now != late.Position {
			t.Fatalf("the copy gave the position %d, want %d, which the original gave too", now, late.Position)
		}
		if p, err := mustStand(t, there).Find(early); err != nil || p != early.Position {
			t.Errorf("what lies before the dump: got %d %v, want %d", p, err, early.Position)
		}
		if _, err := mustStand(t, there).Find(late); !errors.Is(err, eventstore.ErrLostByRestore) {
			t.Errorf("what lies after the dump: got %v, want ErrLostByRestore", err)
		}
		here := mustStand(t, there).Here(late.Position)
		if p, err := mustStand(t, there).Find(here); err != nil || p != here.Position {
			t.Errorf("the copy's own: got %d %v, want %d", p, err, here.Position)
		}
		if _, err := mustStand(t, there).Find(mustStand(t, there).Here(late.Position + 1)); !errors.Is(err, eventstore.ErrFuture) {
			t.Errorf("beyond the end: got %v, want ErrFuture", err)
		}
		if _, err := mustStand(t, l.Store).Find(here); !errors.Is(err, eventstore.ErrOtherLog) {
			t.Errorf("the copy's own, shown to the original: got %v, want ErrOtherLog", err)
		}
	}
	if a, b := mustStand(t, copies[0]).Epochs, mustStand(t, copies[1]).Epochs; len(a) != 2 || len(b) != 2 || a[0] != b[0] || a[1].Tag == b[1].Tag {
		t.Errorf("epochs of two copies: got %v and %v, want one in common and one each", a, b)
	}
}

func TestAnEpochBeginsOnceForAllWhoAsk(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	if _, err := l.Pool.Exec(t.Context(), `DELETE FROM atlas.epochs`); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := l.Store.Standing(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if epochs := mustStand(t, l.Store).Epochs; len(epochs) != 1 {
		t.Errorf("got %v, want one epoch", epochs)
	}
}

func TestAPlaceIsReadOnlyAsItIsWritten(t *testing.T) {
	t.Parallel()
	p, err := eventstore.ParsePlace("1f3a9c04-512")
	if want := (eventstore.Place{Epoch: "1f3a9c04", Position: 512}); err != nil || p != want {
		t.Errorf("got %v %v, want %v", p, err, want)
	}
	for _, text := range []string{"", "-", "512", "a-", "-512", "a-0512", "a--5", "a-+5", "a-5 ", "a-9223372036854775808", "12345678901234567-1"} {
		if p, err := eventstore.ParsePlace(text); err == nil {
			t.Errorf("%q was read as %v", text, p)
		}
	}
}
