package auth

import (
	"crypto/sha256"
	"sync"
)

// generationSize bounds what a memory holds, at two generations of a few hundred bytes an entry.
const generationSize = 8192

// memory remembers credentials that were verified, so that a client's next request costs a hash instead. The key is the
// hash of the whole credential.
//
// It keeps two generations and drops the older one when the younger is full: bounded, with nothing to sweep. An entry
// says nothing about expiry or revocation; both are checked on each use. Values are shared: nobody may change one.
type memory[V any] struct {
	mu    sync.Mutex
	young map[[sha256.Size]byte]V
	old   map[[sha256.Size]byte]V
}

func newMemory[V any]() *memory[V] { return &memory[V]{young: map[[sha256.Size]byte]V{}} }

func tokenID(credential string) [sha256.Size]byte { return sha256.Sum256([]byte(credential)) }

func (m *memory[V]) get(id [sha256.Size]byte) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.young[id]
	if !ok {
		if v, ok = m.old[id]; ok {
			m.keep(id, v)
		}
	}
	return v, ok
}

func (m *memory[V]) put(id [sha256.Size]byte, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(id, v)
}

func (m *memory[V]) keep(id [sha256.Size]byte, v V) {
	if len(m.young) >= generationSize {
		m.old, m.young = m.young, map[[sha256.Size]byte]V{}
	}
	m.young[id] = v
}
