package outbox

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// sung is a contract that is declared when there is a log already.
type sung struct {
	ID uuid.UUID `json:"id"`
}

func (sung) Contract() string { return "document.sung.v1" }

// grown is the catalogue with it: of each new document, and each that is archived.
func grown() []Contract {
	return append(Catalog(),
		Define(Documents, func(e engine.Recorded[events.DocumentArchived]) sung { return sung{e.Stream.ID} }))
}

func newBackfiller(l *logtest.Log, batch int) *Backfiller {
	b := NewBackfiller(l.Pool, l.Store, grown(), slog.New(slog.DiscardHandler))
	b.batch = batch
	return b
}

func (b *Backfiller) mustStart(t *testing.T, since int64) {
	t.Helper()
	if err := b.Start(t.Context(), Documents, []string{sung{}.Contract()}, since); err != nil {
		t.Fatal(err)
	}
}

func (b *Backfiller) mustFinish(t *testing.T) Backfill {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = b.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f, err := LastBackfill(t.Context(), b.pool, Documents)
	if err != nil || f == nil || f.DoneAt == nil {
		t.Fatalf("the backfill is %+v, %v; want it done", f, err)
	}
	return *f
}

// songs returns the positions of the new contract's messages, as they come in the topic.
func songs(t *testing.T, l *logtest.Log) (positions []int64) {
	t.Helper()
	for _, m := range messages(t, l.Pool, Documents) {
		if m.Metadata[MetaContract] != (sung{}).Contract() {
			continue
		}
		p, err := strconv.ParseInt(m.Metadata[MetaPosition], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, p)
	}
	return positions
}

func archivedAt(t *testing.T, l *logtest.Log) (positions []int64) {
	t.Helper()
	for _, r := range recorded(t, l.Store, eventstore.Filter{Types: []string{"document.archived"}}) {
		positions = append(positions, r.Position)
	}
	return positions
}

// old fills a log that a binary without the new contract has projected.
func old(t *testing.T, n int) *logtest.Log {
	t.Helper()
	p := Projection()
	l := newLog(t, p)
	var last int64
	for range n {
		last = mustAppend(t, l.Store, newStream("document"), events.DocumentArchived{}, events.DocumentRestored{}, events.DocumentArchived{})
	}
	t.Run("before", func(t *testing.T) { wait(t, start(t, l, p), last, p) }) // the runner ends with it
	return l
}

// TestABackfillBesideLiveWritersIsWholeAndInOrder declares a contract, lets two nodes publish what four writers append, and
// has two processes write of what came before: in the topic, the contract's messages are those of the log, each once
// and in its order.
func TestABackfillBesideLiveWritersIsWholeAndInOrder(t *testing.T) {
	t.Parallel()
	l := old(t, 60)
	p := projection(Version, grown())
	b := newBackfiller(l, 7)
	b.mustStart(t, 0)
	waiter := start(t, l, p)
	start(t, l.Node(t), p)
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			stream := newStream("document")
			for range 30 {
				mustAppend(t, l.Store, stream, events.DocumentArchived{}, events.DocumentRestored{})
			}
		})
	}
	background(t, newBackfiller(l, 3).Run)
	done := b.mustFinish(t)
	writers.Wait()
	last := mustAppend(t, l.Store, newStream("document"), events.DocumentArchived{})
	wait(t, waiter, last, p)
	want, got := archivedAt(t, l), songs(t, l)
	if !slices.Equal(want, got) {
		t.Errorf("the contract's messages are of %d events at\n%v, want of %d at\n%v", len(got), got, len(want), want)
	}
	if done.Written == 0 || done.Position > last || done.Written > int64(len(want)) {
		t.Errorf("the backfill says %+v", done)
	}
}

// TestABackfillTakesBackWhatNobodyHasRead begins when the new contract's messages of new events are there: what a group has
// read stays and is not doubled, and the rest comes in the order of the log.
func TestABackfillTakesBackWhatNobodyHasRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		group string
		moved int64
	}{"nobody": {"", 6}, "a reader": {"reader", 4}, "the relay": {relayGroup, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := old(t, 3)
			p := projection(Version, grown())
			waiter := start(t, l, p)
			var last int64
			for range 6 {
				last = mustAppend(t, l.Store, newStream("document"), events.DocumentArchived{})
			}
			wait(t, waiter, last, p)
			read := len(messages(t, l.Pool, Documents)) - 8 // two messages an event: all but the last four events'
			if c.group != "" {
				hasRead(t, l.Pool, c.group, read, "")
			}
			b := newBackfiller(l, 2)
			b.mustStart(t, 0)
			if f := b.mustFinish(t); f.Moved != c.moved || f.Written != 6+c.moved {
				t.Errorf("the backfill says %+v, want %d moved and %d written", f, c.moved, 6+c.moved)
			}
			got, want := songs(t, l), archivedAt(t, l)
			stay := int(6 - c.moved)
			order := append(slices.Clone(want[6:6+stay]), append(slices.Clone(want[:6]), want[6+stay:]...)...)
			if !slices.Equal(got, order) {
				t.Errorf("the messages are of %v, want %v", got, order)
			}
		})
	}
}

// TestABackfillWritesWhatWasPrunedAndNothingTwice writes a contract's messages again from a position on.
func TestABackfillWritesWhatWasPrunedAndNothingTwice(t *testing.T) {
	t.Parallel()
	l := old(t, 4)
	all := messages(t, l.Pool, Documents)
	since, err := strconv.ParseInt(all[2].Metadata[MetaPosition], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	hasRead(t, l.Pool, "reader", 12, "")
	mustExec(t, l.Pool, `DELETE FROM outbox.documents WHERE "offset" <= (SELECT min("offset") + 5 FROM outbox.documents)`)
	b := NewBackfiller(l.Pool, l.Store, Catalog(), slog.New(slog.DiscardHandler))
	if err := b.Start(t.Context(), Documents, nil, since); err != nil {
		t.Fatal(err)
	}
	if f := b.mustFinish(t); f.Written != 3 || f.Moved != 0 || f.Since != since {
		t.Errorf("the backfill says %+v, want the 3 messages that were pruned after position %d", f, since)
	}
	got := messages(t, l.Pool, Documents)
	var ids, want []string
	for _, m := range got {
		ids = append(ids, m.UUID)
	}
	for _, m := range append(slices.Clone(all[6:]), all[3:6]...) {
		want = append(want, m.UUID)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("the topic has %v, want %v", ids, want)
	}
}

// TestABackfillWaitsForWhatGroupsHaveInHand has a group get the first message when a backfill of it begins, and ack it then: it
// comes to the group no second time, as it would if it were taken out.
func TestABackfillWaitsForWhatGroupsHaveInHand(t *testing.T) {
	t.Parallel()
	const n = 6
	l := newLog(t, Projection())
	publishSome(t, l, n)
	got := subscribe(t, l, "reader", Documents)
	first := next(t, got)
	b := newBackfiller(l, 100)
	started := make(chan error, 1)
	go func() { started <- b.Start(t.Context(), Documents, []string{DocumentArchived{}.Contract()}, 0) }()
	const waits = `SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()`
	watchtest.Eventually(t, time.Minute, "it waits", func() (yes bool) {
		return len(started) > 0 || l.Pool.QueryRow(t.Context(), waits).Scan(&yes) == nil && yes
	})
	acked := make(chan string, 2*n)
	go func() { // it may get more before the backfill begins, and the rest when that has written it again
		for m := first; m != nil; m = <-got {
			m.Ack()
			acked <- m.Metadata.Get(MetaEvent)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	b.mustFinish(t)
	watchtest.Eventually(t, time.Minute, "the group has all that is there", func() bool {
		return len(acked) >= n && groupStatus(t, l, "reader").Lag == 0
	})
	for i, want := range recorded(t, l.Store, documentsOnly) {
		if event := <-acked; event != want.ID.String() {
			t.Fatalf("number %d that came is event %s, want %s", i, event, want.ID)
		}
	}
	if len(acked) > 0 {
		t.Errorf("%d messages more came", len(acked))
	}
}

// TestABackfillThatWasCutOffIsFinishedByANode starts one in a process that ends.
func TestABackfillThatWasCutOffIsFinishedByANode(t *testing.T) {
	t.Parallel()
	l := old(t, 10)
	b := newBackfiller(l, 2)
	b.mustStart(t, 0)
	if more, err := b.Step(t.Context()); err != nil || !more {
		t.Fatalf("a step: %t, %v", more, err)
	}
	if err := b.Start(t.Context(), Documents, nil, 0); !errors.Is(err, ErrBackfillRunning) {
		t.Errorf("another one beside it: %v, want %v", err, ErrBackfillRunning)
	}
	background(t, newBackfiller(l, 100).Run)
	watchtest.Eventually(t, time.Minute, "the node finishes it", func() bool {
		f, err := LastBackfill(t.Context(), l.Pool, Documents)
		return err == nil && f.DoneAt != nil
	})
	if got, want := songs(t, l), archivedAt(t, l); !slices.Equal(got, want) {
		t.Errorf("the messages are of %v, want %v", got, want)
	}
}

// TestABackfillIsLeftToProcessesThatHaveAllItsContracts has one of an older release find it, which has some of them: it passes over
// nothing, and goes on with another topic's.
func TestABackfillIsLeftToProcessesThatHaveAllItsContracts(t *testing.T) {
	t.Parallel()
	l := old(t, 5)
	b := newBackfiller(l, 100)
	if err := b.Start(t.Context(), Documents, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context(), Users, nil, 0); err != nil {
		t.Fatal(err)
	}
	older := NewBackfiller(l.Pool, l.Store, Catalog(), slog.New(slog.DiscardHandler))
	if more, err := older.Step(t.Context()); err == nil || !strings.Contains(err.Error(), sung{}.Contract()) || more {
		t.Errorf("a step of the older release: %t, %v; want an error that names the contract it lacks", more, err)
	}
	if f, err := LastBackfill(t.Context(), l.Pool, Users); err != nil || f.DoneAt == nil {
		t.Errorf("the other topic's backfill is %+v, %v; want it done", f, err)
	}
	b.mustFinish(t)
	if got, want := songs(t, l), archivedAt(t, l); !slices.Equal(got, want) {
		t.Errorf("the messages are of %v, want %v", got, want)
	}
}

// TestACancelledBackfillWritesWhatItOwesAndNoMore cancels one when live messages were taken out, and others were left to it.
func TestACancelledBackfillWritesWhatItOwesAndNoMore(t *testing.T) {
	t.Parallel()
	for name, unread := range map[string]int{"nothing was taken out": 0, "three were taken out": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := old(t, 20)
			p := projection(Version, grown())
			waiter := start(t, l, p)
			live := func(n int) (last int64) {
				for range n {
					last = mustAppend(t, l.Store, newStream("document"), events.DocumentArchived{})
				}
				wait(t, waiter, last, p)
				return last
			}
			live(1)
			hasRead(t, l.Pool, "reader", len(messages(t, l.Pool, Documents)), "")
			if unread > 0 {
				live(unread)
			}
			b := newBackfiller(l, 2)
			b.mustStart(t, 0)
			if _, err := b.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			live(4)
			if err := b.Cancel(t.Context(), Documents); err != nil {
				t.Fatal(err)
			}
			f := b.mustFinish(t)
			if f.CancelledAt == nil || f.Moved != int64(unread) || f.Written != int64(2+unread+4) {
				t.Errorf("the backfill says %+v, want it cancelled, and the 2 of the first step, %d and 4 written", f, unread)
			}
			live(1)
			all := archivedAt(t, l)
			past := len(all) - 4 - 1 - unread
			want := append([]int64{all[past-1]}, all[:2]...) // the one that was read, and the first step
			want = append(want, all[past:]...)
			if got := songs(t, l); !slices.Equal(got, want) {
				t.Errorf("the messages are of %v, want %v", got, want)
			}
			if err := b.Cancel(t.Context(), Documents); !errors.Is(err, ErrBackfillNone) {
				t.Errorf("cancelled again: %v, want %v", err, ErrBackfillNone)
			}
		})
	}
}

func TestABackfillThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	l := old(t, 1)
	b := newBackfiller(l, 10)
	for what, c := range map[string]struct {
		topic string
		names []string
		since int64
		want  error
	}{
		"no topic":              {"nosuch", nil, 0, ErrBackfillUnknown},
		"no contract":           {Documents, []string{"nosuch.v1"}, 0, ErrBackfillUnknown},
		"another topic's":       {Documents, []string{"user.registered.v1"}, 0, ErrBackfillUnknown},
		"a position to come":    {Documents, nil, 1000, ErrBackfillStart},
		"a position before all": {Documents, nil, -1, ErrBackfillStart},
	} {
		if err := b.Start(t.Context(), c.topic, c.names, c.since); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", what, err, c.want)
		}
	}
	if f, err := LastBackfill(t.Context(), l.Pool, Documents); err != nil || f != nil {
		t.Errorf("after refusals there is %+v, %v", f, err)
	}
}

// TestABackfillIsDoneOnlyWhereTheProjectionIs lets the projection move on between a backfill's look at it and its turn: what
// the projection left out then is the backfill's still.
func TestABackfillIsDoneOnlyWhereTheProjectionIs(t *testing.T) {
	t.Parallel()
	l := old(t, 1)
	b := newBackfiller(l, 100)
	b.mustStart(t, 0)
	turn, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeTurn(t.Context(), turn); err != nil {
		t.Fatal(err)
	}
	waiting := func(n int) {
		t.Helper()
		const q = `SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted`
		watchtest.Eventually(t, time.Minute, strconv.Itoa(n)+" wait for the turn", func() bool {
			var got int
			return l.Pool.QueryRow(t.Context(), q).Scan(&got) == nil && got == n
		})
	}
	mustAppend(t, l.Store, newStream("document"), events.DocumentArchived{})
	p := projection(Version, grown())
	waiter := start(t, l, p)
	waiting(1)
	stepped := make(chan error, 1)
	go func() {
		_, err := b.Step(t.Context())
		stepped <- err
	}()
	waiting(2)
	if err := turn.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-stepped; err != nil {
		t.Fatal(err)
	}
	b.mustFinish(t)
	last := mustAppend(t, l.Store, newStream("document"), events.DocumentArchived{})
	wait(t, waiter, last, p)
	if got, want := songs(t, l), archivedAt(t, l); !slices.Equal(got, want) {
		t.Errorf("the messages are of %v, want %v", got, want)
	}
}
