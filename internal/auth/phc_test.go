package auth

import (
	"strings"
	"testing"
)

const goodPHC = "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestDamagedOrCostlyHashIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := parsePHC(goodPHC); err != nil {
		t.Fatalf("the good hash: %v", err)
	}
	for _, change := range [][2]string{
		{"argon2id", "argon2i"},
		{"v=19", "v=16"},
		{"m=64", "m=064"},
		{"m=64", "m=+64"},
		{"m=64", "m=7"},
		{"m=64", "m=4294967295"},
		{"m=64", "m=131073"},
		{"t=1", "t=0"},
		{"t=1", "t=11"},
		{"p=1", "p=0"},
		{"p=1", "p=9"},
		{"p=1", "p=1,x=1"},
		{"m=64,t=1", "t=1,m=64"},
		{"AAAAAAAAAAAAAAAAAAAAAA$", "AAAAAAAAAAAAAAAAAAAAAB$"}, // stray bits after the salt's last byte
		{"AAAAAAAAAAAAAAAAAAAAAA$", "AAAA$"},
		{"AAAAAAAAAAAAAAAAAAAAAA$", "AAAAAAAAAAAAAAAAAAAAAA\n$"},
		{"AAAAAAAAAAAAAAAAAAAAAA$", "AAAAAAAAAAAAAAAAAAAAAA==$"},
		{"$argon2id", "argon2id"},
		{goodPHC, ""},
		{goodPHC, goodPHC + "$"},
		{goodPHC, goodPHC + strings.Repeat("A", 300)},
	} {
		damaged := strings.Replace(goodPHC, change[0], change[1], 1)
		if h, err := parsePHC(damaged); err == nil {
			t.Errorf("%q was read as %+v", damaged, h)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(goodPHC)
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U")
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			return
		}
		if got := h.String(); got != s {
			t.Errorf("%q was read, but is written %q", s, got)
		}
		if !h.bounded() {
			t.Errorf("%q is out of bounds", s)
		}
	})
}
