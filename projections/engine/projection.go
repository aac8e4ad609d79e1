package engine

import (
	"context"
	"fmt"
	"reflect"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// ID is a projection's name and version. A checkpoint belongs to both.
type ID struct {
	Name    string
	Version int
}

// String returns name and version as they stand in a table's name.
func (id ID) String() string { return fmt.Sprintf("%s_v%d", id.Name, id.Version) }

// Projection is what the runner keeps up with the log: a View or a Batch.
type Projection interface {
	ID() ID
	handles() []reflect.Type                      // the event types it wants
	prepare(ctx context.Context, tx pgx.Tx) error // makes its table
	// apply takes events into a generation, in order, all or none of them.
	apply(ctx context.Context, tx pgx.Tx, generation int, batch []*eventstore.Recorded) error
	// take is apply, but parks the keys whose events fail.
	take(ctx context.Context, tx pgx.Tx, generation int, batch []*eventstore.Recorded, p *parking) error
	// retry folds events that wait for a parked key, in order, as far as they can be; cause is why the next cannot.
	retry(ctx context.Context, tx pgx.Tx, generation int, key string, batch []*eventstore.Recorded) (done int, cause, err error)
	disposable() bool // its effects can be thrown away and made again
}

// Batch is a projection that handles events with SQL of its own. It runs in the transaction that moves its checkpoint,
// so its effects in this database happen exactly once.
type Batch struct {
	id    ID
	types []reflect.Type
	run   func(context.Context, pgx.Tx, []*eventstore.Recorded) error
}

// HandleBatch declares a projection that gets the events of the example values' types, in order, in batches. Between two
// statements run may take ten seconds at most.
func HandleBatch(name string, version int, examples []events.Event, run func(context.Context, pgx.Tx, []*eventstore.Recorded) error) *Batch {
	b := &Batch{id: ID{name, version}, run: run}
	for _, e := range examples {
		b.types = append(b.types, reflect.TypeOf(e))
	}
	return b
}

// ID returns name and version.
func (b *Batch) ID() ID { return b.id }

func (b *Batch) handles() []reflect.Type               { return b.types }
func (b *Batch) prepare(context.Context, pgx.Tx) error { return nil }
func (b *Batch) disposable() bool                      { return false }
func (b *Batch) apply(ctx context.Context, tx pgx.Tx, _ int, batch []*eventstore.Recorded) error {
	return b.run(ctx, tx, batch)
}

// take parks nothing: a batch has no keys, so what failed is what all that follows must wait for.
func (b *Batch) take(ctx context.Context, tx pgx.Tx, generation int, batch []*eventstore.Recorded, _ *parking) error {
	return b.apply(ctx, tx, generation, batch)
}

// retry has nothing to do, since nothing is parked.
func (b *Batch) retry(context.Context, pgx.Tx, int, string, []*eventstore.Recorded) (int, error, error) {
	return 0, nil, fmt.Errorf("%s parks no keys", b.id)
}

// filter returns which events a projection reads.
func filter(v *events.Vocabulary, p Projection) (f eventstore.Filter, err error) {
	for _, t := range p.handles() {
		typ, err := v.OfGo(t)
		if err != nil {
			return f, fmt.Errorf("%s: %w", p.ID(), err)
		}
		f.Types = append(f.Types, typ.Name)
	}
	if len(f.Types) == 0 {
		return f, fmt.Errorf("%s handles no event", p.ID())
	}
	return f, nil
}

// VersionText returns the version as text.
func (id ID) VersionText() string { return strconv.Itoa(id.Version) }
