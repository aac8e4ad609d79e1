package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

func TestPlainAddressIsKeptWithItsDomainInLowerCase(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"ann@example.com":                   "ann@example.com",
		"Ann.Lee+news@Mail.EXAMPLE.com":     "Ann.Lee+news@mail.example.com",
		"o'brien/x=y@xn--bcher-kva.example": "o'brien/x=y@xn--bcher-kva.example",
		"1@2.co":                            "1@2.co",
		strings.Repeat("a", 64) + "@a.bc":   strings.Repeat("a", 64) + "@a.bc",
	} {
		if got, err := NormalizeEmail(address); got != want || err != nil {
			t.Errorf("NormalizeEmail(%q) = %q, %v; want %q", address, got, err, want)
		}
	}
}

func TestAnythingButAPlainAddressIsRefused(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("d", 63)
	for _, address := range []string{
		"", "@", "ann", "ann@", "@example.com", "ann@@example.com", "ann@b@example.com",
		" ann@example.com", "ann@example.com ", "ann @example.com", "ann@exam ple.com", "ann@example.com\n",
		"ann@example.com\r\nBcc: eve@example.com", "ann\x00@example.com",
		"Ann <ann@example.com>", "<ann@example.com>", "ann@example.com (Ann)", `"ann"@example.com`, "ann,eve@example.com",
		".ann@example.com", "ann.@example.com", "a..b@example.com",
		"ann@localhost", "ann@example.com.", "ann@.example.com", "ann@-a.com", "ann@a-.com", "ann@ex_ample.com",
		"ann@[127.0.0.1]", "ann@127.0.0.1", "änn@example.com", "ann@exämple.com", "ann@example.\u212a", // a Kelvin sign lower-cases to "k"
		strings.Repeat("a", 65) + "@example.com",
		"ann@" + label + "d.com",
		"ann@" + strings.Join([]string{label, label, label, label}, "."),
	} {
		got, err := NormalizeEmail(address)
		o, _, ok := fault.Of(err)
		if !ok || !errors.Is(err, ErrInvalidEmail) || o.Fields()[0].Pointer != "/email" || o.Fields()[0].Code != "invalid_format" {
			t.Errorf("NormalizeEmail(%q) = %q, %v; want invalid_format at /email", address, got, err)
		}
	}
}

func TestEmailKeyIsStableAndIgnoresCase(t *testing.T) {
	t.Parallel()
	secret := []byte("a secret of thirty-two bytes ...")
	key := EmailKey(secret, "ann@example.com")
	// A changed key would let every address register again.
	if want := uuid.MustParse("6c16a1df-de17-8e38-a7a2-3311c8bbf626"); key != want {
		t.Errorf("got %v, want %v", key, want)
	}
	if key.Version() != 8 || key.Variant() != uuid.RFC4122 {
		t.Errorf("%v is version %d, variant %v; want 8, RFC 4122", key, key.Version(), key.Variant())
	}
	if EmailKey(secret, "Ann@example.com") != key {
		t.Error("another case gives another key")
	}
	if EmailKey(secret, "eve@example.com") == key || EmailKey([]byte("another"), "ann@example.com") == key {
		t.Error("another address or secret gives the same key")
	}
}
