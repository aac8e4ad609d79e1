package bench

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// testLog is a log in a database of its own, opened as a process of Atlas does.
type testLog struct {
	url    string
	master string // key, of what is personal
	pool   *pgxpool.Pool
	keys   *sealing.Keys
	store  *eventstore.Store
}

// newLog makes an empty log. More migrations are applied after the log's own.
func newLog(ctx context.Context, room *measure.Room, more ...postgres.MigrationSet) (*testLog, error) {
	url, err := room.Database(ctx, append([]postgres.MigrationSet{eventstore.Migrations(), sealing.Migrations()}, more...)...)
	if err != nil {
		return nil, err
	}
	return openLog(ctx, url, sealing.GenerateMaster(), vocabulary)
}

// openLog opens a log with the events of a vocabulary.
func openLog(ctx context.Context, url, master string, words func() (*events.Vocabulary, error)) (*testLog, error) {
	types, err := words()
	if err != nil {
		return nil, err
	}
	key, err := sealing.ParseMaster(master)
	if err != nil {
		return nil, err
	}
	pool, err := postgres.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	keys, err := sealing.New(ctx, pool, key)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &testLog{url: url, master: master, pool: pool, keys: keys, store: eventstore.New(pool, types, keys)}, nil
}

func vocabulary() (*events.Vocabulary, error) {
	return events.NewVocabulary(events.Define[orderRevised](orderType))
}

// orderRevised is the event that is written: nothing of it is personal, since sealing is not what is measured.
type orderRevised struct {
	Customer uuid.UUID `json:"customer_id"`
	Status   string    `json:"status"`
	Note     string    `json:"note"`
	Amount   int64     `json:"amount"`
	Tags     []string  `json:"tags"`
}

const orderType = "order.revised"

func newOrder() orderRevised {
	return orderRevised{Customer: uuid.New(), Status: "confirmed", Amount: 129_900, Tags: []string{"q4", "net-30"},
		Note: "deliver to the back door between nine and eleven, and ring twice; the dog is friendly"}
}

func newMetadata() eventstore.Metadata {
	return eventstore.Metadata{Actor: uuid.New(), CorrelationID: uuid.New(), RequestID: uuid.NewString()}
}

// streamEvents is how many events a stream gets before its writer begins another.
const streamEvents = 10

// writer is one client: the stream it writes to, and how far that has come.
type writer struct {
	stream  eventstore.Stream
	version int64
}

// next begins another stream where this one has its events.
func (w *writer) next() {
	if w.version == 0 || w.version >= streamEvents {
		w.stream, w.version = eventstore.NewStream("order", uuid.Must(uuid.NewV7())), 0
	}
}

// orders is a write of so many events at the version the writer knows.
func (w *writer) orders(n int) eventstore.Write {
	write := eventstore.Write{Stream: w.stream, Expect: w.version}
	for range n {
		write.Events = append(write.Events, newOrder())
	}
	return write
}
