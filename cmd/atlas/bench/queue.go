package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/measure"
)

// leaseQueue works a backlog off by leases. Its workers are in this process, so what HTTP takes is not in it: that is two
// requests for each batch.
var leaseQueue = Case{
	Name: "queue",
	About: "lease a backlog of 20,000 messages of 2,000 streams and answer them, in batches of 100, each the next one of its stream, " +
		"beside SELECT FOR UPDATE SKIP LOCKED and DELETE of a plain table of jobs in the same batches, in any order",
	Clients: []int{1, 4},
	Open:    openQueue,
}

const (
	queueStreams = 2000
	queueRate    = 700 // streams for each second of a sample
	queueBatch   = 100
)

func openQueue(ctx context.Context, s Setting) (Contest, error) {
	b, bare, done, err := openBacklog(ctx, s, perSecond(s, queueRate, 50, queueStreams))
	if err != nil {
		return Contest{}, err
	}
	const jobs = `CREATE TABLE bare_jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data jsonb NOT NULL)`
	if _, err := bare.Exec(ctx, jobs); err != nil {
		done()
		return Contest{}, err
	}
	return Contest{
		Contest: measure.Contest{Unit: "messages/s", Atlas: b.side((*worker).makeQueue, leasing(s.Clients)), Bare: deleting(bare, b.size, s.Clients)},
		Close:   done,
	}, nil
}

// makeQueue is makeGroup for what is leased.
func (w *worker) makeQueue(ctx context.Context) error {
	_, err := w.groups.CreateQueue(ctx, subscription.Queue{Definition: orders(w.group), Owner: uuid.New()})
	return err
}

// leasing has so many lease and answer beside one another.
func leasing(clients int) func(*worker, context.Context) error {
	return func(w *worker, ctx context.Context) error {
		var all errgroup.Group
		for range clients {
			all.Go(func() error { return w.lease(ctx) })
		}
		return all.Wait()
	}
}

// lease leases and answers until all messages came.
func (w *worker) lease(ctx context.Context) error {
	for w.left.Load() > 0 {
		messages, err := w.groups.Lease(ctx, w.group, subscription.Ask{Most: queueBatch, Lease: time.Minute, Wait: 50 * time.Millisecond})
		if err != nil {
			return err
		}
		answers := make([]subscription.Answer, len(messages))
		for i, m := range messages {
			w.note(m.Event)
			answers[i] = subscription.Answer{Token: m.Token, Done: true}
		}
		counts, err := w.groups.Answer(ctx, w.group, uuid.Nil, answers)
		if err != nil {
			return err
		}
		for i, counted := range counts {
			if !counted {
				return fmt.Errorf("the answer to position %d does not count", messages[i].Event.Position)
			}
		}
	}
	return nil
}

// deleting has as many jobs worked off in every sample: those that a transaction deletes are its own.
func deleting(jobs *pgxpool.Pool, size int64, clients int) measure.Side {
	return measure.Side{Sample: func(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
		s := &measure.Sample{}
		const fill = `INSERT INTO bare_jobs (data) SELECT data FROM bare_events ORDER BY position`
		if _, err := jobs.Exec(ctx, fill); err != nil {
			return s, err
		}
		done := make([]int64, clients)
		started := time.Now()
		var workers errgroup.Group
		for i := range clients {
			workers.Go(func() error {
				for {
					n, err := deleteJobs(ctx, jobs)
					done[i] += n
					if err != nil || n == 0 {
						return err
					}
				}
			})
		}
		err := workers.Wait()
		s.Took = time.Since(started)
		for _, n := range done {
			s.Units += n
		}
		if err == nil && s.Units != size {
			err = fmt.Errorf("%d jobs were done, want %d", s.Units, size)
		}
		s.Latencies.Add(s.Took)
		return s, err
	}}
}

// deleteJobs takes a batch of jobs, and deletes them when they are done.
func deleteJobs(ctx context.Context, jobs *pgxpool.Pool) (n int64, err error) {
	const take = `SELECT id, data FROM bare_jobs ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`
	err = pgx.BeginFunc(ctx, jobs, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, take, queueBatch)
		if err != nil {
			return err
		}
		var ids []int64
		var id int64
		var data []byte
		if _, err := pgx.ForEachRow(rows, []any{&id, &data}, func() error { ids = append(ids, id); return nil }); err != nil {
			return err
		}
		n = int64(len(ids))
		_, err = tx.Exec(ctx, `DELETE FROM bare_jobs WHERE id = ANY ($1)`, ids)
		return err
	})
	return n, err
}
