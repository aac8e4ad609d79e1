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
	handles() []reflect.Type                                     // the event types it wants
	prepare(ctx context.Context, tx pgx.Tx) error                // makes its table
	apply(context.Context, pgx.Tx, []*eventstore.Recorded) error // takes events, in order
	clear(ctx context.Context, tx pgx.Tx) error                  // empties its table
	disposable() bool                                            // its effects can be thrown away and made again
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
func (b *Batch) clear(context.Context, pgx.Tx) error   { return ErrNotRebuildable }
func (b *Batch) disposable() bool                      { return false }
func (b *Batch) apply(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
	if len(batch) == 0 {
		return nil
	}
	return b.run(ctx, tx, batch)
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
