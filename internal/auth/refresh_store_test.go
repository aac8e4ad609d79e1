package auth

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// counters is a store on a database of its own, with one session to refresh.
type counters struct {
	*RefreshStore
	t       *testing.T
	pool    *pgxpool.Pool
	session uuid.UUID
}

func newCounters(t *testing.T) *counters {
	t.Helper()
	pool := pgtest.NewPool(t, postgres.MigrationSet{Name: "auth", FS: Migrations()})
	return &counters{RefreshStore: NewRefreshStore(newRefresh(t), pool), t: t, pool: pool, session: uuid.New()}
}

// present presents the token of a counter and wants an outcome, with the token of another counter or (-1) none.
func (c *counters) present(counter uint64, want Outcome, current int) {
	c.t.Helper()
	got, err := c.Rotate(c.t.Context(), c.session, counter)
	if err != nil {
		c.t.Fatal(err)
	}
	wanted := Rotation{Outcome: want}
	if current >= 0 {
		wanted.Token = c.refresh.Mint(c.session, uint64(current))
	}
	if got != wanted {
		c.t.Errorf("presenting %d: got %s with %q, want %s with %q", counter, got.Outcome, got.Token.Reveal(), want, wanted.Token.Reveal())
	}
}

// age lets time go by: the database's clock is not ours to set, so the row grows older instead.
func (c *counters) age(d time.Duration) {
	c.t.Helper()
	const q = `UPDATE atlas.refresh_counters SET rotated_at = rotated_at - $2::interval, late_at = late_at - $2::interval WHERE session_id = $1`
	if _, err := c.pool.Exec(c.t.Context(), q, c.session, d); err != nil {
		c.t.Fatal(err)
	}
}

func TestCurrentTokenRotates(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	c.present(0, Rotated, 1)
	c.present(1, Rotated, 2)
	c.age(RefreshIdle - time.Minute)
	c.present(2, Rotated, 3)
}

func TestTokenJustReplacedIsAnsweredAlikeAndMovesNothing(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	c.present(0, Rotated, 1)
	c.present(0, Replayed, 1)
	c.age(29 * time.Second)
	c.present(0, Replayed, 1) // a replay does not prolong the grace …
	c.age(2 * time.Second)
	c.present(0, Late, 1) // … which is over now
	c.present(1, Rotated, 2)
}

func TestLateTokenIsAnsweredOncePerDay(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	c.present(0, Rotated, 1)
	c.age(31 * time.Second)
	c.present(0, Late, 1)
	c.present(0, Reused, -1)
	c.age(23 * time.Hour)
	c.present(0, Reused, -1)
	c.age(time.Hour)
	c.present(0, Late, 1)
}

// The day is counted for the session, not for one token: a thief who always comes second is found on the second visit.
func TestRotationDoesNotGrantAnotherLateAnswer(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	c.present(0, Rotated, 1)
	c.age(time.Minute)
	c.present(0, Late, 1)
	c.present(1, Rotated, 2)
	c.present(1, Replayed, 2)
	c.age(time.Minute)
	c.present(1, Reused, -1)
}

func TestAnyOtherCounterIsReuse(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	c.present(4, Reused, -1) // authentic, but nothing is known of it
	c.present(0, Rotated, 1)
	c.present(1, Rotated, 2)
	c.present(2, Rotated, 3)
	for _, counter := range []uint64{0, 1, 4, 5, 1<<63 - 2} {
		c.present(counter, Reused, -1)
	}
	c.present(3, Rotated, 4)
}

func TestUnknownCounterLeavesNoRow(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	c.present(1, Reused, -1)
	var n int
	if err := c.pool.QueryRow(t.Context(), "SELECT count(*) FROM atlas.refresh_counters").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows, %v; want none", n, err)
	}
}

func TestIdleSessionExpires(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	c.present(0, Rotated, 1)
	c.age(RefreshIdle + time.Second)
	c.present(1, Expired, -1)
	c.present(0, Expired, -1)
	c.present(2, Reused, -1)
}

func TestOutcomesHaveTheirFaults(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[Outcome]error{
		Rotated: nil, Replayed: nil, Late: nil, Reused: ErrRefreshTokenReused, Expired: ErrRefreshTokenExpired,
	} {
		if got := outcome.Err(); !errors.Is(got, want) {
			t.Errorf("%s: got %v, want %v", outcome, got, want)
		}
	}
}

// Fifty tabs wake up at once with one token: from a session's first token, and from a later one.
func TestConcurrentRefreshesRotateOnceAndAnswerAlike(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	for counter := range uint64(5) {
		outcomes, tokens := c.presentAtOnce(counter, 50)
		if diff := cmp.Diff(map[Outcome]int{Rotated: 1, Replayed: 49}, outcomes); diff != "" {
			t.Errorf("counter %d: %s", counter, diff)
		}
		if want := []Secret{c.refresh.Mint(c.session, counter+1)}; !slices.Equal(tokens, want) {
			t.Errorf("counter %d: %d different answers, want the one new token", counter, len(tokens))
		}
	}
}

// presentAtOnce presents a token n times at the same moment and returns how often each outcome came, and the answers.
func (c *counters) presentAtOnce(counter uint64, n int) (map[Outcome]int, []Secret) {
	outcomes, answers := map[Outcome]int{}, map[Secret]bool{}
	var mu sync.Mutex
	var group sync.WaitGroup
	start := make(chan struct{})
	for range n {
		group.Go(func() {
			<-start
			got, err := c.Rotate(c.t.Context(), c.session, counter)
			if err != nil {
				c.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[got.Outcome]++
			answers[got.Token] = true
		})
	}
	close(start)
	group.Wait()
	return outcomes, slices.Collect(maps.Keys(answers))
}

// The race in slow motion: the second request is inside the statement while the first has not committed.
func TestSecondRequestWaitsForTheFirstAndGetsItsAnswer(t *testing.T) {
	t.Parallel()
	for name, counter := range map[string]uint64{"first rotation": 0, "later rotation": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCounters(t)
			for n := range counter {
				c.present(n, Rotated, int(n)+1)
			}
			tx := c.begin()
			first, err := NewRefreshStore(c.refresh, tx).Rotate(t.Context(), c.session, counter)
			if err != nil {
				t.Fatal(err)
			}
			second := make(chan Rotation)
			go func() {
				got, err := c.Rotate(t.Context(), c.session, counter)
				if err != nil {
					t.Error(err)
				}
				second <- got
			}()
			c.awaitWaiter()
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := <-second; first.Outcome != Rotated || got.Outcome != Replayed || got.Token != first.Token {
				t.Errorf("first %s, second %s, same token %v; want rotated, replayed, true", first.Outcome, got.Outcome, got.Token == first.Token)
			}
		})
	}
}

func TestRolledBackRotationNeverHappened(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	tx := c.begin()
	if _, err := NewRefreshStore(c.refresh, tx).Rotate(t.Context(), c.session, 0); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.present(0, Rotated, 1)
}

func (c *counters) begin() pgx.Tx {
	c.t.Helper()
	tx, err := c.pool.Begin(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// awaitWaiter returns when a session of this database waits for a lock.
func (c *counters) awaitWaiter() {
	c.t.Helper()
	const q = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`
	for waiting := false; !waiting; {
		if err := c.pool.QueryRow(c.t.Context(), q).Scan(&waiting); err != nil {
			c.t.Fatal(err)
		}
	}
}

func TestPruneRemovesOnlyWhatOutlivedItsSession(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	c.present(0, Rotated, 1)
	c.age(RefreshLifetime + time.Minute)
	c.session = uuid.New()
	c.present(0, Rotated, 1)
	c.age(RefreshLifetime - time.Minute)

	if _, err := c.Prune(t.Context(), RefreshLifetime-time.Second); err == nil {
		t.Error("a counter may be forgotten while its session lives")
	}
	if n, err := c.Prune(t.Context(), RefreshLifetime); n != 1 || err != nil {
		t.Errorf("pruned %d, %v; want 1", n, err)
	}
	c.present(1, Expired, -1)
}

func TestFailureIsNotAnOutcome(t *testing.T) {
	t.Parallel()
	c := newCounters(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := c.Rotate(ctx, c.session, 0); got != (Rotation{}) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %s, %v; want no outcome, context.Canceled", got.Outcome, err)
	}
}
