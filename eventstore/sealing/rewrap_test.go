package sealing_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// sealFor seals a value for each of so many subjects.
func sealFor(t *testing.T, k *sealing.Keys, n int) []*eventstore.Envelope {
	t.Helper()
	all := make([]*eventstore.Envelope, n)
	for i := range all {
		all[i] = envelope(uuid.New(), "event", "value")
	}
	if err := k.Seal(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	return all
}

// requireWrapped holds how many subject keys each master key wraps, those given first, and that nothing else is wrapped.
func requireWrapped(t *testing.T, k *sealing.Keys, want ...int64) {
	t.Helper()
	all, _, err := k.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range all {
		if i >= len(want) || w.Subjects != want[i] || w.First != (i == 0) {
			t.Fatalf("got %+v, want %v subjects", all, want)
		}
	}
}

func TestAfterRewrappingTheOldMasterKeyIsNotNeeded(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	oldKey, newKey := sealing.GenerateMaster(), sealing.GenerateMaster()
	before := open(t, pool, oldKey)
	values := sealFor(t, before, 1200) // several batches
	secret, err := before.Secret(t.Context(), "email")
	if err != nil {
		t.Fatal(err)
	}
	forget(t, pool, values[0].Subject)
	both := open(t, pool, newKey, oldKey)
	requireWrapped(t, both, 0, 1199)

	ctx, stop := context.WithCancel(t.Context())
	if _, err := both.Rewrap(ctx, func(looked, total int64) { stop() }); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped after a batch: %v", err)
	}
	all, _, err := both.Status(t.Context())
	if err != nil || all[0].Subjects == 0 || all[1].Subjects == 0 {
		t.Fatalf("stopped in the middle: %+v, %v", all, err)
	}
	var looked, total int64
	done, err := both.Rewrap(t.Context(), func(l, n int64) { looked, total = l, n })
	if err != nil || done != all[1].Subjects || looked != 1200 || total != 1200 {
		t.Fatalf("rewrapped %d of %d left, looked at %d of %d, %v", done, all[1].Subjects, looked, total, err)
	}
	requireWrapped(t, both, 1199, 0)

	after := open(t, pool, newKey)
	for _, v := range values[1:] {
		v.Plain = nil
	}
	if err := after.Open(t.Context(), values[1:]); err != nil {
		t.Fatal(err)
	}
	for _, v := range values[1:] {
		if v.Err != nil || string(v.Plain) != "value" {
			t.Fatalf("opened %q, %v", v.Plain, v.Err)
		}
	}
	if again, err := after.Secret(t.Context(), "email"); err != nil || string(again) != string(secret) {
		t.Errorf("the secret changed, %v", err)
	}
	if _, forgotten, err := after.Status(t.Context()); err != nil || forgotten != 1 {
		t.Errorf("%d tombstones, %v; want 1", forgotten, err)
	}
	if _, err := sealing.New(t.Context(), pool, master(t, oldKey)); !errors.Is(err, sealing.ErrMasterKey) {
		t.Errorf("a node with the old master key alone starts: %v", err)
	}
}

// TestRewrappingBesideNodesAtWork seals on nodes with either order of the master keys, and forgets, while keys are rewrapped
// twice at once.
func TestRewrappingBesideNodesAtWork(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	oldKey, newKey := sealing.GenerateMaster(), sealing.GenerateMaster()
	values := sealFor(t, open(t, pool, oldKey), 600)
	rewrapping := []*sealing.Keys{open(t, pool, newKey, oldKey), open(t, pool, newKey, oldKey)}
	nodes := []*sealing.Keys{open(t, pool, oldKey, newKey), open(t, pool, newKey, oldKey)}
	var wg sync.WaitGroup
	for _, k := range rewrapping {
		wg.Go(func() {
			if _, err := k.Rewrap(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	sealedSince := make([]*eventstore.Envelope, 60)
	for i := range sealedSince {
		sealedSince[i] = envelope(uuid.New(), "event", "value")
		wg.Go(func() {
			if err := nodes[i%2].Seal(t.Context(), sealedSince[i:i+1]); err != nil {
				t.Error(err)
			}
		})
	}
	for _, v := range values[:20] {
		wg.Go(func() { forget(t, pool, v.Subject) })
	}
	wg.Wait()
	if _, err := rewrapping[0].Rewrap(t.Context(), nil); err != nil { // what nodes with the old order have made since
		t.Fatal(err)
	}
	requireWrapped(t, rewrapping[0], 640, 0)
	requireOpensAll(t, pool, newKey, append(values[20:], sealedSince...))
	if _, forgotten, err := rewrapping[0].Status(t.Context()); err != nil || forgotten != 20 {
		t.Errorf("%d tombstones, %v; want 20", forgotten, err)
	}
}

func requireOpensAll(t *testing.T, pool *pgxpool.Pool, key string, values []*eventstore.Envelope) {
	t.Helper()
	k := open(t, pool, key)
	for _, v := range values {
		requireOpens(t, k, v, "value")
	}
}

func TestAKeyThatCannotBeUnwrappedKeepsNoOtherFromBeingRewrapped(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, sealing.Migrations())
	oldKey, newKey := sealing.GenerateMaster(), sealing.GenerateMaster()
	values := sealFor(t, open(t, pool, oldKey), 3)
	const damage = `UPDATE atlas.subject_keys SET wrapped = set_byte(wrapped, 30, get_byte(wrapped, 30) # 1) WHERE subject = $1`
	if _, err := pool.Exec(t.Context(), damage, values[0].Subject); err != nil {
		t.Fatal(err)
	}
	both := open(t, pool, newKey, oldKey)
	_, err := both.Rewrap(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), values[0].Subject.String()) {
		t.Errorf("got %v, want an error that names %s", err, values[0].Subject)
	}
	requireWrapped(t, both, 2, 1)
	requireOpensAll(t, pool, newKey, values[1:])
}
