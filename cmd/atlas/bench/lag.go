package bench

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/projections"
)

// viewLag is how long an event is on its way to the row that readers see, under a steady load.
var viewLag = Case{
	Name: "lag",
	About: "append --rate events a second, one by one, until the documents' table shows them, kept up by another process with all " +
		"read tables and the outbox; beside one statement that inserts the event and upserts its row",
	Clients: []int{1},
	Open:    openLag,
}

func openLag(ctx context.Context, s Setting) (Contest, error) {
	log, err := newDocumentLog(ctx, s.Room)
	if err != nil {
		return Contest{}, err
	}
	bare, err := newBareTable(ctx, log.url, authors)
	if err != nil {
		log.pool.Close()
		return Contest{}, err
	}
	l, err := openLive(ctx, log)
	if err == nil {
		_, err = bare.Exec(ctx, bareDocuments)
	}
	if err != nil {
		log.pool.Close()
		bare.Close()
		return Contest{}, err
	}
	atlas := measure.Side{
		Sample: func(ctx context.Context, length time.Duration) (*measure.Sample, error) {
			return l.sample(ctx, s.Rate, length)
		},
		Done: counting(log.pool, `SELECT coalesce(sum(version), 0)::bigint FROM `+projections.Documents.Table()),
	}
	return Contest{
		Contest: measure.Contest{Atlas: atlas, Bare: upserting(bare, s.Rate), Unit: "ms", Value: medianOf},
		Close: func() {
			l.done()
			log.pool.Close()
			bare.Close()
		},
	}, nil
}

// medianOf is half the acts' time, in milliseconds.
func medianOf(s *measure.Sample) float64 { return s.Latencies.Quantile(0.5).Seconds() * 1000 }

// upserting writes an event and its row in one statement, so the row is seen as soon as the statement has returned. It
// is as little as keeps a read table up at all; nothing is encrypted, and there is one table instead of all.
func upserting(pool *pgxpool.Pool, rate int) measure.Side {
	const q = `
		WITH event AS (` + bareInsert + `)
		INSERT INTO bare_documents (id, owner_id, title, body, content_type, tags, status, version, created_at, updated_at)
		VALUES ($7, $8, $9, $10, $11, $12, 'active', $3, now(), now())
		ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body, content_type = excluded.content_type,
			tags = excluded.tags, version = excluded.version, updated_at = excluded.updated_at`
	all := make(chan *author, authors)
	for _, owner := range newOwners(authors) {
		all <- &author{owner: owner}
	}
	write := func(ctx context.Context) error {
		a := <-all
		defer func() { all <- a }()
		a.next()
		d := events.DocumentCreated(documentEvent(a.owner, 2).(events.DocumentRevised))
		data, err := encode(d)
		if err != nil {
			return err
		}
		metadata, err := encode(bareMetadata())
		if err != nil {
			return err
		}
		_, err = pool.Exec(ctx, q, uuid.Must(uuid.NewV7()), a.stream.String(), a.version+1, "document.revised", data, metadata,
			a.stream.ID, d.OwnerID, d.Title, d.Body, d.ContentType, d.Tags)
		a.version++
		return err
	}
	return measure.Side{
		Sample: func(ctx context.Context, length time.Duration) (*measure.Sample, error) {
			return measure.Paced(ctx, rate, length, func(ctx context.Context) error { return write(context.WithoutCancel(ctx)) })
		},
		Done: counting(pool, `SELECT coalesce(sum(version), 0)::bigint FROM bare_documents`),
	}
}
