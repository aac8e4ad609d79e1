package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

func TestManyClientsOnOneStreamAllSucceed(t *testing.T) {
	t.Parallel()
	const clients = 64
	l := logtest.New(t)
	handlers := []*Handler{NewHandler(l.Store), NewHandler(l.Node(t).Store)}
	for nodes := 1; nodes <= 2; nodes++ {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			id := newID()
			if _, err := handlers[0].Handle(context.Background(), Document.On(id, CreateDocument{By: ann, Title: "x"})); err != nil {
				t.Fatal(err)
			}
			contended := 0
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() {
					_, err := handlers[i%nodes].Handle(context.Background(), Document.On(id, ReviseDocument{By: ann, Title: fmt.Sprint(i)}))
					if errors.Is(err, ErrContended) {
						mu.Lock()
						contended++
						mu.Unlock()
					} else if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			got, err := l.Store.Load(context.Background(), eventstore.NewStream("document", id), 1)
			if err != nil || len(got) != 1+clients-contended {
				t.Errorf("%d events (%v) for %d successes", len(got), err, clients-contended)
			}
			if nodes == 1 && contended > 0 {
				t.Errorf("%d clients of one process were given up", contended)
			}
		})
	}
}

func TestAKeptStateCostsNoRead(t *testing.T) {
	t.Parallel()
	log := &countingLog{Log: logtest.New(t).Store}
	h, id := NewHandler(log), newID()
	for i := range 5 {
		var step Step
		if i == 0 {
			step = Document.On(id, CreateDocument{By: ann, Title: "x"})
		} else {
			step = Document.On(id, ReviseDocument{By: ann, Title: fmt.Sprint(i)})
		}
		if _, err := h.Handle(context.Background(), step); err != nil {
			t.Fatal(err)
		}
	}
	hits, misses := h.Stats()
	if log.loads != 1 || hits != 4 || misses != 1 {
		t.Errorf("%d loads, %d hits, %d misses; want 1, 4, 1", log.loads, hits, misses)
	}
}

// countingLog counts what is read.
type countingLog struct {
	Log
	loads int
	fail  error // of the next append, after it was carried out
}

func (l *countingLog) LoadWithSecrets(ctx context.Context, s eventstore.Stream, from int64) ([]*eventstore.Recorded, error) {
	l.loads++
	return l.Log.LoadWithSecrets(ctx, s, from)
}

func (l *countingLog) Append(ctx context.Context, writes ...eventstore.Write) (eventstore.Outcome, error) {
	o, err := l.Log.Append(ctx, writes...)
	if l.fail != nil {
		err, l.fail = l.fail, nil
	}
	return o, err
}

func TestWhatAnotherNodeDidOverrulesAKeptState(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	here, there, id, ctx := NewHandler(l.Store), NewHandler(l.Node(t).Store), newID(), context.Background()
	do := func(h *Handler, c DocumentCommand) error {
		_, err := h.Handle(ctx, Document.On(id, c))
		return err
	}
	steps := []struct {
		node    *Handler
		command DocumentCommand
		want    error
	}{
		{here, CreateDocument{By: ann, Title: "x"}, nil},
		{here, ArchiveDocument{By: ann}, nil},
		{there, RestoreDocument{By: ann}, nil},
		{here, ReviseDocument{By: ann, Title: "y"}, nil}, // here it was last seen archived
		{there, ArchiveDocument{By: ann}, nil},
		{here, ReviseDocument{By: ann, Title: "z"}, ErrDocumentArchived}, // here it was last seen active
		{there, DeleteDocument{By: ann}, nil},
		{here, RestoreDocument{By: ann}, ErrNotFound},
	}
	for i, s := range steps {
		if err := do(s.node, s.command); !errors.Is(err, s.want) || (s.want == nil) != (err == nil) {
			t.Fatalf("step %d, %T: got %v, want %v", i, s.command, err, s.want)
		}
	}
}

func TestIfMatchIsHeldAgainstTheLogAndNotAgainstAKeptState(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	here, there, id, ctx := NewHandler(l.Store), NewHandler(l.Node(t).Store), newID(), context.Background()
	if _, err := here.Handle(ctx, Document.On(id, CreateDocument{By: ann, Title: "x"})); err != nil {
		t.Fatal(err)
	}
	if _, err := there.Handle(ctx, Document.On(id, ReviseDocument{By: ann, Title: "y"})); err != nil {
		t.Fatal(err)
	}
	if _, err := here.HandleAt(ctx, 1, Document.On(id, ReviseDocument{By: ann, Title: "z"})); !errors.Is(err, ErrVersionMismatch) {
		t.Errorf("at the version that was kept: got %v, want ErrVersionMismatch", err)
	}
	if _, err := there.HandleAt(ctx, 2, Document.On(id, ReviseDocument{By: ann, Title: "z"})); err != nil {
		t.Errorf("at the log's version: %v", err)
	}
	if _, err := here.HandleAt(ctx, 3, Document.On(id, ReviseDocument{By: ann, Title: "w"})); err != nil {
		t.Errorf("at the log's version, with an older one kept: %v", err)
	}
}

func TestAnUnknownOutcomeIsNotDecidedAgain(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	log := &countingLog{Log: l.Store}
	h, id, ctx := NewHandler(log), newID(), context.Background()
	if _, err := h.Handle(ctx, Document.On(id, CreateDocument{By: ann, Title: "x"})); err != nil {
		t.Fatal(err)
	}
	log.fail = eventstore.ErrOutcomeUnknown
	if _, err := h.Handle(ctx, Document.On(id, ReviseDocument{By: ann, Title: "y"})); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("got %v, want ErrOutcomeUnknown", err)
	}
	got, err := l.Store.Load(ctx, eventstore.NewStream("document", id), 1)
	if err != nil || len(got) != 2 {
		t.Errorf("%d events (%v), want 2: it was carried out, and once", len(got), err)
	}
	if _, err := h.Handle(ctx, Document.On(id, ReviseDocument{By: ann, Title: "z"})); err != nil {
		t.Errorf("the next command: %v", err)
	}
}

func TestKeptStatesAreBoundedInBytes(t *testing.T) {
	const limit = 100_000
	s := newStates(limit)
	var streams []eventstore.Stream
	for i := range 300 {
		stream := eventstore.NewStream("user", newID())
		streams = append(streams, stream)
		s.put(stream, user{name: strings.Repeat("x", 1000), roles: []string{"user"}}, int64(i))
		if s.bytes > limit {
			t.Fatalf("%d bytes are kept, the limit is %d", s.bytes, limit)
		}
	}
	if _, _, found := s.find(streams[0]); found {
		t.Error("the least recently used is still kept")
	}
	if _, version, found := s.find(streams[299]); !found || version != 299 {
		t.Error("the most recent is not kept")
	}
	s.put(streams[299], user{}, 5)
	if _, version, _ := s.find(streams[299]); version != 299 {
		t.Error("an older state took the place of a newer one")
	}
}

func TestWhoGivesUpWaitingLeavesTheQueueWhole(t *testing.T) {
	q, stream := newQueue(), eventstore.NewStream("user", newID())
	leave, err := q.enter(context.Background(), []eventstore.Stream{stream, stream})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	other := eventstore.NewStream("email", newID())
	if _, err := q.enter(ctx, []eventstore.Stream{other, stream}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's end", err)
	}
	leave()
	if len(q.lines) != 0 {
		t.Errorf("%d lines are left behind", len(q.lines))
	}
	leave, err = q.enter(context.Background(), []eventstore.Stream{stream, other})
	if err != nil {
		t.Fatal(err)
	}
	leave()
}
