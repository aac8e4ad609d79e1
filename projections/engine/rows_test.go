package engine_test

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
)

// everything has a field of every kind that a row may have.
type everything struct {
	ID     uuid.UUID         `json:"id" row:"key"`
	Order  int64             `json:"order"` // a word of SQL's
	At     time.Time         `json:"at"`
	Ended  *time.Time        `json:"ended"`
	Owner  *uuid.UUID        `json:"owner"`
	Lists  []string          `json:"lists"`
	Empty  []string          `json:"empty"`
	Absent []string          `json:"absent"`
	Deep   map[string]any    `json:"deep"`
	Raw    json.RawMessage   `json:"raw"`
	Parts  []part            `json:"parts"`
	Ratio  float64           `json:"ratio"`
	From   netip.Addr        `json:"from"`
	Labels map[string]string `json:"labels"`
	Folds  int               `json:"folds"`
}

type part struct {
	Name  string   `json:"name"`
	Count int64    `json:"count"`
	Notes []string `json:"notes"`
}

const everythingTable = `
	CREATE TABLE {table} (
		id uuid PRIMARY KEY, "order" bigint NOT NULL, at timestamptz NOT NULL, ended timestamptz, owner uuid,
		lists text[] NOT NULL, empty text[] NOT NULL, absent text[], deep jsonb NOT NULL, raw jsonb, parts jsonb NOT NULL,
		ratio double precision NOT NULL, "from" inet NOT NULL, labels jsonb NOT NULL, folds integer NOT NULL
	)`

// A row is written, loaded and written again; what no fold touches must not change on the way.
func TestARowComesBackFromItsTableAsItWentIn(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 29, 1, 59, 59, 999_999_000, time.UTC)
	want := everything{
		ID: newStream().ID, Order: math.MaxInt64, At: at, Ended: &at, Owner: &ann,
		Lists: []string{"", " ", "null", `"`, "a,b", "{}", "<&>\u2028", "Größe 🦀"}, Empty: []string{},
		Deep:  map[string]any{"big": json.Number("9007199254740993"), "small": json.Number("1.10"), "null": nil, "list": []any{}, "in": map[string]any{"x": true}},
		Raw:   json.RawMessage(`{"n": 12345678901234567890123456789}`),
		Parts: []part{{Name: "a", Count: math.MinInt64, Notes: []string{}}, {Name: "b"}},
		Ratio: 0.1 + 0.2, From: netip.MustParseAddr("2001:db8::1"), Labels: map[string]string{},
	}
	v := engine.Define[everything]("everything", 1, everythingTable,
		engine.On(func(row *everything, _ engine.Recorded[events.DocumentCreated]) { *row = want }),
		engine.On(func(row *everything, _ engine.Recorded[events.DocumentArchived]) { row.Folds++ }))
	l := newLog(t, v)
	w, _ := start(t, l, v)
	stream := eventstore.NewStream("document", want.ID)
	await(t, w, mustAppend(t, l.Store, stream, created("x")), v)
	for range 3 {
		await(t, w, mustAppend(t, l.Store, stream, events.DocumentArchived{}), v)
	}
	want.Folds = 3
	var raw string
	if err := l.Pool.QueryRow(t.Context(), `SELECT row_to_json(t) FROM `+v.Table()+` t`).Scan(&raw); err != nil {
		t.Fatal(err)
	}
	var got everything
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

// Label is a row whose key is of several parts, which must not run into one another.
type Label struct {
	Left  string  `json:"left" row:"key"`
	Right string  `json:"right" row:"key"`
	At    []int64 `json:"at"`
}

func TestKeysThatReadAlikeAreDifferentRows(t *testing.T) {
	t.Parallel()
	keys := []Label{{Left: "a", Right: "b c"}, {Left: "a b", Right: "c"}, {Left: `a" "b`, Right: "c"}, {Left: "a", Right: `b" "c`}, {}, {Right: " "}, {Left: "Ä"}, {Left: "A\u0308"}}
	v := engine.Define[Label]("labels", 1, `CREATE TABLE {table} ("left" text, "right" text, at bigint[] NOT NULL, PRIMARY KEY ("left", "right"))`,
		engine.On(func(row *Label, e engine.Recorded[events.DocumentCreated]) { row.At = append(row.At, e.Position) }),
		engine.Delete[events.DocumentDeleted](),
	).KeyedBy(func(r *eventstore.Recorded) []Label {
		if r.Type == "document.deleted" {
			return keys[:4]
		}
		return keys
	})
	l := newLog(t, v)
	w, _ := start(t, l, v)
	var positions []int64
	for range 2 {
		positions = append(positions, mustAppend(t, l.Store, newStream(), created("x")))
		await(t, w, positions[len(positions)-1], v)
	}
	count := func() (rows int) {
		const q = ` WHERE at = $1`
		if err := l.Pool.QueryRow(t.Context(), `SELECT count(*) FROM `+v.Table()+q, positions).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if got := count(); got != len(keys) {
		t.Errorf("%d rows have both events, want %d", got, len(keys))
	}
	await(t, w, mustAppend(t, l.Store, newStream(), events.DocumentDeleted{}), v)
	if got := count(); got != len(keys)-4 {
		t.Errorf("after four were deleted %d rows are left, want %d", got, len(keys)-4)
	}
}

// Where the table does not give back the key as the fold made it, the row would not be found and begin anew.
func TestAKeyThatTheTableChangesStopsTheProjection(t *testing.T) {
	t.Parallel()
	v := engine.Define[Label]("labels", 1, `CREATE TABLE {table} ("left" char(5), "right" text, at bigint[] NOT NULL, PRIMARY KEY ("left", "right"))`,
		engine.On(func(row *Label, e engine.Recorded[events.DocumentCreated]) { row.At = append(row.At, e.Position) }),
	).KeyedBy(func(*eventstore.Recorded) []Label { return []Label{{Left: "abc"}} })
	l := newLog(t, v)
	w, _ := start(t, l, v)
	await(t, w, mustAppend(t, l.Store, newStream(), created("x")), v)
	mustAppend(t, l.Store, newStream(), created("y"))
	watchtest.Eventually(t, time.Minute, "the error is listed", func() bool { return statusOf(t, l.Pool, v).Error != "" })
	if got, want := statusOf(t, l.Pool, v).Error, "differs from the one it was asked for"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestARowThatIsDeletedBeginsAnew(t *testing.T) {
	t.Parallel()
	v := engine.Define[Trace]("each", 1, traceTable,
		engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) { trace(row, e.Recorded) }),
		engine.Delete[events.DocumentDeleted]())
	l := newLog(t, v)
	w, _ := start(t, l, v)
	stream, other := newStream(), newStream()
	mustAppend(t, l.Store, stream, created("x"))
	mustAppend(t, l.Store, other, created("y"), events.DocumentDeleted{})
	await(t, w, mustAppend(t, l.Store, stream, events.DocumentDeleted{}), v)
	requireTraced(t, l.Pool, v, map[uuid.UUID][]int64{})
	last := mustAppend(t, l.Store, stream, events.DocumentDeleted{}, created("z"))
	await(t, w, last, v)
	requireTraced(t, l.Pool, v, map[uuid.UUID][]int64{stream.ID: {last}})
}

const mebibyte = 1 << 20

// Document is a row that is as large as the event it was made of.
type Document struct {
	ID       uuid.UUID `json:"id" row:"key"`
	Body     string    `json:"body"`
	Archived int       `json:"archived"`
}

// Small events may touch large rows: together they are more than a statement may carry.
func TestABatchThatTouchesLargeRowsIsFoldedInParts(t *testing.T) {
	t.Parallel()
	v := engine.Define[Document]("documents", 1, `CREATE TABLE {table} (id uuid PRIMARY KEY, body text NOT NULL, archived integer NOT NULL)`,
		engine.On(func(row *Document, _ engine.Recorded[events.DocumentCreated]) {
			row.Body = strings.Repeat(row.ID.String()[:8], mebibyte/8)
		}),
		engine.On(func(row *Document, _ engine.Recorded[events.DocumentArchived]) { row.Archived++ }))
	l := newLog(t, v)
	const documents = engine.MaxLoad/mebibyte + 4
	var made, archived []*eventstore.Recorded
	for i := range int64(documents) {
		stream := newStream()
		made = append(made, recorded(t, stream, 1, i+1, created("x")))
		archived = append(archived, recorded(t, stream, 2, i+1+documents, events.DocumentArchived{}))
	}
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	for _, r := range made {
		if err := engine.Apply(t.Context(), tx, v, []*eventstore.Recorded{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := engine.Apply(t.Context(), tx, v, append(archived, archived[0])); err != nil {
		t.Fatal(err)
	}
	var rows, folds, statements int
	const q = `SELECT count(*), sum(archived), count(DISTINCT cmin::text) FROM `
	if err := tx.QueryRow(t.Context(), q+v.Table()+"_g1").Scan(&rows, &folds, &statements); err != nil {
		t.Fatal(err)
	}
	if rows != documents || folds != documents+1 || statements < 2 {
		t.Errorf("%d rows with %d folds by %d statements, want %d with %d by several", rows, folds, statements, documents, documents+1)
	}
}

func recorded(t *testing.T, stream eventstore.Stream, version, position int64, e events.Event) *eventstore.Recorded {
	t.Helper()
	r, err := eventstore.NewRecorded(logtest.Vocabulary(t), stream, version, position, time.Now().UTC(), e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLargeEventsReachATableWhole(t *testing.T) {
	t.Parallel()
	l := newLog(t, projections.Documents)
	var last int64
	const documents = 20 // more than a batch holds
	for i := range documents {
		last = mustAppend(t, l.Store, newStream(), events.DocumentCreated{
			OwnerID: ann, Title: "large", Body: strings.Repeat(string(rune('a'+i)), mebibyte), ContentType: "text/plain",
		})
	}
	w, _ := start(t, l, projections.Documents)
	await(t, w, last, projections.Documents)
	if err := rebuild(t.Context(), l.Store, l.Pool, projections.Documents); err != nil {
		t.Fatal(err)
	}
	var whole int
	const q = ` WHERE length(body) = $1 AND body = repeat(left(body, 1), $1)`
	if err := l.Pool.QueryRow(t.Context(), `SELECT count(*) FROM `+projections.Documents.Table()+q, mebibyte).Scan(&whole); err != nil {
		t.Fatal(err)
	}
	if whole != documents {
		t.Errorf("%d of %d documents are whole", whole, documents)
	}
}
