package sealing

import (
	"crypto/cipher"
	"sync"
	"time"

	"github.com/google/uuid"
)

// cacheSize bounds the keys kept in memory; one takes about 1 KiB.
const cacheSize = 16384

// cacheLife bounds how long a key is used without looking whether it still stands. Nodes are told of the forgotten at
// once (Keys.Forgotten); this is for a process that does not follow the log, or that cannot.
const cacheLife = time.Minute

// cache keeps subjects' keys; a nil key marks a forgotten subject. A full cache drops any entry: which one hardly
// matters, since a key is one indexed read away.
type cache struct {
	now func() time.Time

	mu     sync.Mutex
	keys   map[uuid.UUID]cached
	purges int // how often keys were dropped because subjects were forgotten
}

type cached struct {
	aead cipher.AEAD
	till time.Time // a key is worth nothing afterwards; a tombstone stands
}

func newCache(now func() time.Time) *cache { return &cache{now: now, keys: map[uuid.UUID]cached{}} }

// find returns the keys that are there and the subjects whose are not. seen is for put.
func (c *cache) find(subjects []uuid.UUID) (found keyring, missing []uuid.UUID, seen int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	found = make(keyring, len(subjects))
	for _, s := range subjects {
		if key, ok := c.keys[s]; ok && (key.aead == nil || now.Before(key.till)) {
			found[s] = subjectKey{aead: key.aead}
		} else {
			missing = append(missing, s)
		}
	}
	return found, missing, c.purges
}

// put keeps a key that was read after find had said seen. If somebody was forgotten since, it may have been read before,
// and is not kept.
func (c *cache) put(subject uuid.UUID, key cipher.AEAD, seen int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case key == nil:
		c.bury(subject)
	case seen == c.purges:
		c.keep(subject, cached{aead: key, till: c.now().Add(cacheLife)})
	}
}

// bury marks a subject as forgotten, and says whether that was news. From then on nothing is kept that was read before.
func (c *cache) bury(subject uuid.UUID) (news bool) {
	if key, there := c.keys[subject]; there && key.aead == nil {
		return false
	}
	c.purges++
	c.keep(subject, cached{})
	return true
}

func (c *cache) keep(subject uuid.UUID, key cached) {
	if _, there := c.keys[subject]; !there && len(c.keys) >= cacheSize {
		for other := range c.keys {
			delete(c.keys, other)
			break
		}
	}
	c.keys[subject] = key
}

// forget marks subjects as forgotten, and says whether that was news of any.
func (c *cache) forget(subjects []uuid.UUID) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range subjects {
		news = c.bury(s) || news
	}
	return news
}

// empty drops every key.
func (c *cache) empty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.purges++
	clear(c.keys)
}
