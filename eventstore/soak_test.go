package eventstore_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

var soakFor = flag.Duration("soak", 0, "how long TestSoak runs, such as 10m")

// soak is a log under writers, readers and faults.
type soak struct {
	t       *testing.T
	server  *pgtest.Server
	l       *logtest.Log
	nodes   []*logtest.Log
	streams []eventstore.Stream

	mu    sync.Mutex
	acked map[int64]bool // last positions of appends that were answered

	rolledBack, refused atomic.Int64
}

// TestSoak runs six writers on two nodes against three readers while the server suffers one fault after another, and
// counts what the readers missed.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("-soak=10m runs it")
	}
	server := pgtest.StartServer(t)
	l := logtest.On(t, server.URL())
	s := &soak{t: t, server: server, l: l, nodes: []*logtest.Log{l, l.Node(t)}, acked: map[int64]bool{}}
	for range 40 {
		s.streams = append(s.streams, newStream())
	}
	if _, err := l.Pool.Exec(t.Context(), `CREATE TABLE checkpoint AS SELECT 0::bigint AS position`); err != nil {
		t.Fatal(err)
	}
	watch(t, l, 2*time.Second)
	reading, stopReading := context.WithCancel(t.Context())
	writing, stopWriting := context.WithCancel(t.Context())
	found := make([][]int64, 3)
	var reached [3]atomic.Int64
	var readers, writers sync.WaitGroup
	readers.Go(func() { found[0] = s.tail(reading, s.nodes[0], &reached[0]) })
	readers.Go(func() { found[1] = s.tail(reading, s.nodes[1], &reached[1]) })
	readers.Go(func() { found[2] = s.poll(reading, &reached[2]) })
	for w := range 6 {
		writers.Go(func() { s.write(writing, s.nodes[w%2]) })
	}
	faults := s.faults(time.Now().Add(*soakFor))
	stopWriting()
	writers.Wait()
	awaitServer(t, l)
	truth := s.truth()
	last := truth[len(truth)-1]
	watchtest.Holds(time.Minute, func() bool { // who has not come so far is told below
		return reached[0].Load() >= last && reached[1].Load() >= last && reached[2].Load() >= last
	})
	stopReading()
	readers.Wait()
	s.report(faults, truth, found)
}

// write appends until ctx ends, with and without a transaction of its own, some of which are slow or rolled back.
func (s *soak) write(ctx context.Context, l *logtest.Log) {
	for ctx.Err() == nil {
		stream := s.streams[rand.IntN(len(s.streams))]
		if rand.IntN(4) == 0 {
			stream = newStream()
		}
		var list []events.Event
		for range 1 + rand.IntN(4) {
			list = append(list, events.DocumentArchived{})
		}
		write := eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: list}
		position, err := s.append(ctx, l, write)
		switch {
		case err != nil:
			s.refused.Add(1)
		case position > 0:
			s.mu.Lock()
			s.acked[position] = true
			s.mu.Unlock()
		}
	}
}

func (s *soak) append(ctx context.Context, l *logtest.Log, w eventstore.Write) (int64, error) {
	if rand.IntN(4) > 0 {
		o, err := l.Store.Append(ctx, w)
		return o.Position(), err
	}
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	o, err := l.Store.AppendTx(ctx, tx, w)
	if err != nil {
		return 0, err
	}
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	if rand.IntN(3) == 0 {
		s.rolledBack.Add(1)
		return 0, tx.Rollback(ctx)
	}
	return o.Position(), tx.Commit(ctx)
}

// tail follows the log and goes on from the last event it has seen whenever the tail begins anew.
func (s *soak) tail(ctx context.Context, l *logtest.Log, reached *atomic.Int64) (list []int64) {
	r := l.Tail.From(0, eventstore.Filter{})
	for {
		b, err := r.Next(ctx, 500)
		list = append(list, positions(b.Events)...)
		if len(list) > 0 {
			reached.Store(list[len(list)-1])
		}
		switch {
		case ctx.Err() != nil:
			return list
		case errors.Is(err, eventstore.ErrTailReset):
			r = l.Tail.From(reached.Load(), eventstore.Filter{})
		}
	}
}

// poll reads up to the horizon and stores that as its checkpoint in the log's database.
func (s *soak) poll(ctx context.Context, reached *atomic.Int64) (list []int64) {
	var pending []int64 // read, but perhaps not stored
	var upto int64
	for ctx.Err() == nil {
		var at int64
		if s.l.Pool.QueryRow(ctx, `SELECT position FROM checkpoint`).Scan(&at) != nil {
			continue
		}
		if at == upto {
			list = append(list, pending...)
			reached.Store(at)
		}
		pending = nil
		horizon, err := s.l.Store.Horizon(ctx)
		if err != nil || horizon <= at {
			continue
		}
		if upto, pending, err = s.page(ctx, at, horizon); err != nil {
			upto, pending = 0, nil
			continue
		}
		s.l.Pool.Exec(ctx, `UPDATE checkpoint SET position = $1`, upto)
	}
	return list
}

func (s *soak) page(ctx context.Context, after, horizon int64) (upto int64, list []int64, err error) {
	b, err := s.l.Store.ReadAll(ctx, after, horizon, eventstore.Filter{}, 500)
	if err != nil {
		return 0, nil, err
	}
	if len(b.Events) == 500 || len(b.Events) > 0 && b.Upto < horizon {
		return b.Events[len(b.Events)-1].Position, positions(b.Events), nil
	}
	return horizon, positions(b.Events), nil
}

// faults injects one fault after another until the time is up, and counts them by name.
func (s *soak) faults(until time.Time) map[string]int {
	const some = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`
	control, err := pgxpool.New(s.t.Context(), s.l.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	defer control.Close()
	of := func(f func(pid int)) func() {
		return func() {
			var pid int
			if control.QueryRow(s.t.Context(), some).Scan(&pid) == nil {
				f(pid)
			}
		}
	}
	all := []struct {
		name string
		do   func()
	}{
		{"session ended", of(func(pid int) { control.Exec(s.t.Context(), `SELECT pg_terminate_backend($1)`, pid) })},
		{"backend frozen", of(func(pid int) {
			syscall.Kill(pid, syscall.SIGSTOP)
			time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
			syscall.Kill(pid, syscall.SIGCONT)
		})},
		{"backend killed, server recovers", of(func(pid int) { syscall.Kill(pid, syscall.SIGKILL) })},
		{"server killed", func() { s.server.Kill(); s.server.Restart() }},
		{"positions burned", func() {
			control.Exec(s.t.Context(), `SELECT nextval('atlas.events_position') FROM generate_series(1, 100)`)
		}},
		{"append abandoned", func() { s.abandon(control) }},
		{"idle transaction", func() { s.idle(control) }},
	}
	counts := map[string]int{}
	for i := 0; time.Now().Before(until); i++ {
		f := all[i%len(all)]
		f.do()
		counts[f.name]++
		time.Sleep(time.Duration(500+rand.IntN(1000)) * time.Millisecond)
	}
	return counts
}

// abandon leaves an append open, which the watchdog has to end.
func (s *soak) abandon(control *pgxpool.Pool) {
	tx, err := control.Begin(s.t.Context())
	if err != nil {
		return
	}
	defer tx.Rollback(s.t.Context())
	if _, err := s.l.Store.AppendTx(s.t.Context(), tx, archive(newStream())); err != nil {
		return
	}
	time.Sleep(4 * time.Second)
	if tx.Commit(s.t.Context()) == nil {
		s.t.Error("an abandoned append could commit")
	}
}

func (s *soak) idle(control *pgxpool.Pool) {
	tx, err := control.Begin(s.t.Context())
	if err != nil {
		return
	}
	defer tx.Rollback(s.t.Context())
	tx.Exec(s.t.Context(), `SELECT pg_current_xact_id()`)
	time.Sleep(time.Second)
}

func (s *soak) truth() []int64 {
	rows, err := s.l.Pool.Query(s.t.Context(), `SELECT position FROM atlas.events ORDER BY position`)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(list) == 0 {
		s.t.Fatalf("the log holds %d events (%v)", len(list), err)
	}
	return list
}

// report prints what happened, and fails where a reader did not find exactly what is there, in order.
func (s *soak) report(faults map[string]int, truth []int64, found [][]int64) {
	for p := range s.acked {
		if _, there := slices.BinarySearch(truth, p); !there {
			s.t.Errorf("position %d was answered and is not in the log", p)
		}
	}
	missed := 0
	for i, list := range found {
		if !slices.Equal(list, truth) {
			missed += max(1, len(truth)-len(list))
			s.t.Errorf("reader %d found %d events, the log holds %d", i, len(list), len(truth))
		}
	}
	total := 0
	for name, n := range faults {
		s.t.Logf("%4d × %s", n, name)
		total += n
	}
	s.t.Logf("%s: %d events, %d readers, %d faults, %d appends rolled back, %d refused, missed: %d",
		*soakFor, len(truth), len(found), total, s.rolledBack.Load(), s.refused.Load(), missed)
}
