package projections_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var (
	ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")
	bob = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000002")
	id  = uuid.MustParse("0197f2f0-7c00-7000-8000-00000000000a") // of the stream whose events are folded
)

// at is when the nth event of the stream was recorded; its position is ten times n.
func at(n int64) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC).Add(time.Duration(n) * time.Minute)
}

// folding is a claim about the row that a view makes of some events.
type folding[R any] struct {
	t        *testing.T
	view     *engine.View[R]
	metadata eventstore.Metadata
	before   int64 // events of the stream that the view keeps apart
	events   []events.Event
}

// fold starts a claim about a view.
func fold[R any](t *testing.T, view *engine.View[R]) folding[R] {
	t.Helper()
	t.Parallel()
	return folding[R]{t: t, view: view}
}

// with says what the events were recorded with.
func (f folding[R]) with(m eventstore.Metadata) folding[R] {
	f.metadata = m
	return f
}

// after says how many events the stream has before those given.
func (f folding[R]) after(n int64) folding[R] {
	f.before = n
	return f
}

func (f folding[R]) given(given ...events.Event) folding[R] {
	f.events = given
	return f
}

func (f folding[R]) then(want R) {
	f.t.Helper()
	got, found := f.fold()
	if !found {
		f.t.Fatal("no row, want one")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Errorf("row (-want +got):\n%s", diff)
	}
}

func (f folding[R]) thenNothing() {
	f.t.Helper()
	if got, found := f.fold(); found {
		f.t.Errorf("got the row %+v, want none", got)
	}
}

func (f folding[R]) fold() (row R, found bool) {
	f.t.Helper()
	var all []*eventstore.Recorded
	v := logtest.Vocabulary(f.t)
	for i, e := range f.events {
		typ, err := v.Of(e)
		if err != nil {
			f.t.Fatal(err)
		}
		n := f.before + int64(i) + 1
		r, err := eventstore.NewRecorded(v, eventstore.NewStream(typ.Category(), id), n, 10*n, at(n), e)
		if err != nil {
			f.t.Fatal(err)
		}
		r.Metadata = f.metadata
		all = append(all, r)
	}
	row, found, err := f.view.Fold(all)
	if err != nil {
		f.t.Fatal(err)
	}
	return row, found
}
