package chain

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Head is a block's head, signed, as it leaves the database: one line of NDJSON. Whoever keeps it can tell later whether
// the log up to there is still what it was.
type Head struct {
	Chain     uuid.UUID `json:"chain"`
	Block     int64     `json:"block"`
	After     int64     `json:"after"` // the position before the block's first
	Last      int64     `json:"last"`  // the position of the block's last event
	Events    int64     `json:"events"`
	SealedAt  time.Time `json:"sealed_at"`
	Head      Hex       `json:"head"`
	Key       Base64    `json:"key"` // the Ed25519 public key
	Signature Base64    `json:"signature"`
}

// Signer signs heads.
type Signer struct{ private ed25519.PrivateKey }

// NewSigner derives the signing key from a secret of at least 32 bytes, by HKDF.
func NewSigner(secret []byte) (*Signer, error) {
	if len(secret) < ed25519.SeedSize {
		return nil, fmt.Errorf("the secret of the chain has %d bytes, fewer than %d", len(secret), ed25519.SeedSize)
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, "atlas chain heads 1", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive the chain's key: %w", err)
	}
	return &Signer{private: ed25519.NewKeyFromSeed(seed)}, nil
}

// Public returns the key that verifies what the signer has signed.
func (s *Signer) Public() ed25519.PublicKey { return s.private.Public().(ed25519.PublicKey) }

func (s *Signer) sign(b block) Head {
	h := Head{
		Chain: b.chain, Block: b.number, After: b.after, Last: b.last, Events: b.events, SealedAt: toTime(b.sealedAt),
		Head: b.head, Key: Base64(s.Public()),
	}
	h.Signature = ed25519.Sign(s.private, h.signed())
	return h
}

// signed is what the signature is over.
func (h Head) signed() []byte {
	b := append([]byte("atlas chain head 1\x00"), h.Chain[:]...)
	for _, n := range []int64{h.Block, h.After, h.Last, h.Events, toMicros(h.SealedAt)} {
		b = appendInt(b, n)
	}
	return append(b, h.Head...)
}

// ErrSignature says that a head was not signed by a trusted key, or changed since.
var ErrSignature = errors.New("the signature is not of a trusted key, or not of this head")

// Check holds the head against the keys that are trusted.
func (h Head) Check(trusted ...ed25519.PublicKey) error {
	for _, key := range trusted {
		if bytes.Equal(key, h.Key) && ed25519.Verify(key, h.signed(), h.Signature) {
			return nil
		}
	}
	return fmt.Errorf("head of block %d: %w", h.Block, ErrSignature)
}

// Heads hands every block's head after a block number to f, signed, in order.
func Heads(ctx context.Context, pool *pgxpool.Pool, signer *Signer, since int64, f func(Head) error) error {
	const page = 1000
	for {
		all, err := headers(ctx, pool, since+1, page)
		if err != nil {
			return err
		}
		for _, b := range all {
			if err := f(signer.sign(b)); err != nil {
				return err
			}
			since = b.number
		}
		if len(all) < page {
			return nil
		}
	}
}

// ParseHead reads a line of NDJSON: a head, or a line of the log that a server has written about one. found is false
// for any other line of a log.
func ParseHead(line []byte) (h Head, found bool, err error) {
	var logged struct {
		Head    *Head   `json:"chain_head"`
		Message *string `json:"msg"`
	}
	if err := json.Unmarshal(line, &logged); err != nil {
		return h, false, err
	}
	if logged.Head != nil {
		return *logged.Head, true, nil
	}
	if logged.Message != nil {
		return h, false, nil
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return h, false, err
	}
	if h.Block < 1 || len(h.Head) != sha256.Size {
		return h, false, errors.New("it is not the head of a block")
	}
	return h, true, nil
}

// Hex is bytes in hexadecimal.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Base64 is bytes in base64url without padding.
type Base64 []byte

// MarshalText implements encoding.TextMarshaler.
func (b Base64) MarshalText() ([]byte, error) {
	return []byte(base64.RawURLEncoding.EncodeToString(b)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Base64) UnmarshalText(text []byte) (err error) {
	*b, err = base64.RawURLEncoding.DecodeString(string(text))
	return err
}
