package engine_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Life is the row of a view that says what happened to a document since it was last created.
type Life struct {
	ID    uuid.UUID `json:"id" row:"key"`
	Title string    `json:"title"`
	Since []string  `json:"since"`
}

// lives keeps one row per document that was created and not deleted.
func lives(name string) *engine.View[Life] {
	return engine.Define[Life](name, 1, `CREATE TABLE {table} (id uuid PRIMARY KEY, title text NOT NULL, since text[] NOT NULL)`,
		engine.Create(func(l *Life, e engine.Recorded[events.DocumentCreated]) {
			l.Title, l.Since = e.Event.Title, append(l.Since, "created")
		}),
		engine.Change(func(l *Life, e engine.Recorded[events.DocumentRevised]) { l.Since = append(l.Since, "revised") }),
		engine.Change(func(l *Life, e engine.Recorded[events.DocumentArchived]) { l.Since = append(l.Since, "archived") }),
		engine.Delete[events.DocumentDeleted](),
	)
}

// afterlives are documents to which things happen when they are not there, and what is left of each after each event:
// the title and what happened since, or nothing.
func afterlives() map[string][]told {
	return map[string][]told{
		"changed after it was deleted": {
			{created("a"), "a created"}, {events.DocumentDeleted{OwnerID: ann}, ""}, {events.DocumentArchived{OwnerID: ann}, ""},
			{events.DocumentRevised{OwnerID: ann, Title: "b"}, ""}, {events.DocumentDeleted{OwnerID: ann}, ""},
		},
		"changed and never created": {
			{events.DocumentArchived{OwnerID: ann}, ""}, {events.DocumentDeleted{OwnerID: ann}, ""}, {events.DocumentRevised{OwnerID: ann}, ""},
		},
		"created after it was deleted": {
			{created("a"), "a created"}, {events.DocumentArchived{OwnerID: ann}, "a created archived"}, {events.DocumentDeleted{OwnerID: ann}, ""},
			{events.DocumentArchived{OwnerID: ann}, ""}, {created("b"), "b created"}, {events.DocumentArchived{OwnerID: ann}, "b created archived"},
		},
		"created twice": {
			{created("a"), "a created"}, {events.DocumentArchived{OwnerID: ann}, "a created archived"}, {created("b"), "b created"},
		},
	}
}

type told struct {
	event events.Event
	want  string
}

// TestWhatFollowsADeletionIsTheSameHoweverItIsFolded holds the rule for rows that are not there over every way to a row:
// event by event as they come, catching up, rebuilt in bulk, verified both ways, and as of every version.
func TestWhatFollowsADeletionIsTheSameHoweverItIsFolded(t *testing.T) {
	t.Parallel()
	live, late := lives("live"), lives("late")
	l := newLog(t, live, late)
	w, _ := start(t, l, live)
	want := map[string]string{}
	var last int64
	for name, happens := range afterlives() {
		stream := newStream()
		for i, e := range happens {
			last = mustAppend(t, l.Store, stream, e.event)
			await(t, w, last, live)
			if got := livesIn(t, l.Pool, live)[stream.ID.String()]; got != e.want {
				t.Errorf("%s, live, after event %d: got %q, want %q", name, i+1, got, e.want)
			}
		}
		if left := happens[len(happens)-1].want; left != "" {
			want[stream.ID.String()] = left
		}
		requireLives(t, l, stream, happens)
	}
	waitLate, _ := start(t, l.Node(t), late)
	await(t, waitLate, last, late)
	for when, v := range map[string]*engine.View[Life]{"live": live, "caught up": late} {
		requireSameLives(t, l.Pool, when, v, want)
		requireAgreed(t, l, v)
		if err := rebuild(t.Context(), l.Store, l.Pool, v); err != nil {
			t.Fatal(err)
		}
		requireSameLives(t, l.Pool, when+" and rebuilt", v, want)
		requireAgreed(t, l, v)
		if parked := statusOf(t, l.Pool, v).Parked; parked != 0 {
			t.Errorf("%s: %d keys are parked, want none", when, parked)
		}
	}
}

func (l Life) String() string { return l.Title + " " + strings.Join(l.Since, " ") }

// requireLives folds the stream as of each version.
func requireLives(t *testing.T, l *logtest.Log, stream eventstore.Stream, happens []told) {
	t.Helper()
	recorded, err := l.Store.Load(t.Context(), stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range happens {
		got := ""
		row, found, err := lives("asof").Fold(recorded[:i+1])
		if err != nil {
			t.Fatal(err)
		}
		if found {
			got = row.String()
		}
		if got != e.want {
			t.Errorf("as of version %d: got %q, want %q", i+1, got, e.want)
		}
	}
}

// livesIn returns what the view's rows tell, by id.
func livesIn(t *testing.T, pool *pgxpool.Pool, v *engine.View[Life]) map[string]string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT id, title, since FROM `+v.Table())
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Life])
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]string{}
	for _, row := range all {
		byID[row.ID.String()] = row.String()
	}
	return byID
}

func requireSameLives(t *testing.T, pool *pgxpool.Pool, when string, v *engine.View[Life], want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, livesIn(t, pool, v)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// requireAgreed verifies the view by sample and as a whole.
func requireAgreed(t *testing.T, l *logtest.Log, v *engine.View[Life]) {
	t.Helper()
	for _, o := range []engine.Options{{}, {Sample: -1}} {
		if found := verify(t, l, v, o); found.Different > 0 {
			t.Errorf("%s, sample %d: differs from the log: %v", v.ID(), o.Sample, found.Differences)
		}
	}
}
