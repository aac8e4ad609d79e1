package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func newRefresh(t testing.TB) *Refresh {
	t.Helper()
	r, err := NewRefresh(random(refreshKey))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRefreshTokenReadsBackAndIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	r := newRefresh(t)
	rapid.Check(t, func(t *rapid.T) {
		session := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "session"))
		counter := rapid.Uint64Range(0, math.MaxInt64-1).Draw(t, "counter")
		token := r.Mint(session, counter)
		gotSession, gotCounter, err := r.Parse(token)
		if err != nil || gotSession != session || gotCounter != counter {
			t.Fatalf("got %v, %d, %v; want %v, %d", gotSession, gotCounter, err, session, counter)
		}
		if !strings.HasPrefix(token.Reveal(), "atr_") || token != r.Mint(session, counter) {
			t.Fatalf("%s is not the session's token", token.Reveal())
		}
	})
}

func TestEveryChangedBitOfARefreshTokenIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRefresh(t)
	token := r.Mint(sessionID, 7).Reveal()
	body, err := base64.RawURLEncoding.DecodeString(token[len(refreshPrefix):])
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		for bit := range 8 {
			changed := bytes.Clone(body)
			changed[i] ^= 1 << bit
			text := refreshPrefix + base64.RawURLEncoding.EncodeToString(changed)
			if _, _, err := r.Parse(Secret(text)); !errors.Is(err, ErrRefreshTokenInvalid) {
				t.Fatalf("bit %d of byte %d: %v, want ErrRefreshTokenInvalid", bit, i, err)
			}
		}
	}
}

func TestOtherTextIsNoRefreshToken(t *testing.T) {
	t.Parallel()
	r := newRefresh(t)
	token := r.Mint(sessionID, 0).Reveal()
	for name, text := range map[string]string{
		"nothing":           "",
		"the prefix":        refreshPrefix,
		"no prefix":         token[len(refreshPrefix):],
		"another prefix":    "ATR_" + token[len(refreshPrefix):],
		"a shorter one":     token[:len(token)-1],
		"a longer one":      token + "A",
		"padding":           token + "=",
		"a line break":      token[:20] + "\n" + token[21:],
		"one too many":      token + "\n",
		"stray bits":        token[:len(token)-1] + string(token[len(token)-1]+1),
		"another key":       newRefresh(t).Mint(sessionID, 0).Reveal(),
		"a counter too big": r.Mint(sessionID, math.MaxInt64).Reveal(),
	} {
		if _, _, err := r.Parse(Secret(text)); !errors.Is(err, ErrRefreshTokenInvalid) {
			t.Errorf("%s: %v, want ErrRefreshTokenInvalid", name, err)
		}
	}
}

func TestRefreshKeyIs32RandomBytes(t *testing.T) {
	t.Parallel()
	for _, key := range [][]byte{nil, random(31), random(33), make([]byte, 32)} {
		if _, err := NewRefresh(key); err == nil {
			t.Errorf("a key of %d bytes was accepted", len(key))
		}
	}
}

func FuzzParseRefresh(f *testing.F) {
	r := newRefresh(f)
	f.Add(r.Mint(sessionID, 0).Reveal())
	f.Add(r.Mint(sessionID, math.MaxUint64).Reveal())
	f.Add("atr_")
	f.Fuzz(func(t *testing.T, s string) {
		session, counter, err := r.Parse(Secret(s))
		if err == nil && r.Mint(session, counter).Reveal() != s {
			t.Errorf("%q was read, but is written otherwise", s)
		}
		if err != nil && !errors.Is(err, ErrRefreshTokenInvalid) {
			t.Errorf("%q: %v is not ErrRefreshTokenInvalid", s, err)
		}
	})
}
