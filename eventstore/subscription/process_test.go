package subscription

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
)

var whole = flag.Bool("whole", false, "kill workers at 100 moments instead of 10, and run Watermill's suite at full length")

// victimVariable makes the test binary a process that works for group g of the database it names, until it is killed.
const victimVariable = "SUBSCRIPTION_TEST_VICTIM"

// victimLease should not end by itself on a loaded machine.
const victimLease = 4 * time.Second

// deliveries is what the victims did: every message that was handed to a handler, when it began by its own clock, and by the
// database's when it had come there and when it was done.
const deliveries = `
	CREATE TABLE deliveries (
		id       bigserial PRIMARY KEY,
		process  text NOT NULL,
		slot     integer NOT NULL,
		stream   text NOT NULL,
		version  bigint NOT NULL,
		position bigint NOT NULL,
		entered  timestamptz NOT NULL,
		started  timestamptz NOT NULL DEFAULT clock_timestamp(),
		ended    timestamptz
	);
	CREATE INDEX ON deliveries (stream, id);
	CREATE INDEX ON deliveries (process)`

func runVictim(url string) {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	process := fmt.Sprint(os.Getpid())
	node, err := openNode(ctx, url, log, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["application_name"] = "atlas-" + process })
	if err != nil {
		panic(err)
	}
	pool := node.pool
	o := quick(Options{Concurrency: 8, Lease: victimLease})
	err = node.Consume(ctx, documents("g"), o, func(ctx context.Context, e *eventstore.Recorded) error {
		const begin = `
			INSERT INTO deliveries (process, slot, stream, version, position, entered) VALUES ($1, $2, $3, $4, $5, $6)
			RETURNING id`
		entered := time.Now()
		if err := Live(ctx); err != nil {
			return err
		}
		var id int64
		if err := pool.QueryRow(ctx, begin, process, SlotOf(e.Stream), e.Stream.String(), e.Version, e.Position, entered).Scan(&id); err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		_, err := pool.Exec(context.WithoutCancel(ctx), `UPDATE deliveries SET ended = clock_timestamp() WHERE id = $1`, id)
		return err
	})
	panic(err)
}

// openNode opens the log as a process does that nothing personal is written by, with its tail running until ctx ends.
func openNode(ctx context.Context, url string, log *slog.Logger, options ...postgres.Option) (*Log, error) {
	pool, err := postgres.Connect(ctx, url, options...)
	if err != nil {
		return nil, err
	}
	vocabulary, err := events.NewVocabulary(events.Catalog()...)
	if err != nil {
		return nil, err
	}
	store := eventstore.New(pool, vocabulary, nothingSealed{})
	waker := eventstore.NewWaker(store, log)
	tail := eventstore.NewTail(store, waker, log)
	go func() { _ = waker.Run(ctx) }()
	go func() { _ = tail.Run(ctx) }()
	return New(pool, store, tail, log), nil
}

// nothingSealed serves a log without personal data.
type nothingSealed struct{}

var errSealed = errors.New("this log should hold nothing personal")

func (nothingSealed) Seal(context.Context, []*eventstore.Envelope) error { return errSealed }
func (nothingSealed) Open(context.Context, []*eventstore.Envelope) error { return errSealed }

// startVictim starts a process whose sessions carry its name.
func startVictim(t *testing.T, l *logtest.Log) *exec.Cmd {
	t.Helper()
	victim := exec.CommandContext(t.Context(), os.Args[0])
	victim.Env = append(os.Environ(), victimVariable+"="+l.URL)
	victim.Stderr = t.Output()
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	return victim
}

func name(victim *exec.Cmd) string { return fmt.Sprint(victim.Process.Pid) }

func newVictims(t *testing.T, n int) (*logtest.Log, *Log, []*exec.Cmd) {
	t.Helper()
	l, subscriptions := newLog(t)
	mustExec(t, l, deliveries)
	if err := subscriptions.Create(t.Context(), documents("g")); err != nil {
		t.Fatal(err)
	}
	victims := make([]*exec.Cmd, n)
	for i := range victims {
		victims[i] = startVictim(t, l)
	}
	return l, subscriptions, victims
}

func mustExec(t *testing.T, l *logtest.Log, sql string, args ...any) {
	t.Helper()
	if _, err := l.Pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func query[T any](t *testing.T, l *logtest.Log, sql string, args ...any) []T {
	t.Helper()
	rows, err := l.Pool.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// unrecorded returns the positions that a process was given and that are not recorded as done: what may come again.
func unrecorded(t *testing.T, l *logtest.Log, process string) []int64 {
	t.Helper()
	return query[int64](t, l, `
		SELECT d.position FROM deliveries d
		JOIN atlas.subscription_slots s ON s.subscription = 'g' AND s.slot = d.slot
		LEFT JOIN atlas.subscription_held h ON h.subscription = 'g' AND h.stream = d.stream AND h.position <= d.position
		WHERE d.process = $1 AND (h.stream IS NOT NULL OR d.position > s.position AND d.position <> ALL (s.acked))`, process)
}

// TestKilledWorkersLoseNothing kills one of three processes after the other, with SIGKILL, while they work. Nothing is lost,
// nothing comes out of order in its stream, never are two messages of a stream in hand in two processes that live, and
// nothing comes again but what was in hand or not recorded when a process was killed.
func TestKilledWorkersLoseNothing(t *testing.T) {
	t.Parallel()
	kills, each := 10, 300
	if *whole {
		kills, each = 100, 200
	}
	l, subscriptions, victims := newVictims(t, 3)
	streams := newStreams(50)
	mayRepeat := map[int64]int{}
	written := 0
	for kill := range kills {
		for range each / len(streams) {
			writeTo(t, l, streams, 1)
		}
		written += each
		seen := query[int64](t, l, `SELECT count(*) FROM deliveries`)[0]
		// Not so much that the slots of the one that was killed before must be taken over first: it is not waited for.
		enough := min(seen+int64(rand.IntN(each/3)), int64(written)-int64(each/3))
		eventually(t, "they work", func() bool { return query[int64](t, l, `SELECT count(*) FROM deliveries`)[0] >= enough })
		i := kill % len(victims)
		end(t, victims[i])
		const sessions = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`
		eventually(t, "its sessions are gone", func() bool { return query[int64](t, l, sessions, "atlas-"+name(victims[i]))[0] == 0 })
		for _, position := range unrecorded(t, l, name(victims[i])) {
			mayRepeat[position]++
		}
		victims[i] = startVictim(t, l)
	}
	settled(t, subscriptions, "g", writeTo(t, l, streams, 1))
	written += len(streams)
	for _, v := range victims {
		end(t, v)
	}
	for _, s := range streams {
		versions := query[int64](t, l, `SELECT version FROM deliveries WHERE stream = $1 ORDER BY id`, s.String())
		wantNoneSkipped(t, s, versions, int64(written/len(streams)))
	}
	wantNeverBeside(t, l)
	repeated := 0
	for _, row := range query[string](t, l, `SELECT position || ' ' || count(*) - 1 FROM deliveries GROUP BY position HAVING count(*) > 1`) {
		var position int64
		var n int
		if _, err := fmt.Sscan(row, &position, &n); err != nil {
			t.Fatal(err)
		}
		repeated += n
		if n > mayRepeat[position] {
			t.Errorf("position %d came %d times again, want %d at most: it was recorded as done", position, n, mayRepeat[position])
		}
	}
	allowed := 0
	for _, n := range mayRepeat {
		allowed += n
	}
	t.Logf("%d messages, %d kills: %d came again, %d were in hand or not recorded", written, kills, repeated, allowed)
}

// wantNeverBeside holds that of no stream two messages were in hand at once.
func wantNeverBeside(t *testing.T, l *logtest.Log) {
	t.Helper()
	beside := query[string](t, l, `
		SELECT format('%s: version %s in %s was begun at %s, and one before it ended at %s', stream, version, process, started, until)
		FROM (SELECT *, max(ended) OVER (PARTITION BY stream ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until
			FROM deliveries) d
		WHERE started < until
		LIMIT 5`)
	if len(beside) > 0 {
		t.Errorf("two messages of a stream were in hand at once:\n%s", strings.Join(beside, "\n"))
	}
}

// end kills a process and reaps it.
func end(t *testing.T, victim *exec.Cmd) {
	t.Helper()
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
}

// TestAProcessStoppedPastItsLeaseComesBackHarmless stops one of two processes in the middle of its work, lets the other take
// everything over, and continues it.
func TestAProcessStoppedPastItsLeaseComesBackHarmless(t *testing.T) {
	t.Parallel()
	l, subscriptions, victims := newVictims(t, 2)
	stopped, other := victims[0], victims[1]
	streams := newStreams(60)
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := stopped.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	busy := func(v *exec.Cmd) bool {
		return query[int64](t, l, `SELECT count(*) FROM deliveries WHERE process = $1`, name(v))[0] > 20
	}
	rounds := 0
	more := func(n int) (last int64) {
		for range n {
			last = writeTo(t, l, streams, 1)
		}
		rounds += n
		return last
	}
	eventually(t, "both work", func() bool { more(1); return busy(stopped) && busy(other) })
	more(20) // so that there is work in hand and in memory
	signal(syscall.SIGSTOP)
	t.Cleanup(func() { _ = stopped.Process.Signal(syscall.SIGCONT) })
	settled(t, subscriptions, "g", more(1))
	before := query[int64](t, l, `SELECT max(id) FROM deliveries`)[0]
	continued := time.Now()
	signal(syscall.SIGCONT)
	const begun = `SELECT count(*) FROM deliveries WHERE process = $1 AND id > $2`
	eventually(t, "it works again", func() bool { more(1); return query[int64](t, l, begun, name(stopped), before)[0] > 0 })
	settled(t, subscriptions, "g", more(1))
	end(t, stopped)
	end(t, other)
	for _, s := range streams {
		versions := query[int64](t, l, `SELECT version FROM deliveries WHERE stream = $1 ORDER BY id`, s.String())
		wantNoneSkipped(t, s, versions, int64(rounds))
	}
	// A handler that was stopped on its way to the database goes on there: nobody can take its effect from it.
	again := query[int64](t, l, `
		SELECT a.position FROM deliveries a
		WHERE a.process = $1 AND a.id > $2 AND a.entered >= $3
			AND EXISTS (SELECT FROM deliveries b WHERE b.position = a.position AND b.id <= $2)`,
		name(stopped), before, continued)
	if len(again) > 0 {
		t.Errorf("when it came back it began with positions %v, which the other had done", again)
	}
}

// TestTheSlotsOfAKilledProcessGoToTheOthersWhenItsLeaseEnds kills one of two. The other looks five times in a lease's time:
// with the default that is within five seconds of the kill.
func TestTheSlotsOfAKilledProcessGoToTheOthersWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	_, subscriptions, victims := newVictims(t, 2)
	var leaseEnds time.Time
	eventually(t, "the two share the slots", func() bool {
		s := mustShow(t, subscriptions, "g")
		for _, m := range s.Members {
			if strings.HasSuffix(m.Label, "/"+name(victims[0])) {
				leaseEnds = m.ExpiresAt
			}
		}
		return len(s.Members) == 2 && s.Members[0].Slots == Slots/2 && s.Members[1].Slots == Slots/2
	})
	killed := time.Now()
	end(t, victims[0])
	eventually(t, "the other has them all", func() bool {
		s := mustShow(t, subscriptions, "g")
		return len(s.Members) == 1 && s.Members[0].Slots == Slots
	})
	if taken := time.Now(); taken.Before(leaseEnds) {
		t.Errorf("its slots were taken %v before its lease ended", leaseEnds.Sub(taken))
	}
	t.Logf("taken over %v after the kill", time.Since(killed).Round(time.Millisecond))
	if lease := (Options{}).withDefaults().Lease; lease+lease/5 > 5*time.Second {
		t.Errorf("with a lease of %v a takeover may last longer than five seconds", lease)
	}
}
