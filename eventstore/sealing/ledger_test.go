package sealing_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/logtest"
)

func export(t *testing.T, l *logtest.Log) []byte {
	t.Helper()
	var ledger bytes.Buffer
	if _, err := l.Keys.ExportLedger(t.Context(), &ledger); err != nil {
		t.Fatal(err)
	}
	return ledger.Bytes()
}

// restore puts the keys, the ledger and the log back to before anybody was forgotten, as an older backup would.
func restore(t *testing.T, l *logtest.Log) {
	t.Helper()
	const q = `
		BEGIN;
		SET LOCAL session_replication_role = replica;
		TRUNCATE atlas.subject_keys, atlas.erasures;
		INSERT INTO atlas.subject_keys SELECT * FROM backup;
		DELETE FROM atlas.events WHERE type = 'subject.forgotten';
		DELETE FROM atlas.streams WHERE stream LIKE 'subject-%';
		COMMIT`
	if _, err := l.Pool.Exec(t.Context(), q); err != nil {
		t.Fatal(err)
	}
}

func TestAReplayedLedgerForgetsWhomABackupBroughtBack(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	hers, his := documentStream(), documentStream()
	appendTo(t, l, hers, events.DocumentCreated{OwnerID: ann, Title: "Ann's"})
	appendTo(t, l, his, events.DocumentCreated{OwnerID: bob, Title: "Bob's"})
	if _, err := l.Pool.Exec(t.Context(), `CREATE TABLE backup AS SELECT * FROM atlas.subject_keys`); err != nil {
		t.Fatal(err)
	}
	first := mustForget(t, l, ann)
	unknown := mustForget(t, l, uuid.New()) // registered after the backup
	exported := export(t, l)
	restore(t, l)

	restored := l.Node(t)
	if found, err := restored.Store.Load(t.Context(), hers, 1); err != nil || found[0].Erased {
		t.Fatalf("the backup did not bring Ann back, so this test shows nothing: %v", err)
	}
	ledger, err := restored.Keys.ReadLedger(t.Context(), bytes.NewReader(exported))
	if diff := cmp.Diff([]sealing.Erasure{first, unknown}, ledger); err != nil || diff != "" {
		t.Fatalf("the ledger: %v (-want +got):\n%s", err, diff)
	}
	if left, err := restored.Keys.Remaining(t.Context(), ledger); err != nil || len(left) != 2 {
		t.Fatalf("%v are not forgotten, %v; want both", left, err)
	}
	for range 2 { // the second time nothing changes
		for _, e := range ledger {
			again, err := restored.Keys.Replay(t.Context(), restored.Store, e)
			if err != nil || !again.ForgottenAt.Equal(e.ForgottenAt) {
				t.Fatalf("replayed %+v as %+v, %v", e, again, err)
			}
		}
	}
	if left, err := restored.Keys.Remaining(t.Context(), ledger); err != nil || len(left) != 0 {
		t.Errorf("%v are not forgotten, %v", left, err)
	}
	found, err := restored.Store.Load(t.Context(), hers, 1)
	if err != nil {
		t.Fatal(err)
	}
	requireErased(t, found[0])
	if found, err := restored.Store.Load(t.Context(), his, 1); err != nil || titleOf(t, found[0]) != "Bob's" {
		t.Errorf("Bob's document: %v", err)
	}
	said, err := restored.Store.Load(t.Context(), eventstore.NewStream("subject", ann), 1)
	if err != nil || len(said) != 1 {
		t.Errorf("the restored log says it with %d events (%v), want one", len(said), err)
	}
}

func TestALedgerIsReadWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	for range 3 {
		mustForget(t, l, uuid.New())
	}
	whole := string(export(t, l))
	lines := strings.SplitAfter(whole, "\n")
	if got, err := l.Keys.ReadLedger(t.Context(), strings.NewReader(whole)); err != nil || len(got) != 3 {
		t.Fatalf("read %d erasures, %v; want 3", len(got), err)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"cut off":          strings.Join(lines[:3], ""),
		"a line is gone":   strings.Join(lines[1:], ""),
		"lines swapped":    lines[1] + lines[0] + lines[2] + lines[3],
		"a line was added": lines[0] + whole,
		"something after":  whole + lines[0],
		"only the end":     lines[3],
		"another subject":  strings.Replace(whole, whole[12:14], "zz", 1),
		"no ledger":        "hello\n",
		"another's":        string(export(t, logtest.New(t))),
	} {
		if got, err := l.Keys.ReadLedger(t.Context(), strings.NewReader(text)); !errors.Is(err, sealing.ErrLedger) || got != nil {
			t.Errorf("%s: got %d erasures, %v; want ErrLedger", name, len(got), err)
		}
	}
}

func TestEveryNodeExportsTheSameLedger(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	e := mustForget(t, l, ann)
	if e.Position == 0 || time.Since(e.ForgottenAt) > time.Minute {
		t.Errorf("got %+v", e)
	}
	if first, second := export(t, l), export(t, l.Node(t)); !bytes.Equal(first, second) {
		t.Errorf("two exports differ:\n%s\n%s", first, second)
	}
}
