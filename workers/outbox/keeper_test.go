package outbox

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// keeping prunes at once, and lets any time between two rounds count.
var keeping = Options{Retention: -1, Interval: 10_000 * time.Hour}

// relayGroup is the group under which the relay keeps its place, by offset alone.
const relayGroup = "atlas.relay"

// newKeeper returns a keeper of the topic of documents, and what it logs.
func newKeeper(l *logtest.Log, o Options) (*Keeper, *watchtest.Output) {
	said := &watchtest.Output{}
	return NewKeeper(l.Pool, []string{Documents}, o, slog.New(slog.NewTextHandler(said, nil))), said
}

func (k *Keeper) mustKeep(t *testing.T) {
	t.Helper()
	if err := k.keep(t.Context(), Documents); err != nil {
		t.Fatal(err)
	}
}

// wantKept holds how many messages a keeper leaves.
func wantKept(t *testing.T, l *logtest.Log, o Options, want int) {
	t.Helper()
	k, _ := newKeeper(l, o)
	k.mustKeep(t)
	if got := messages(t, l.Pool, Documents); len(got) != want {
		t.Errorf("%d messages are left, want %d", len(got), want)
	}
}

// hasRead puts a group of the documents' readers at the nth message of those there are, or before the first.
func hasRead(t *testing.T, pool *pgxpool.Pool, group string, n int, transaction string) {
	t.Helper()
	const q = `
		INSERT INTO outbox.documents_offsets (consumer_group, offset_acked, last_processed_transaction_id)
		SELECT $1, coalesce(max("offset"), 0), coalesce(nullif($3, '')::xid8, max(transaction_id), '0')
		FROM (SELECT "offset", transaction_id FROM outbox.documents ORDER BY "offset" LIMIT $2) m
		ON CONFLICT (consumer_group) DO UPDATE
		SET offset_acked = excluded.offset_acked, last_processed_transaction_id = excluded.last_processed_transaction_id`
	if _, err := pool.Exec(t.Context(), q, group, n, transaction); err != nil {
		t.Fatal(err)
	}
}

// daysPass lets time pass for the groups as a keeper sees them.
func daysPass(t *testing.T, pool *pgxpool.Pool, days int) {
	t.Helper()
	const q = `UPDATE outbox.observed_groups SET observed_at = observed_at - make_interval(days => $1)`
	if _, err := pool.Exec(t.Context(), q, days); err != nil {
		t.Fatal(err)
	}
}

func groupStatus(t *testing.T, l *logtest.Log, name string) GroupStatus {
	t.Helper()
	all, err := Status(t.Context(), l.Pool, []string{Documents})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all[0].Groups {
		if g.Group == name {
			return g
		}
	}
	t.Fatalf("group %s is not in %+v", name, all[0].Groups)
	return GroupStatus{}
}

func TestWhatEveryGroupHasReadIsPrunedInBatches(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 12)
	o := keeping
	o.batch = 3
	k, _ := newKeeper(l, o)
	before := messages(t, l.Pool, Documents)
	hasRead(t, l.Pool, "fast", 12, "")
	hasRead(t, l.Pool, "slow", 7, "")
	hasRead(t, l.Pool, relayGroup, 9, "0") // which does not read by transactions
	k.mustKeep(t)
	if diff := cmp.Diff(before[7:], messages(t, l.Pool, Documents)); diff != "" {
		t.Errorf("what the slow group has not read (-want +got):\n%s", diff)
	}
	hasRead(t, l.Pool, "slow", 5, "") // of those that are left: all
	k.mustKeep(t)
	if got := messages(t, l.Pool, Documents); len(got) != 3 {
		t.Errorf("%d messages are left, want the 3 that the relay has not read", len(got))
	}
	if got := k.Pruned()[Documents]; got != 9 {
		t.Errorf("the keeper says it pruned %d messages, want 9", got)
	}
}

// TestANewGroupKeepsAllThereIs subscribes, and reads nothing yet.
func TestANewGroupKeepsAllThereIs(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 3)
	hasRead(t, l.Pool, "old", 3, "")
	subscribe(t, l, "new", Documents)
	wantKept(t, l, keeping, 3)
}

// TestAMessageThatAStockGroupReadsLateIsKept has a group that reads by transactions: what a transaction that began late
// wrote early comes after its place, though the offset is lower.
func TestAMessageThatAStockGroupReadsLateIsKept(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 3)
	mustExec(t, l.Pool, `UPDATE outbox.documents SET transaction_id = (1000 - "offset")::text::xid8`)
	hasRead(t, l.Pool, "stock", 2, "998")
	wantKept(t, l, keeping, 3)
}

func TestMessagesStayForGroupsToCome(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 3)
	hasRead(t, l.Pool, "reader", 3, "")
	mustExec(t, l.Pool, `UPDATE outbox.documents SET created_at = created_at - interval '25 hours' WHERE "offset" <= 2`)
	wantKept(t, l, Options{}, 1)
}

func TestAGroupThatStandsStillIsAbandonedAndToldSoWhenItComesBack(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 6)
	hasRead(t, l.Pool, "gone", 2, "")
	hasRead(t, l.Pool, "reader", 6, "")
	k, said := newKeeper(l, keeping)
	k.mustKeep(t)
	daysPass(t, l.Pool, 6)
	k.mustKeep(t)
	if got := messages(t, l.Pool, Documents); len(got) != 4 {
		t.Errorf("after six days %d messages are left, want the 4 that the group has not read", len(got))
	}
	daysPass(t, l.Pool, 1)
	k.mustKeep(t)
	if got := messages(t, l.Pool, Documents); len(got) != 0 {
		t.Errorf("after seven days %d messages are left, want none", len(got))
	}
	if g := groupStatus(t, l, "gone"); g.Abandoned == nil || g.Missed != 4 || g.Idle < 7*24*time.Hour {
		t.Errorf("the status is %+v, want abandoned with 4 messages missed", g)
	}
	if n := strings.Count(said.String(), "consumer group abandoned"); n != 1 {
		t.Errorf("the log tells of %d abandoned groups, want one:\n%s", n, said)
	}

	s, err := NewSubscriber(stdlib.OpenDBFromPool(l.Pool), "gone", watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Subscribe(t.Context(), Documents); err == nil || !strings.Contains(err.Error(), "atlas outbox drop-group documents gone") {
		t.Errorf("the group subscribes with %v, want an error that says what to do", err)
	}
	if err := DropGroup(t.Context(), l.Pool, Documents, "gone"); err != nil {
		t.Fatal(err)
	}
	if err := DropGroup(t.Context(), l.Pool, Documents, "gone"); !errors.Is(err, ErrNoGroup) {
		t.Errorf("dropped again: %v, want %v", err, ErrNoGroup)
	}
	got := subscribe(t, l, "gone", Documents)
	publishSome(t, l, 1)
	next(t, got).Ack()
}

func TestAGroupThatLivesIsNeverAbandoned(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 6)
	hasRead(t, l.Pool, "idle", 6, "")
	hasRead(t, l.Pool, "moving", 1, "")
	held := subscribe(t, l, "in-hand", Documents)
	m := next(t, held)
	k, said := newKeeper(l, keeping)
	k.mustKeep(t)
	for n := 2; n <= 4; n++ {
		daysPass(t, l.Pool, 30)
		hasRead(t, l.Pool, "moving", n, "")
		k.mustKeep(t)
	}
	publishSome(t, l, 1) // which the idle group has not read when it is looked at next
	hasRead(t, l.Pool, "moving", 5, "")
	k.mustKeep(t)
	if got := messages(t, l.Pool, Documents); len(got) != 7 || said.String() != "" {
		t.Errorf("%d messages are left, want all 7; the log says %q", len(got), said)
	}
	m.Ack()
}

func TestTimeInWhichNobodyLookedDoesNotCount(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 2)
	hasRead(t, l.Pool, "reader", 1, "")
	k, said := newKeeper(l, Options{Retention: -1})
	k.mustKeep(t)
	daysPass(t, l.Pool, 30)
	k.mustKeep(t)
	if g := groupStatus(t, l, "reader"); g.Abandoned != nil || g.Idle != watched*time.Minute {
		t.Errorf("the status is %+v, want %d minutes idle; the log says %q", g, watched, said)
	}
}

func TestAGroupFarBehindIsAbandonedSooner(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 6)
	hasRead(t, l.Pool, "far", 1, "")
	hasRead(t, l.Pool, "near", 3, "")
	o := keeping
	o.AbandonMessages, o.quiet = 4, time.Hour
	k, _ := newKeeper(l, o)
	k.mustKeep(t)
	if g := groupStatus(t, l, "far"); g.Abandoned != nil {
		t.Errorf("abandoned at the first look: %+v", g)
	}
	daysPass(t, l.Pool, 1)
	k.mustKeep(t)
	if far, near := groupStatus(t, l, "far"), groupStatus(t, l, "near"); far.Abandoned == nil || far.Missed != 2 || near.Abandoned != nil {
		t.Errorf("far: %+v, near: %+v; want far abandoned with the 2 missed that near has read", far, near)
	}
}

// TestPruningBesideReadersTakesNothingFromThem lets two keepers prune as fast as they can while two groups read.
func TestPruningBesideReadersTakesNothingFromThem(t *testing.T) {
	t.Parallel()
	const n = 60
	l := newLog(t, Projection())
	for range 2 {
		k, _ := newKeeper(l, Options{Retention: -1, Interval: time.Millisecond, batch: 2})
		background(t, k.Run)
	}
	a, b := subscribe(t, l, "a", Documents), subscribe(t, l, "b", Documents)
	publishSome(t, l, n)
	for name, got := range map[string][]string{"a": drain(t, a, n), "b": drain(t, b, n)} {
		want := recorded(t, l.Store, documentsOnly)
		for i, id := range got {
			if id != want[i].ID.String() {
				t.Fatalf("group %s got event %s as number %d, want %s", name, id, i, want[i].ID)
			}
		}
	}
	watchtest.Eventually(t, 30*time.Second, "all is pruned", func() bool { return len(messages(t, l.Pool, Documents)) == 0 })
}

func TestStatusTellsOfTopicsAndGroups(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 5)
	hasRead(t, l.Pool, "reader", 2, "")
	mustExec(t, l.Pool, `UPDATE outbox.documents SET created_at = created_at - interval '1 hour'`)
	all, err := Status(t.Context(), l.Pool, Topics(Catalog()))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Topic != Documents || all[1].Topic != Users || all[1].Messages != 0 || len(all[1].Groups) != 0 {
		t.Fatalf("got %+v, want documents, and users without messages", all)
	}
	d := all[0]
	if d.Messages != 5 || d.Oldest < time.Hour || d.Oldest > 2*time.Hour || len(d.Groups) != 1 {
		t.Errorf("got %+v, want 5 messages, the oldest an hour old", d)
	}
	if g := d.Groups[0]; g.Group != "reader" || g.Lag != 3 || g.LagTime < time.Hour || g.Abandoned != nil {
		t.Errorf("got %+v, want 3 messages of an hour's age behind", g)
	}
}

// TestWhatIsThereDrawsNoOffset replays the outbox: offsets tell how many messages lie between them.
func TestWhatIsThereDrawsNoOffset(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 3)
	again := projection(Version+1, Catalog())
	prepare(t, l.Pool, again)
	waiter := start(t, l, again)
	wait(t, waiter, mustAppend(t, l.Store, newStream("document"), document("x")), again)
	got := messages(t, l.Pool, Documents)
	if len(got) != 4 || got[3].Offset != got[0].Offset+3 {
		t.Errorf("got offsets %d to %d for %d messages, want no gaps", got[0].Offset, got[len(got)-1].Offset, len(got))
	}
}
