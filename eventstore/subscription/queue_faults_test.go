package subscription

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// TestANodeKilledBeforeAMessageWasOutDelaysItBySeconds leases streams as a node does that is killed then, for ten minutes.
func TestANodeKilledBeforeAMessageWasOutDelaysItBySeconds(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t, func(q *Queue) { q.Retry.Attempts = 1 })
	write(t, l, newStream(), 1)
	eventually(t, "the stream is leased", func() bool {
		if _, err := q.feeder("q").await(t.Context(), time.Second); err != nil { // so that the log is taken in
			t.Fatal(err)
		}
		got, err := q.leaseStreams(t.Context(), "q", uuid.Nil, 1)
		return err == nil && len(got.Streams) == 1
	})
	const soon = `SELECT next_at < clock_timestamp() + interval '1 minute' FROM atlas.subscription_queued`
	if got := query[bool](t, l, soon); len(got) != 1 || !got[0] {
		t.Errorf("nobody has the message, and it comes again when a lease is over: %v", got)
	}
	expire(t, l)
	m := lease(t, q, 1)[0]
	if m.Attempt != 1 {
		t.Errorf("nobody was given the message before, and it is attempt %d", m.Attempt)
	}
	if m.Until.Before(time.Now().Add(aLease / 2)) {
		t.Errorf("the lease ends at %v, long before what was asked for", m.Until)
	}
}

// TestWhoWaitsDoesNotGetWhatAnotherOwnersQueueOfTheNameHolds: the queue that somebody waits for is deleted, and another key
// takes its name.
func TestWhoWaitsDoesNotGetWhatAnotherOwnersQueueOfTheNameHolds(t *testing.T) {
	t.Parallel()
	former, heir := uuid.New(), uuid.New()
	l, q := newQueue(t, func(q *Queue) { q.Owner = former })
	theirs := Queue{Definition: documents("q"), Owner: heir}
	theirs.Filter = sorted(theirs.Filter)
	ended := make(chan error, 1)
	go func() {
		got, err := q.Lease(t.Context(), "q", Ask{Owner: former, Most: 1, Lease: aLease, Wait: time.Hour})
		if len(got) > 0 {
			err = errors.New("it was given a message")
		}
		ended <- err
	}()
	eventually(t, "it waits", func() bool { return q.feeder("q").waiters() == 1 })
	err := pgx.BeginFunc(t.Context(), l.Pool, func(tx pgx.Tx) error { // at once, so that the feeder does not see it gone
		if _, err := tx.Exec(t.Context(), `DELETE FROM atlas.subscriptions`); err != nil {
			return err
		}
		if _, err := makeGroup(t.Context(), tx, theirs.Definition, 0, 1); err != nil {
			return err
		}
		return insertQueue(t.Context(), tx, theirs)
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, l, newStream(), 1)
	if err := receive(t, ended); !errors.Is(err, ErrNotFound) {
		t.Errorf("who waited for the former queue: %v", err)
	}
	if got, err := q.Lease(t.Context(), "q", Ask{Owner: heir, Most: 1, Lease: aLease, Wait: patience}); err != nil || len(got) != 1 {
		t.Errorf("the heir gets %d messages, %v", len(got), err)
	}
}

// TestAGroupIsDeletedWhileAnAnswerParksAMessage has both go on as far as they can before the other.
func TestAGroupIsDeletedWhileAnAnswerParksAMessage(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	deleted := make(chan error, 1)
	err := pgx.BeginFunc(t.Context(), l.Pool, func(tx pgx.Tx) error {
		const begin = `SELECT FROM atlas.subscription_slots WHERE subscription = 'q' AND slot = 0 FOR KEY SHARE`
		if _, err := tx.Exec(t.Context(), begin); err != nil {
			return err
		}
		go func() { deleted <- q.Delete(t.Context(), "q") }()
		const waits = `SELECT count(*) FROM pg_locks w JOIN pg_stat_activity a USING (pid) WHERE NOT w.granted AND a.datname = current_database()`
		eventually(t, "the deletion waits for the answer", func() bool { return query[int64](t, l, waits)[0] > 0 })
		const park = `
			INSERT INTO atlas.subscription_parked (subscription, position, slot, stream, version, event, type, attempts, error)
			VALUES ('q', 1, 0, $1, 1, $2, 'document.created', 1, '')`
		_, err := tx.Exec(t.Context(), park, newStream().String(), uuid.New())
		return err
	})
	if err != nil {
		t.Errorf("the answer: %v", err)
	}
	if err := receive(t, deleted); err != nil {
		t.Errorf("the deletion: %v", err)
	}
}

// TestOldAnswersAreDroppedByAnyNumberOfNodesAtOnce: those of leases that are out still are kept.
func TestOldAnswersAreDroppedByAnyNumberOfNodesAtOnce(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	for range 4 {
		write(t, l, newStream(), 1)
	}
	got := lease(t, q, 4)
	for _, m := range got[:3] {
		done(t, q, m)
	}
	mustExec(t, l, `UPDATE atlas.subscription_leases SET expires_at = now() - interval '1 hour'`)
	err := pgx.BeginFunc(t.Context(), l.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `DELETE FROM atlas.subscription_leases WHERE lease = $1`, got[0].Token); err != nil {
			return err
		}
		n, err := q.feeder("q").drop()
		if n != 2 {
			t.Errorf("beside another who drops one, %d are dropped; want 2", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if left := query[uuid.UUID](t, l, `SELECT lease FROM atlas.subscription_leases`); len(left) != 1 || left[0] != got[3].Token {
		t.Errorf("%d leases are left, want the one that is out", len(left))
	}
}

// TestReplaysThatAreAskedForAfterAResetCome: nodes that take the log in learn of it.
func TestReplaysThatAreAskedForAfterAResetCome(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	had, err := q.Queue(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	write(t, l, newStream(), 1)
	done(t, q, lease(t, q, 1)[0])
	if err := q.Reset(t.Context(), "q", Now(), false); err != nil {
		t.Fatal(err)
	}
	nothing(t, q, "behind the reset") // and the node knows its place anew, without replays
	had.Replays = true
	if _, err := q.CreateQueue(t.Context(), had); err != nil {
		t.Fatal(err)
	}
	stands := query[int64](t, l, `SELECT epoch FROM atlas.subscription_slots`)[0]
	eventually(t, "the node learns of it", func() bool {
		nothing(t, q, "before there is any")
		f := q.feeder("q")
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.turn == stands
	})
}

// TestAMessageThatFailsForeverIsTriedAsOftenAsItMay: the pause is bounded however large its parts are.
func TestAMessageThatFailsForeverIsTriedAsOftenAsItMay(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	l, q := newQueue(t, func(q *Queue) { q.Retry = Retry{First: day, Max: day, Attempts: -1} })
	write(t, l, newStream(), 1)
	m := lease(t, q, 1)[0]
	mustExec(t, l, `UPDATE atlas.subscription_queued SET attempts = 1000`)
	if !answer(t, q, Answer{Token: m.Token, Error: "no"}) {
		t.Error("the answer does not count")
	}
	const again = `SELECT next_at BETWEEN now() + interval '19 hours' AND now() + interval '29 hours' FROM atlas.subscription_queued`
	if got := query[bool](t, l, again); len(got) != 1 || !got[0] {
		t.Errorf("it does not come again after a day: %v", got)
	}
}

// TestAQueueSurvivesACrashOfTheServer kills the server with leases out and answers under way, of three workers at two nodes.
// A worker that does not learn whether an answer counted repeats it, as over HTTP.
func TestAQueueSurvivesACrashOfTheServer(t *testing.T) {
	t.Parallel()
	const streams, each = 30, 8
	server := pgtest.StartServer(t)
	l := logtest.On(t, server.URL(), Migrations())
	nodes := []*Log{on(l), on(l.Node(t))}
	of := Queue{Definition: documents("q"), Retry: Retry{First: time.Millisecond, Max: time.Millisecond, Attempts: -1}}
	if _, err := nodes[0].CreateQueue(t.Context(), of); err != nil {
		t.Fatal(err)
	}
	var g crashLedger
	ctx, stop := context.WithTimeout(t.Context(), 3*patience)
	defer stop()
	var workers sync.WaitGroup
	for i := range 3 {
		workers.Go(func() {
			for n := i; g.counted() < streams*each && ctx.Err() == nil; n++ {
				known := g.known()
				got, err := nodes[n%2].Lease(ctx, "q", Ask{Most: 5, Lease: 2 * time.Second, Wait: time.Second})
				if err != nil {
					continue // what it may have leased comes again
				}
				for _, m := range got {
					g.took(t, m, known)
					counts, err := nodes[(n+1)%2].Answer(ctx, "q", uuid.Nil, []Answer{{Token: m.Token, Done: true}})
					for err != nil && ctx.Err() == nil {
						counts, err = nodes[n%2].Answer(ctx, "q", uuid.Nil, []Answer{{Token: m.Token, Done: true}})
					}
					g.gave(m, err == nil && counts[0])
				}
			}
		})
	}
	all := newStreams(streams)
	writeTo(t, l, all, each/2)
	eventually(t, "the workers are at it", func() bool { return g.counted() > streams })
	server.Kill()
	server.Restart()
	eventually(t, "the server answers again", func() bool { return l.Pool.Ping(t.Context()) == nil })
	writeTo(t, l, all, each/2)
	workers.Wait()
	if got := g.counted(); got != streams*each {
		t.Errorf("%d messages were done, want %d", got, streams*each)
	}
	if left := query[string](t, l, `SELECT stream FROM atlas.subscription_queued`); len(left) > 0 {
		t.Errorf("%d streams are left", len(left))
	}
}

// crashLedger is what workers have said to be done, and what they know to count.
type crashLedger struct {
	mu           sync.Mutex
	said, counts map[eventstore.Stream]int64
}

func (g *crashLedger) known() map[eventstore.Stream]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.counts)
}

// took holds that a message handed out to who knew that much is the next one of its stream: none that is known to be done,
// and none behind one of which nobody has said so. It is said to be done from now on, since its answer is on its way.
func (g *crashLedger) took(t *testing.T, m Leased, known map[eventstore.Stream]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.said == nil {
		g.said, g.counts = map[eventstore.Stream]int64{}, map[eventstore.Stream]int64{}
	}
	stream := m.Event.Stream
	if least, most := known[stream]+1, g.said[stream]+1; at(m) < least || at(m) > most {
		t.Errorf("version %d of %s was handed out, want one from %d to %d", at(m), stream, least, most)
	}
	g.said[stream] = max(g.said[stream], at(m))
}

func (g *crashLedger) gave(m Leased, counts bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if counts {
		g.counts[m.Event.Stream] = max(g.counts[m.Event.Stream], at(m))
	}
}

func (g *crashLedger) counted() (total int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, version := range g.counts {
		total += int(version)
	}
	return total
}
