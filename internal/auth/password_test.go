package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

const ann = Secret("correct horse battery")

// cheap keeps tests quick; only the tests of the gate and of the cost care.
func cheap(t *testing.T) *Hasher {
	t.Helper()
	h, err := NewHasher(Cost{Memory: 64, Passes: 1, Lanes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPasswordVerifiesAgainstItsHashOnly(t *testing.T) {
	t.Parallel()
	h := cheap(t)
	stored, err := h.Hash(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[Secret]bool{ann: true, ann + " ": false, "": false, ann[1:]: false} {
		ok, rehash, err := h.Verify(t.Context(), stored, password)
		if ok != want || rehash || err != nil {
			t.Errorf("Verify(%d characters) = %v, %v, %v; want %v, false, nil", len(password), ok, rehash, err, want)
		}
	}
}

func TestSamePasswordHashesDifferentlyEachTime(t *testing.T) {
	t.Parallel()
	h := cheap(t)
	a, _ := h.Hash(t.Context(), ann)
	b, _ := h.Hash(t.Context(), ann)
	if a == b {
		t.Error("two hashes of one password are equal: the salt is not new")
	}
}

func TestPasswordVerifiesInEveryUnicodeSpelling(t *testing.T) {
	t.Parallel()
	h := cheap(t)
	stored, _ := h.Hash(t.Context(), "caf\u00e9 caf\u00e9 caf\u00e9")
	ok, _, err := h.Verify(t.Context(), stored, "cafe\u0301 cafe\u0301 cafe\u0301")
	if !ok || err != nil {
		t.Errorf("decomposed spelling: ok = %v, err = %v; want it accepted", ok, err)
	}
}

func TestLongPasswordsAreNotTruncated(t *testing.T) {
	t.Parallel()
	h := cheap(t)
	long := Secret(strings.Repeat("x", 100))
	stored, _ := h.Hash(t.Context(), long+"a")
	if ok, _, _ := h.Verify(t.Context(), stored, long+"b"); ok {
		t.Error("a password that differs only at its end was accepted")
	}
}

func TestHashAtAnotherCostVerifiesAndAsksForRehash(t *testing.T) {
	t.Parallel()
	old, err := NewHasher(Cost{Memory: 32, Passes: 1, Lanes: 1})
	if err != nil {
		t.Fatal(err)
	}
	stored, _ := old.Hash(t.Context(), ann)
	if ok, rehash, err := cheap(t).Verify(t.Context(), stored, ann); !ok || !rehash || err != nil {
		t.Errorf("right password: %v, %v, %v; want true, true, nil", ok, rehash, err)
	}
	if ok, rehash, err := cheap(t).Verify(t.Context(), stored, "wrong"); ok || rehash || err != nil {
		t.Errorf("wrong password: %v, %v, %v; want false, false, nil", ok, rehash, err)
	}
}

func TestDefaultCostIsWrittenIntoTheHash(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(DefaultCost())
	if err != nil {
		t.Fatal(err)
	}
	stored, err := h.Hash(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash starts %.31q", stored)
	}
}

func TestNobodyIsNeverVerified(t *testing.T) {
	t.Parallel()
	h := cheap(t)
	if ok, rehash, err := h.Verify(t.Context(), h.nobody, ann); ok || rehash || err != nil {
		t.Errorf("got %t, %t, %v", ok, rehash, err)
	}
}

// The work for nobody is the work for somebody: a hash of the same shape goes through the same check.
func TestNobodysHashCostsWhatSomebodysDoes(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(Cost{Memory: 4 << 10, Passes: 1, Lanes: 1})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := h.Hash(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	somebody, err := parsePHC(stored)
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := parsePHC(h.nobody)
	if err != nil {
		t.Fatal(err)
	}
	if nobody.cost != somebody.cost || len(nobody.salt) != len(somebody.salt) || len(nobody.key) != len(somebody.key) {
		t.Errorf("nobody's hash is %+v with %d and %d bytes, somebody's %+v with %d and %d", nobody.cost, len(nobody.salt),
			len(nobody.key), somebody.cost, len(somebody.salt), len(somebody.key))
	}
}

func TestFullGateTurnsAwayWithRetryAfter(t *testing.T) {
	t.Parallel()
	g := newGate(1, 1)
	h, err := newHasher(Cost{Memory: 64, Passes: 1, Lanes: 1}, g)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, giveUp := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() { waiting <- h.VerifyNobody(ctx, ann) }()
	watchtest.Eventually(t, 30*time.Second, "two have a place", func() bool { return len(g.places) == 2 })

	_, err = h.Hash(t.Context(), ann)
	o, _, _ := fault.Of(err)
	if !errors.Is(err, ErrBusy) || o.RetryAfter() != time.Second {
		t.Errorf("third caller got %v, want ErrBusy with Retry-After 1 s", err)
	}

	giveUp()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting caller got %v, want context.Canceled", err)
	}
	g.leave()
	if _, err := h.Hash(t.Context(), ann); err != nil {
		t.Errorf("after the gate emptied: %v", err)
	}
	if n := len(g.places) + len(g.slots); n != 0 {
		t.Errorf("%d places are still held", n)
	}
}

func TestEndedContextHashesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cheap(t).Hash(ctx, ann); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestPasswordHasTwelveTo128CodePoints(t *testing.T) {
	t.Parallel()
	cases := []struct {
		password Secret
		code     string
	}{
		{"", "too_short"},
		{"eleven char", "too_short"},
		{"twelve chars", ""},
		{Secret(strings.Repeat("é", 11)), "too_short"},
		{Secret(strings.Repeat("e\u0301", 11)), "too_short"}, // 22 code points that compose to 11
		{Secret(strings.Repeat("🔑", 12)), ""},
		{Secret(strings.Repeat("🔑", 128)), ""},
		{Secret(strings.Repeat("🔑", 129)), "too_long"},
		{"twelve chars\xff", "invalid_format"},
		{"twelve chars\ufffd", "invalid_format"},
	}
	for _, c := range cases {
		err := CheckPassword(c.password)
		if c.code == "" {
			if err != nil {
				t.Errorf("%q: %v", c.password.Reveal(), err)
			}
			continue
		}
		o, f, ok := fault.Of(err)
		if !ok || f != ErrWeakPassword || o.Fields()[0].Pointer != "/password" {
			t.Errorf("%q: got %v, want ErrWeakPassword at /password", c.password.Reveal(), err)
			continue
		}
		if diff := cmp.Diff(c.code, o.Fields()[0].Code); diff != "" {
			t.Errorf("%q: %s", c.password.Reveal(), diff)
		}
	}
}
