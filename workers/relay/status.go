package relay

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/projections/engine"
)

// Status is how a topic stands in the database.
type Status struct {
	Topic      string     `json:"topic"`
	Holder     string     `json:"holder"` // host and process that forwards it; "" where nobody does
	Epoch      int64      `json:"epoch"`
	Offset     int64      `json:"offset"`      // everything up to it was forwarded
	Sequence   uint64     `json:"sequence"`    // with which the stream ended then
	Lag        int64      `json:"lag"`         // messages that are not known to be forwarded
	LagSeconds float64    `json:"lag_seconds"` // for how long the oldest of them has been there
	MovedAt    *time.Time `json:"moved_at"`
	Error      string     `json:"error"` // why it stands still
	ErrorSince *time.Time `json:"error_since"`
}

// List returns how each topic stands.
func List(ctx context.Context, pool *pgxpool.Pool, topics []string) (all []Status, err error) {
	for _, topic := range topics {
		s, err := show(ctx, desk{pool: pool, topic: topic})
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func show(ctx context.Context, d desk) (s Status, err error) {
	q := `
		SELECT t.topic, coalesce(n.name, ''), coalesce(r.epoch, 0), coalesce(r."offset", 0), coalesce(r.sequence, 0),
			(SELECT count(*) FROM ` + d.messages() + ` m WHERE m."offset" > coalesce(r."offset", 0)),
			coalesce((SELECT extract(epoch FROM greatest(clock_timestamp() - m.created_at, interval '0'))
				FROM ` + d.messages() + ` m WHERE m."offset" > coalesce(r."offset", 0) ORDER BY m."offset" LIMIT 1), 0)::float8,
			r.moved_at, coalesce(r.error, ''), r.error_since
		FROM (SELECT $1::text AS topic) t
			LEFT JOIN atlas.relays r USING (topic)
			LEFT JOIN atlas.projection_nodes n ON n.id = r.holder AND ` + engine.NodeLives
	rows, err := d.pool.Query(ctx, q, d.topic)
	if err != nil {
		return s, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Status])
}

// Broker is what the broker has of a topic.
type Broker struct {
	Stream   string    `json:"stream"`
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	Last     uint64    `json:"last"`    // the sequence that the stream ends with
	LastID   string    `json:"last_id"` // of the message there; "" if it is gone
	LastAt   time.Time `json:"last_at"`
}

// Ask returns what the broker has of a topic. Its error is one of this package's where something is wrong that an operator
// can put right.
func Ask(ctx context.Context, js jetstream.JetStream, prefix, topic string) (b Broker, err error) {
	n := names{prefix, topic}
	stream, err := open(ctx, js, n)
	if err != nil {
		return Broker{Stream: n.stream()}, err
	}
	state := stream.CachedInfo().State
	b = Broker{Stream: n.stream(), Messages: state.Msgs, Bytes: state.Bytes, Last: state.LastSeq, LastAt: state.LastTime}
	b.LastID, _, err = idAt(ctx, stream, max(state.LastSeq, 1))
	return b, err
}
