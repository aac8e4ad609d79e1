package auth

import (
	"crypto/sha256"
	"sync"
)

// generationSize bounds what verified remembers, at two generations of a few hundred bytes an entry.
const generationSize = 8192

// verified remembers tokens whose signature was checked, so that a client's next request costs a hash instead. The key
// is the hash of the whole token, every bit of which the signature covers.
//
// It keeps two generations and drops the older one when the younger is full: bounded, with nothing to sweep. An entry
// says nothing about expiry or revocation; both are checked on each use.
type verified struct {
	mu    sync.Mutex
	young map[[sha256.Size]byte]Claims
	old   map[[sha256.Size]byte]Claims
}

func newVerified() *verified { return &verified{young: map[[sha256.Size]byte]Claims{}} }

func tokenID(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

func (v *verified) get(id [sha256.Size]byte) (Claims, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, ok := v.young[id]
	if !ok {
		if c, ok = v.old[id]; ok {
			v.keep(id, c)
		}
	}
	return c.clone(), ok
}

func (v *verified) put(id [sha256.Size]byte, c Claims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keep(id, c.clone())
}

func (v *verified) keep(id [sha256.Size]byte, c Claims) {
	if len(v.young) >= generationSize {
		v.old, v.young = v.young, map[[sha256.Size]byte]Claims{}
	}
	v.young[id] = c
}
