package auth

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func newRevocations() (*Revocations, *clock) {
	c := &clock{now: noon}
	r := NewRevocations(c.read)
	r.Ready()
	r.Confirm(noon)
	return r, c
}

// pass lets time go by while the feed keeps confirming.
func pass(r *Revocations, c *clock, d time.Duration) {
	c.now = c.now.Add(d)
	r.Confirm(c.now)
}

func TestEndedSessionIsRevokedAndOthersAreNot(t *testing.T) {
	t.Parallel()
	r, _ := newRevocations()
	r.EndSession(sessionID, noon)
	if err := r.Check(annClaims().Credential()); !errors.Is(err, ErrTokenRevoked) {
		t.Errorf("ended session: %v, want ErrTokenRevoked", err)
	}
	other := annClaims()
	other.Session = uuid.New()
	if err := r.Check(other.Credential()); err != nil {
		t.Errorf("another session of the user: %v", err)
	}
}

func TestRaisedEpochRevokesOlderTokensOnly(t *testing.T) {
	t.Parallel()
	r, _ := newRevocations()
	r.RaiseEpoch(annID, 4, noon)
	claims := annClaims()
	for epoch, want := range map[int64]error{-1: ErrTokenRevoked, 3: ErrTokenRevoked, 4: nil, 5: nil} {
		claims.Epoch = epoch
		if err := r.Check(claims.Credential()); !errors.Is(err, want) {
			t.Errorf("epoch %d: %v, want %v", epoch, err, want)
		}
	}
}

func TestDisabledUserMaySignInAgainOnceEnabled(t *testing.T) {
	t.Parallel()
	r, _ := newRevocations()
	r.RaiseEpoch(annID, 4, noon)
	if err := r.Check(annClaims().Credential()); !errors.Is(err, ErrTokenRevoked) {
		t.Errorf("token from before: %v, want ErrTokenRevoked", err)
	}
	after := annClaims()
	after.Epoch = 4
	if err := r.Check(after.Credential()); err != nil {
		t.Errorf("token from after being enabled: %v", err)
	}
}

func TestNothingIsAcceptedBeforeTheFeedIsReady(t *testing.T) {
	t.Parallel()
	c := &clock{now: noon}
	r := NewRevocations(c.read)
	refused := func(when string) {
		t.Helper()
		if err := r.Check(annClaims().Credential()); !errors.Is(err, ErrRevocationsUnknown) || r.Fresh(noon) {
			t.Errorf("%s: %v, fresh = %v; want ErrRevocationsUnknown", when, err, r.Fresh(noon))
		}
	}
	refused("new")
	r.Confirm(noon)
	refused("confirmed, not ready")
	r.Ready()
	if err := r.Check(annClaims().Credential()); err != nil {
		t.Errorf("ready and confirmed: %v", err)
	}
	r.EndSession(sessionID, noon)
	r.Reset()
	refused("reset")
	r.Ready()
	refused("ready, not confirmed")
	r.Confirm(noon)
	if err := r.Check(annClaims().Credential()); err != nil {
		t.Errorf("after a reset nothing is remembered, but got %v", err)
	}
}

func TestSilentFeedFailsClosedAfterFiveSeconds(t *testing.T) {
	t.Parallel()
	r, c := newRevocations()
	r.EndSession(uuid.New(), noon)
	c.now = noon.Add(5 * time.Second)
	if err := r.Check(annClaims().Credential()); err != nil {
		t.Errorf("after 5 s: %v", err)
	}
	c.now = c.now.Add(time.Millisecond)
	if err := r.Check(annClaims().Credential()); !errors.Is(err, ErrRevocationsUnknown) {
		t.Errorf("after 5.001 s: %v, want ErrRevocationsUnknown", err)
	}
	r.Confirm(c.now)
	r.Confirm(noon) // a slow reader that began earlier
	if err := r.Check(annClaims().Credential()); err != nil {
		t.Errorf("confirmed again: %v", err)
	}
}

func TestCutOffLivesAsLongAsTheTokensItRefuses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r, c := newRevocations()
		pass(r, c, time.Duration(rapid.IntRange(0, 3600).Draw(t, "seconds before"))*time.Second)
		r.EndSession(sessionID, c.now)
		r.RaiseEpoch(annID, 4, c.now)
		end := c.now.Add(RevocationWindow)
		for c.now.Before(end) {
			if err := r.Check(annClaims().Credential()); !errors.Is(err, ErrTokenRevoked) {
				t.Fatalf("%v before its end: %v, want ErrTokenRevoked", end.Sub(c.now), err)
			}
			pass(r, c, time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds"))*time.Second)
		}
	})
}

func TestCutOffsAreForgottenInTime(t *testing.T) {
	t.Parallel()
	r, c := newRevocations()
	for range 1000 {
		r.EndSession(uuid.New(), c.now)
		r.RaiseEpoch(uuid.New(), 1, c.now)
	}
	r.EndSession(uuid.New(), c.now.Add(-2*time.Hour))
	if n := r.Size(); n != 2000 {
		t.Errorf("%d cut-offs are kept, want 2000 and not the ancient one", n)
	}
	pass(r, c, RevocationWindow)
	pass(r, c, RevocationWindow)
	if n := r.Size(); n != 0 {
		t.Errorf("%d cut-offs are kept after two windows, want 0", n)
	}
}

// TestStrictestCutOffWinsInAnyOrder applies the same cut-offs in two orders, one with repetitions, at times that spread
// over both generations, and compares both with the rule itself: a credential has to reach all that hit it.
func TestStrictestCutOffWinsInAnyOrder(t *testing.T) {
	t.Parallel()
	type cutoff struct {
		kind  holderKind
		id    byte
		epoch int64
		wait  int // seconds before it is applied
	}
	cutoffOf := rapid.Custom(func(t *rapid.T) cutoff {
		return cutoff{
			kind:  holderKind(rapid.IntRange(int(ofUser), int(ofEveryone)).Draw(t, "kind")),
			id:    rapid.ByteRange(1, 3).Draw(t, "id"),
			epoch: rapid.Int64Range(0, 4).Draw(t, "epoch"),
			wait:  rapid.IntRange(0, 20).Draw(t, "wait"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		cutoffs := rapid.SliceOfN(cutoffOf, 0, 12).Draw(t, "cutoffs")
		other := rapid.Permutation(slices.Concat(cutoffs, cutoffs)).Draw(t, "other order")
		credential := Credential{
			User:   uuid.UUID{rapid.ByteRange(1, 3).Draw(t, "user")},
			Epoch:  rapid.Int64Range(0, 4).Draw(t, "of epoch"),
			Shared: rapid.Int64Range(0, 4).Draw(t, "of shared epoch"),
		}
		isKey, id := rapid.Bool().Draw(t, "a key"), uuid.UUID{rapid.ByteRange(1, 3).Draw(t, "of session or key")}
		if isKey {
			credential.Key, credential.Secret = id, rapid.Int64Range(0, 4).Draw(t, "of secret")
		} else {
			credential.Session = id
		}
		var want error
		for _, c := range cutoffs {
			hit := map[holderKind]bool{
				ofUser:     credential.User == uuid.UUID{c.id} && credential.Epoch < c.epoch,
				ofSession:  !isKey && id == uuid.UUID{c.id},
				ofKey:      isKey && id == uuid.UUID{c.id} && credential.Secret < c.epoch,
				ofEveryone: !isKey && credential.Shared < c.epoch,
			}
			if hit[c.kind] {
				want = ErrTokenRevoked
			}
		}
		for _, order := range [][]cutoff{cutoffs, other} {
			r, clock := newRevocations()
			for _, c := range order {
				pass(r, clock, time.Duration(c.wait)*time.Second)
				switch c.kind {
				case ofUser:
					r.RaiseEpoch(uuid.UUID{c.id}, c.epoch, clock.now)
				case ofSession:
					r.EndSession(uuid.UUID{c.id}, clock.now)
				case ofKey:
					r.RaiseKey(uuid.UUID{c.id}, c.epoch, clock.now)
				case ofEveryone:
					r.RaiseShared(c.epoch, clock.now)
				}
			}
			if err := r.Check(credential); !errors.Is(err, want) {
				t.Fatalf("%v: got %v, want %v", order, err, want)
			}
		}
	})
}

func TestRevocationsMayBeUsedConcurrently(t *testing.T) {
	t.Parallel()
	r := NewRevocations(time.Now)
	r.Ready()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				r.Confirm(time.Now())
				r.EndSession(uuid.New(), time.Now())
				r.RaiseEpoch(annID, 4, time.Now())
				if err := r.Check(annClaims().Credential()); !errors.Is(err, ErrTokenRevoked) {
					t.Errorf("got %v, want ErrTokenRevoked", err)
				}
			}
		})
	}
	group.Wait()
}
