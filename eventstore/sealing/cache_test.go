package sealing

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

var ann, bob = uuid.New(), uuid.New()

// has says whether the cache answers for a subject, and with a key.
func (c *cache) has(subject uuid.UUID) (there, key bool) {
	found, _, _ := c.find([]uuid.UUID{subject})
	k, there := found[subject]
	return there, k.aead != nil
}

func TestACachedKeyIsLookedAtAnewAfterItsLife(t *testing.T) {
	now := time.Now()
	c := newCache(func() time.Time { return now })
	c.put(bob, nil, 0)
	_, _, seen := c.find(nil)
	c.put(ann, newAEAD(newKey()), seen)
	now = now.Add(cacheLife - 1)
	if there, key := c.has(ann); !there || !key {
		t.Error("a key is gone before its time")
	}
	now = now.Add(1)
	if there, _ := c.has(ann); there {
		t.Error("a key outlives its time")
	}
	if there, key := c.has(bob); !there || key {
		t.Error("a tombstone has no time")
	}
}

func TestAKeyThatWasReadBeforeSomebodyWasForgottenIsNotKept(t *testing.T) {
	for name, forget := range map[string]func(*cache){
		"forgotten": func(c *cache) { c.forget([]uuid.UUID{ann}) },
		"found out": func(c *cache) { c.put(ann, nil, 0) },
		"unsure":    func(c *cache) { c.empty() },
	} {
		c := newCache(time.Now)
		_, _, seen := c.find([]uuid.UUID{ann})
		forget(c)
		c.put(ann, newAEAD(newKey()), seen)
		if _, key := c.has(ann); key {
			t.Errorf("%s: the key came back", name)
		}
	}
}
