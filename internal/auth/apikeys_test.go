package auth

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// keyLog is a log that holds one key, and counts how often it was read.
type keyLog struct {
	record KeyRecord
	err    error
	read   int
}

func (l *keyLog) APIKey(_ context.Context, id uuid.UUID) (KeyRecord, error) {
	l.read++
	if id != keyID {
		return KeyRecord{}, fault.ErrNotFound
	}
	return l.record, l.err
}

// ring is one node's check of API keys.
type ring struct {
	*APIKeys
	t           *testing.T
	log         *keyLog
	key         Secret
	revocations *Revocations
	clock       *clock
	uses        int
}

func newRing(t *testing.T) *ring {
	t.Helper()
	key := NewAPIKey(keyID)
	r := &ring{t: t, key: key, log: &keyLog{record: KeyRecord{
		Owner: annID, Epoch: 3, Roles: []string{"user", "admin"}, Scopes: []string{"documents:read"}, Hash: HashAPIKey(key), Secret: 1,
	}}}
	r.revocations, r.clock = newRevocations()
	r.APIKeys = NewAPIKeys(r.log, r.revocations, func(uuid.UUID) { r.uses++ }, r.clock.read)
	return r
}

// tell moves the clock, and says that the feed of revocations went along.
func (r *ring) tell(at time.Time) {
	r.clock.now = at
	r.revocations.Confirm(at)
}

// want uses a key, and wants the error, or none, after the log was read so often in all.
func (r *ring) want(key Secret, want error, reads int) Principal {
	r.t.Helper()
	p, err := r.Authenticate(r.t.Context(), key.Reveal())
	if !errors.Is(err, want) || want == nil && err != nil {
		r.t.Errorf("got %v, want %v", err, want)
	}
	if r.log.read != reads {
		r.t.Errorf("the log was read %d times, want %d", r.log.read, reads)
	}
	return p
}

func TestAKeyActsForItsOwnerWithinItsScopes(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	want := Principal{User: annID, Key: keyID, Roles: []string{"user", "admin"}, Scopes: []string{"documents:read"}, Epoch: 3}
	for range 3 {
		if diff := cmp.Diff(want, r.want(r.key, nil, 1)); diff != "" {
			t.Error(diff)
		}
	}
	if r.uses != 3 {
		t.Errorf("%d uses were counted, want 3", r.uses)
	}
	r.want(NewAPIKey(keyID), ErrAPIKeyInvalid, 2)
	r.want(NewAPIKey(uuid.New()), ErrAPIKeyInvalid, 3)
	r.want("atlas_live_typo", ErrAPIKeyInvalid, 3)
	if r.uses != 3 {
		t.Errorf("a refused key counts as used")
	}
}

func TestARememberedKeyIsReadAgainAfterAWhile(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	r.want(r.key, nil, 1)
	r.tell(noon.Add(apiKeyMemory - time.Second))
	r.want(r.key, nil, 1)
	r.tell(noon.Add(apiKeyMemory))
	r.want(r.key, nil, 2)
}

func TestARevokedKeyIsRefusedThoughItIsRemembered(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	r.want(r.key, nil, 1)
	r.log.record.Revoked = true
	r.want(r.key, nil, 1) // the news has not come
	r.revocations.RaiseKey(keyID, 1<<62, noon)
	r.want(r.key, ErrTokenRevoked, 2)
}

func TestAKeyIsLoweredWithItsOwnerAndDiesWithThem(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	r.want(r.key, nil, 1)
	r.log.record.Roles, r.log.record.Epoch = []string{"user"}, 4
	r.revocations.RaiseEpoch(annID, 4, noon)
	if p := r.want(r.key, nil, 2); p.Admin() {
		t.Error("the key is an admin's though its owner is none")
	}
	r.want(r.key, nil, 2)
	r.log.record.OwnerDisabled, r.log.record.Epoch = true, 5
	r.revocations.RaiseEpoch(annID, 5, noon)
	r.want(r.key, ErrTokenRevoked, 3)
	r.log.record.OwnerDisabled = false
	r.want(r.key, nil, 4)
}

func TestARotatedKeysOldSecretEndsAtOnceOrWhenItWasSaid(t *testing.T) {
	t.Parallel()
	at := newRing(t)
	at.want(at.key, nil, 1)
	next := NewAPIKey(keyID)
	at.log.record.Hash, at.log.record.Secret = HashAPIKey(next), 2
	at.revocations.RaiseKey(keyID, 2, noon)
	at.want(at.key, ErrAPIKeyInvalid, 2)
	at.want(next, nil, 3)
	at.want(next, nil, 3)

	later := newRing(t)
	later.want(later.key, nil, 1)
	until := noon.Add(time.Minute)
	later.log.record.Previous, later.log.record.PreviousUntil = later.log.record.Hash, until
	later.log.record.Hash, later.log.record.Secret = HashAPIKey(next), 2
	later.revocations.RaiseKey(keyID, 1, noon)
	later.want(next, nil, 2)
	fresh := newRing(t) // a node that meets the old secret only now
	fresh.key, fresh.log.record = later.key, later.log.record
	fresh.tell(until.Add(-time.Second))
	fresh.want(fresh.key, nil, 1)
	fresh.tell(until)
	fresh.want(fresh.key, ErrAPIKeyInvalid, 2)
}

func TestAnExpiredKeyIsRefusedToTheSecond(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	r.log.record.ExpiresAt = noon.Add(time.Minute)
	r.want(r.key, nil, 1)
	r.tell(noon.Add(time.Minute - time.Second))
	r.want(r.key, nil, 1)
	r.tell(noon.Add(time.Minute))
	r.want(r.key, ErrAPIKeyInvalid, 2)
}

// TestANodeThatDoesNotFollowTheLogAsksItAboutEachKeyOrRefuses: what it remembers may have been revoked since.
func TestANodeThatDoesNotFollowTheLogAsksItAboutEachKeyOrRefuses(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	r.want(r.key, nil, 1)
	r.clock.now = noon.Add(freshFor + time.Millisecond)
	r.want(r.key, nil, 2)
	r.want(r.key, nil, 3)
	r.log.record.Revoked = true
	r.want(r.key, ErrTokenRevoked, 4)
	r.log.err = errors.New("connection refused")
	r.want(r.key, ErrRevocationsUnknown, 5)
	r.revocations.Reset()
	r.want(r.key, ErrRevocationsUnknown, 6)
}

// TestAKeyIsRememberedForLessThanWhatRevokesIt holds the two figures together that the memory stands on.
func TestAKeyIsRememberedForLessThanWhatRevokesIt(t *testing.T) {
	t.Parallel()
	if apiKeyMemory+freshFor >= RevocationWindow {
		t.Errorf("a key is remembered for %v, a cut-off for %v", apiKeyMemory, RevocationWindow)
	}
}

func TestUsesAreWrittenTogetherAndNeverBackwards(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, postgres.MigrationSet{Name: "auth", FS: Migrations()})
	c := &clock{now: noon}
	here := NewKeyUses(pool, c.read, slog.New(slog.DiscardHandler))
	there := NewKeyUses(pool, c.read, slog.New(slog.DiscardHandler))
	other := uuid.New()
	there.Used(keyID)
	c.now = noon.Add(time.Minute)
	for range 100 {
		here.Used(keyID)
	}
	here.Used(other)
	wantUses := func(want map[uuid.UUID]time.Time) {
		t.Helper()
		got, err := here.LastUses(t.Context(), []uuid.UUID{keyID, other, uuid.New()})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	wantUses(map[uuid.UUID]time.Time{})
	for _, node := range []*KeyUses{here, there} { // the earlier use is written last
		if err := node.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantUses(map[uuid.UUID]time.Time{keyID: c.now, other: c.now})
}

func TestUsesThatCannotBeWrittenAreKeptAndTheLastAreWrittenAtTheStop(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t, postgres.MigrationSet{Name: "auth", FS: Migrations()})
	uses := NewKeyUses(pool, time.Now, slog.New(slog.DiscardHandler))
	uses.Used(keyID)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := uses.Flush(gone); err == nil {
		t.Fatal("a cancelled write succeeded")
	}
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { uses.Run(ctx) })
	stop()
	run.Wait()
	got, err := uses.LastUses(t.Context(), []uuid.UUID{keyID})
	if err != nil || len(got) != 1 {
		t.Errorf("got %v, %v; want one use", got, err)
	}
}
