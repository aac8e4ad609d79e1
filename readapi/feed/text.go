package feed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/wire"
)

// texts are events as they are sent. Feeds that send the same event at about the same time share its text: it is made
// once, and kept for as long as one of them has it in hand. They are safe for concurrent use.
type texts struct {
	mu  sync.Mutex
	all map[shown]weak.Pointer[text]
}

// shown is an event to those who see the same of it. An event that was erased meanwhile is another Recorded.
type shown struct {
	event  weak.Pointer[eventstore.Recorded]
	unseal bool
}

// text is one line of JSON, which must not be changed.
type text struct {
	once sync.Once
	json []byte
	err  error
}

func newTexts() *texts { return &texts{all: map[shown]weak.Pointer[text]{}} }

// of returns the text of an event, to those who see what is personal in it or to those who do not.
func (t *texts) of(r *eventstore.Recorded, unseal bool) (*text, error) {
	one := t.share(shown{weak.Make(r), unseal})
	one.once.Do(func() { one.json, one.err = encode(r, unseal) })
	return one, one.err
}

func (t *texts) share(s shown) *text {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one := t.all[s].Value(); one != nil {
		return one
	}
	one := &text{}
	t.all[s] = weak.Make(one)
	runtime.AddCleanup(one, t.forget, s)
	return one
}

// forget strikes a text that nobody has any more, unless there is a new one by now.
func (t *texts) forget(s shown) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[s].Value() == nil {
		delete(t.all, s)
	}
}

func encode(r *eventstore.Recorded, unseal bool) ([]byte, error) {
	e, err := wire.Show(r, unseal)
	if err != nil {
		return nil, err
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line) // ends with a line feed, and has no other
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, fmt.Errorf("encode event %d: %w", r.Position, err)
	}
	return bytes.Clone(bytes.TrimSuffix(line.Bytes(), []byte("\n"))), nil
}
