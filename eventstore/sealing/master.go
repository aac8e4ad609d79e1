package sealing

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KeySize is the length of a master key in bytes.
const KeySize = 32

// idSize is how much of a master key's hash tells it from others.
const idSize = 8

// Master is a set of master keys: the first wraps, all unwrap.
type Master struct {
	keys []masterKey
}

type masterKey struct {
	id   [idSize]byte
	aead cipher.AEAD
}

// GenerateMaster returns a new master key in the form ParseMaster reads.
func GenerateMaster() string {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails
	return base64.RawURLEncoding.EncodeToString(key)
}

// ParseMaster reads master keys: 32 bytes each in base64url without padding, separated by commas, the one in use first.
// Errors never repeat what was given.
func ParseMaster(text string) (*Master, error) {
	m := &Master{}
	for i, part := range strings.Split(text, ",") {
		key, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(part))
		if err != nil || len(key) != KeySize {
			return nil, fmt.Errorf("master key %d must be %d bytes in base64url without padding", i+1, KeySize)
		}
		if bytes.Count(key, key[:1]) == KeySize {
			return nil, fmt.Errorf("master key %d is a placeholder, not a random key", i+1)
		}
		m.keys = append(m.keys, newMasterKey(key))
	}
	return m, nil
}

func newMasterKey(key []byte) (k masterKey) {
	sum := sha256.Sum256(append([]byte("atlas master key id\x00"), key...))
	copy(k.id[:], sum[:])
	k.aead = newAEAD(key)
	return k
}

// newAEAD returns AES-256-GCM under a 32-byte key.
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only for another key length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only for another block size
	}
	return aead
}

// isFirst says whether the first master key has wrapped this.
func (m *Master) isFirst(wrapped []byte) bool { return bytes.HasPrefix(wrapped, m.keys[0].id[:]) }

// has says whether a master key is among those given, by its id in hexadecimal.
func (m *Master) has(id string) bool {
	return slices.ContainsFunc(m.keys, func(k masterKey) bool { return hex.EncodeToString(k.id[:]) == id })
}

var errMaster = errors.New("wrapped by a master key that is not among those given")

// wrap encrypts a key under the first master key: the master's id, then nonce and ciphertext.
func (m *Master) wrap(key []byte, name string) []byte {
	first := m.keys[0]
	return append(bytes.Clone(first.id[:]), encrypt(first.aead, key, name)...)
}

// unwrap decrypts what wrap has made.
func (m *Master) unwrap(wrapped []byte, name string) ([]byte, error) {
	for _, k := range m.keys {
		if rest, ours := bytes.CutPrefix(wrapped, k.id[:]); ours {
			return decrypt(k.aead, rest, name)
		}
	}
	return nil, errMaster
}

// encrypt returns nonce and ciphertext. What it is bound to must be given again to decrypt.
func encrypt(aead cipher.AEAD, plain []byte, bound string) []byte {
	out := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	rand.Read(out) // never fails
	return aead.Seal(out, out, plain, []byte(bound))
}

func decrypt(aead cipher.AEAD, sealed []byte, bound string) ([]byte, error) {
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("sealed value is cut off")
	}
	nonce, text := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	return aead.Open([]byte{}, nonce, text, []byte(bound))
}
