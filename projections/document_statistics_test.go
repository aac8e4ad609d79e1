package projections_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/projections/engine/foldtest"
)

// Two documents of one part, and one of another.
var (
	twin  = uuid.MustParse("0197f2f0-7c00-7000-9000-00000000000a")
	apart = uuid.MustParse("0197f2f0-7c00-7000-8000-00000000000b")
)

func sized(owner uuid.UUID, bytes int) events.DocumentCreated {
	return events.DocumentCreated{OwnerID: owner, Title: "Plan", Body: body(bytes), ContentType: "text/plain"}
}

func resized(owner uuid.UUID, bytes int) events.DocumentRevised {
	return events.DocumentRevised{OwnerID: owner, Title: "Plan", Body: body(bytes), ContentType: "text/plain"}
}

func body(bytes int) string { return fmt.Sprintf("%0*d", bytes, 0) }

func TestDocumentsAreCountedByOwnerAndPart(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.DocumentStatistics).
		Given(id, sized(ann, 100)).Given(twin, sized(ann, 20), events.DocumentArchived{OwnerID: ann}).
		Given(apart, sized(ann, 3), resized(ann, 1)).
		Given(id, resized(ann, 400)).
		Then(
			projections.DocumentPart{
				OwnerID: ann, Part: 10, Active: 1, Archived: 1, BodyBytes: 420, ChangedAt: at(6),
				Documents: []projections.CountedDocument{{ID: id, BodyBytes: 400}, {ID: twin, BodyBytes: 20, Archived: true}},
			},
			projections.DocumentPart{
				OwnerID: ann, Part: 11, Active: 1, BodyBytes: 1, ChangedAt: at(5),
				Documents: []projections.CountedDocument{{ID: apart, BodyBytes: 1}},
			},
		)
}

func TestADeletedDocumentIsCountedNoMoreWhateverFollows(t *testing.T) {
	t.Parallel()
	deleted := foldtest.Of(t, projections.DocumentStatistics).
		Given(id, sized(ann, 100), events.DocumentArchived{OwnerID: ann}).Given(twin, sized(ann, 20)).
		Given(id, events.DocumentDeleted{OwnerID: ann})
	left := projections.DocumentPart{
		OwnerID: ann, Part: 10, Active: 1, BodyBytes: 20, ChangedAt: at(4),
		Documents: []projections.CountedDocument{{ID: twin, BodyBytes: 20}},
	}
	deleted.Then(left)
	deleted.Given(id, events.DocumentRestored{OwnerID: ann}, resized(ann, 5), events.DocumentDeleted{OwnerID: ann}).Then(left)
	left.Documents, left.Active, left.BodyBytes, left.ChangedAt = []projections.CountedDocument{}, 0, 0, at(5)
	deleted.Given(twin, events.DocumentDeleted{OwnerID: ann}).Then(left)
}

func TestNothingIsCountedOfTheForgotten(t *testing.T) {
	t.Parallel()
	foldtest.Of(t, projections.DocumentStatistics).
		Given(id, sized(ann, 100)).Given(twin, sized(bob, 20)).
		Forgotten(ann).
		Given(id, resized(ann, 200)).
		Then(projections.DocumentPart{
			OwnerID: bob, Part: 10, Active: 1, BodyBytes: 20, ChangedAt: at(2), Documents: []projections.CountedDocument{{ID: twin, BodyBytes: 20}},
		})
}

// TestStatisticsAreWhatTheDocumentsComeTo counts documents that change, and holds the totals against the documents
// themselves: as they come, rebuilt, and verified by reading the whole log, which finds what is wrong and mends it.
func TestStatisticsAreWhatTheDocumentsComeTo(t *testing.T) {
	t.Parallel()
	ts := newTables(t)
	var ids []uuid.UUID
	for i := range 12 {
		ids = append(ids, newID())
		ts.write("document", ids[i], sized(ann, 10*i), resized(ann, 11*i))
	}
	ts.write("document", ids[1], events.DocumentArchived{OwnerID: ann}, events.DocumentRestored{OwnerID: ann}, events.DocumentArchived{OwnerID: ann})
	ts.write("document", ids[2], events.DocumentArchived{OwnerID: ann}, events.DocumentDeleted{OwnerID: ann})
	ts.write("document", newID(), sized(bob, 1000))
	ts.requireTotals(ann)
	ts.requireTotals(bob)
	if got, err := ts.DocumentTotals(t.Context(), newID()); err != nil || got != (projections.DocumentTotals{}) {
		t.Errorf("who has no documents: got %+v, %v, want nothing", got, err)
	}

	rebuilt := ts.do(engine.KindRebuild, engine.Options{})
	if rebuilt.Generation != 2 {
		t.Errorf("rebuilt generation %d, want 2", rebuilt.Generation)
	}
	ts.requireTotals(ann)
	wrong := `UPDATE ` + projections.DocumentStatistics.Table() + `_g2 SET active = active + 1 WHERE owner_id = $1`
	if _, err := ts.log.Pool.Exec(t.Context(), wrong, bob); err != nil {
		t.Fatal(err)
	}
	for _, o := range []engine.Options{{}, {Sample: -1}, {Repair: true}} {
		found := ts.verify(o)
		if found.Different != 1 || len(found.Differences) != 1 || !cmp.Equal(found.Differences[0].Columns, []string{"active"}) {
			t.Errorf("verified with %+v: got %+v, want bob's row named, and the column", o, found)
		}
	}
	if found := ts.verify(engine.Options{Sample: -1}); found.Different != 0 {
		t.Errorf("after a repair: got %+v", found)
	}
	ts.requireTotals(bob)
}

// requireTotals holds what the statistics say of an owner's documents against the documents.
func (ts tables) requireTotals(owner uuid.UUID) {
	ts.t.Helper()
	const q = `
		SELECT count(*) FILTER (WHERE status = 'active') AS active, count(*) FILTER (WHERE status = 'archived') AS archived,
			coalesce(sum(octet_length(body)), 0)::bigint AS body_bytes,
			(SELECT max(at) FROM read.document_history_v2 WHERE owner_id = $1) AS changed_at
		FROM read.documents_v1 WHERE owner_id = $1`
	var want projections.DocumentTotals
	if err := ts.log.Pool.QueryRow(ts.t.Context(), q, owner).Scan(&want.Active, &want.Archived, &want.BodyBytes, &want.ChangedAt); err != nil {
		ts.t.Fatal(err)
	}
	got, err := ts.DocumentTotals(ts.t.Context(), owner)
	if err != nil {
		ts.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || got.ChangedAt == nil {
		ts.t.Errorf("(-documents +statistics):\n%s", diff)
	}
}

// do does something to the statistics.
func (ts tables) do(kind engine.Kind, o engine.Options) engine.Job {
	ts.t.Helper()
	build := func() (string, error) { return "test", nil }
	shop := engine.NewWorkshop(ts.log.Store, ts.log.Pool, slog.New(slog.DiscardHandler), build, projections.Catalog())
	j, err := shop.Do(ts.t.Context(), kind, projections.DocumentStatistics.ID(), o, nil)
	if err != nil {
		ts.t.Fatal(err)
	}
	return j
}

func (ts tables) verify(o engine.Options) (found engine.Verification) {
	ts.t.Helper()
	if err := json.Unmarshal(ts.do(engine.KindVerify, o).Result, &found); err != nil {
		ts.t.Fatal(err)
	}
	return found
}
