package subscription

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
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
		got, err := q.leaseStreams(t.Context(), "q", Ask{Most: 1, Lease: aLease})
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
