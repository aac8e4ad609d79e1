package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
)

var keyID = uuid.MustParse("0190a3c0-0000-7000-8000-000000000003")

func TestAnAPIKeyNamesItsIDAndIsNeverMadeTwice(t *testing.T) {
	t.Parallel()
	a, b := NewAPIKey(keyID), NewAPIKey(keyID)
	if a == b || HashAPIKey(a) == HashAPIKey(b) {
		t.Error("two keys are one")
	}
	for _, key := range []Secret{a, b} {
		if id, err := ParseAPIKey(key.Reveal()); err != nil || id != keyID {
			t.Errorf("got %s, %v; want %s", id, err, keyID)
		}
		if !strings.HasPrefix(key.Reveal(), "atlas_live_0190a3c0000070008000000000000003_") || !IsAPIKey(key.Reveal()) {
			t.Errorf("%s is not of the form", key.Reveal())
		}
	}
}

// TestEveryMistypedAPIKeyIsRefusedByItself changes each character, leaves each out, and swaps each two neighbours.
func TestEveryMistypedAPIKeyIsRefusedByItself(t *testing.T) {
	t.Parallel()
	key := NewAPIKey(keyID).Reveal()
	wrong := []string{"", "atlas_live_", key + "A", " " + key, key + "\n", strings.ToUpper(key), strings.Replace(key, "_live_", "_test_", 1)}
	for i := range key {
		for _, c := range "0aZ_-" {
			if other := key[:i] + string(c) + key[i+1:]; other != key {
				wrong = append(wrong, other)
			}
		}
		wrong = append(wrong, key[:i]+key[i+1:])
		if i > 0 && key[i] != key[i-1] {
			wrong = append(wrong, key[:i-1]+key[i:i+1]+key[i-1:i]+key[i+1:])
		}
	}
	for _, w := range wrong {
		if _, err := ParseAPIKey(w); !errors.Is(err, ErrAPIKeyInvalid) {
			t.Errorf("%q: got %v, want ErrAPIKeyInvalid", w, err)
		}
	}
}

func FuzzParseAPIKey(f *testing.F) {
	f.Add(NewAPIKey(keyID).Reveal())
	f.Add("atlas_live_" + strings.Repeat("0", 32) + "_" + strings.Repeat("A", 49))
	f.Add("atlas_live__")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseAPIKey(s)
		switch {
		case err != nil && (!errors.Is(err, ErrAPIKeyInvalid) || id != uuid.Nil):
			t.Errorf("got %s, %v", id, err)
		case err == nil && !strings.Contains(s, strings.ReplaceAll(id.String(), "-", "")):
			t.Errorf("%q was read as of %s", s, id)
		}
	})
}
