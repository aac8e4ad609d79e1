package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// Follow is the command of the processes that openLatency starts: it follows a log or a bare table.
const Follow = "bench-follow"

// The environment of such a process.
const (
	followURL    = "ATLAS_BENCH_FOLLOW_URL"
	followBy     = "ATLAS_BENCH_FOLLOW_BY"
	followMaster = "ATLAS_BENCH_FOLLOW_MASTER_KEY"
)

// follows is how such a process follows.
type follows string

const (
	byTail    follows = "tail"    // a log
	byHandler follows = "handler" // a log, for a subscription
	byViews   follows = "views"   // a log, for the read tables and the outbox
	byNotice  follows = "notice"  // a bare table
)

// bareChannel is what is notified by whoever writes to the bare table.
const bareChannel = "bare_events"

// bareNotify inserts and notifies.
const bareNotify = `
	WITH written AS (` + bareInsert + ` RETURNING position)
	SELECT pg_notify('` + bareChannel + `', position::text) FROM written`

// openLatency makes a contest of one event at a time, from the call that writes it until another process has it. Neither
// process has anything else to do. The bare minimum notifies in the transaction that inserts, and its follower reads what is
// new when it is notified: as soon as anything can know, and at the price of a lock for all who commit.
func openLatency(ctx context.Context, log *testLog, bare *pgxpool.Pool, atlas follows) (c measure.Contest, done func(), err error) {
	ctx, end := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	waker := eventstore.NewWaker(log.store, slog.New(slog.DiscardHandler))
	g.Go(func() error { return waker.Run(ctx) })
	done = func() {
		end()
		_ = g.Wait() // which only says that it has ended
	}
	var sides [2]measure.Side
	for side, write := range []func(context.Context, *writer) error{
		func(ctx context.Context, w *writer) error {
			_, err := log.store.Append(eventstore.WithMetadata(ctx, newMetadata()), w.orders(1))
			return err
		},
		func(ctx context.Context, w *writer) error { return insertBy(ctx, bare, w, bareNotify) },
	} {
		f, err := startFollower(ctx, log, [2]follows{atlas, byNotice}[side])
		if err != nil {
			done()
			return c, nil, err
		}
		g.Go(f.cmd.Wait)
		sides[side] = measure.Side{Sample: func(ctx context.Context, length time.Duration) (*measure.Sample, error) {
			var w writer
			return measure.Clients(ctx, 1, length, func(ctx context.Context, _ int) (int64, error) {
				w.next()
				if err := write(ctx, &w); err != nil {
					return 0, err
				}
				w.version++
				return 1, f.await(w.stream.String() + " " + strconv.FormatInt(w.version, 10))
			})
		}}
	}
	p50 := func(s *measure.Sample) float64 { return s.Latencies.Quantile(0.5).Seconds() * 1000 }
	return measure.Contest{Atlas: sides[0], Bare: sides[1], Unit: "ms", Value: p50}, done, nil
}

// follower is another process, which says what it sees, a line for each event.
type follower struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// startFollower starts this program anew as a follower, and returns when that has come to the end of what is there.
func startFollower(ctx context.Context, log *testLog, by follows) (*follower, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, Follow)
	cmd.Env = append(os.Environ(), followURL+"="+log.url, followBy+"="+string(by), followMaster+"="+log.master)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // whose end, whatever ends this process, ends the other
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &follower{cmd: cmd, lines: bufio.NewScanner(out)}
	return f, f.await("ready")
}

// await reads the next line.
func (f *follower) await(want string) error {
	if !f.lines.Scan() {
		return errors.Join(errors.New("the other process ended"), f.lines.Err())
	}
	if got := f.lines.Text(); got != want {
		return fmt.Errorf("the other process saw %q, want %q", got, want)
	}
	return nil
}

// RunFollower follows what the environment names, and writes down what it sees, until stdin ends.
func RunFollower(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		end()
	}()
	follow := map[follows]func(context.Context, string, io.Writer) error{
		byTail: followLog, byHandler: followHandler, byViews: keepViews, byNotice: followTable,
	}[follows(os.Getenv(followBy))]
	if follow == nil {
		return errors.New("this command is for atlas bench alone")
	}
	err := follow(ctx, os.Getenv(followURL), stdout)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// followLog follows a log by its tail.
func followLog(ctx context.Context, url string, stdout io.Writer) error {
	return onLog(ctx, url, func(ctx context.Context, _ *pgxpool.Pool, store *eventstore.Store, tail *eventstore.Tail) error {
		last, err := store.Last(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(stdout, "ready")
		for reader := tail.From(last, eventstore.Filter{}); ; {
			b, err := reader.Next(ctx, 100)
			if err != nil {
				return err
			}
			for _, r := range b.Events {
				fmt.Fprintln(stdout, r.Stream, r.Version)
			}
		}
	})
}

// onLog runs something beside the tail of a log, which it has to itself.
func onLog(ctx context.Context, url string, follow func(context.Context, *pgxpool.Pool, *eventstore.Store, *eventstore.Tail) error) error {
	types, err := vocabulary()
	if err != nil {
		return err
	}
	pool, err := postgres.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	store := eventstore.New(pool, types, nothingSealed{})
	waker := eventstore.NewWaker(store, slog.New(slog.DiscardHandler))
	tail := eventstore.NewTail(store, waker, slog.New(slog.DiscardHandler))
	ctx, end := context.WithCancel(ctx)
	defer end()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return waker.Run(ctx) })
	g.Go(func() error { return tail.Run(ctx) })
	g.Go(func() error {
		defer end()
		return follow(ctx, pool, store, tail)
	})
	return g.Wait()
}

// nothingSealed serves a log without personal data.
type nothingSealed struct{}

var errSealed = errors.New("this log should hold nothing personal")

func (nothingSealed) Seal(context.Context, []*eventstore.Envelope) error { return errSealed }
func (nothingSealed) Open(context.Context, []*eventstore.Envelope) error { return errSealed }

// followTable follows a bare table by its notifications.
func followTable(ctx context.Context, url string, stdout io.Writer) error {
	const last = `SELECT coalesce(max(position), 0) FROM bare_events`
	const news = `SELECT position, stream, version FROM bare_events WHERE position > $1 ORDER BY position`
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "LISTEN "+bareChannel); err != nil {
		return err
	}
	var at, version int64
	var stream string
	if err := conn.QueryRow(ctx, last).Scan(&at); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "ready")
	for {
		if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
			return err
		}
		rows, err := conn.Query(ctx, news, at)
		if err != nil {
			return err
		}
		for rows.Next() {
			if err := rows.Scan(&at, &stream, &version); err != nil {
				return err
			}
			fmt.Fprintln(stdout, stream, version)
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
}
