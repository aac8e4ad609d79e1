package sealing

import (
	"crypto/cipher"
	"sync"

	"github.com/google/uuid"
)

// cacheSize bounds the keys kept in memory; one takes about 1 KiB.
const cacheSize = 16384

// cache keeps subjects' keys; nil marks a forgotten subject. A full cache drops any entry: which one hardly matters,
// since a key is one indexed read away.
type cache struct {
	mu   sync.Mutex
	keys map[uuid.UUID]cipher.AEAD
}

func newCache() *cache { return &cache{keys: map[uuid.UUID]cipher.AEAD{}} }

// find returns the keys that are there and the subjects whose are not.
func (c *cache) find(subjects []uuid.UUID) (found keyring, missing []uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found = make(keyring, len(subjects))
	for _, s := range subjects {
		if key, ok := c.keys[s]; ok {
			found[s] = subjectKey{aead: key}
		} else {
			missing = append(missing, s)
		}
	}
	return found, missing
}

func (c *cache) put(subject uuid.UUID, key cipher.AEAD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.keys[subject]; !there && len(c.keys) >= cacheSize {
		for other := range c.keys {
			delete(c.keys, other)
			break
		}
	}
	c.keys[subject] = key
}
