package commands

import (
	"container/list"
	"reflect"
	"sync"

	"github.com/atlas-platform/atlas/eventstore"
)

// stateBytes bounds what the folded states of one process take, about.
const stateBytes = 16 << 20

// states keeps the folded states of streams that commands came to lately, so that a hot stream costs no read. A state may
// be behind the log, where another node has written; the expected version of the append finds that out.
type states struct {
	mu           sync.Mutex
	entries      map[eventstore.Stream]*list.Element
	recent       *list.List // of *folded, the most recently used first
	bytes, limit int
	hits, misses uint64
}

// folded is a state, the version it is of, and about what it weighs.
type folded struct {
	stream  eventstore.Stream
	state   any
	version int64
	bytes   int
}

func newStates(limit int) *states {
	return &states{entries: map[eventstore.Stream]*list.Element{}, recent: list.New(), limit: limit}
}

func (s *states) find(stream eventstore.Stream) (state any, version int64, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.entries[stream]
	if !found {
		s.misses++
		return nil, 0, false
	}
	s.hits++
	s.recent.MoveToFront(e)
	f := e.Value.(*folded)
	return f.state, f.version, true
}

// put keeps a state, unless a newer one is there, and forgets those that were not used for longest.
func (s *states) put(stream eventstore.Stream, state any, version int64) {
	f := &folded{stream: stream, state: state, version: version, bytes: 256 + weigh(reflect.ValueOf(state))}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, there := s.entries[stream]; there {
		if e.Value.(*folded).version > version {
			return
		}
		s.remove(e)
	}
	s.entries[stream] = s.recent.PushFront(f)
	s.bytes += f.bytes
	for s.bytes > s.limit {
		s.remove(s.recent.Back())
	}
}

func (s *states) drop(stream eventstore.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, there := s.entries[stream]; there {
		s.remove(e)
	}
}

// clear forgets everything.
func (s *states) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.entries)
	s.recent.Init()
	s.bytes = 0
}

func (s *states) remove(e *list.Element) {
	f := s.recent.Remove(e).(*folded)
	delete(s.entries, f.stream)
	s.bytes -= f.bytes
}

// weigh says about how many bytes a value takes, what it points to included. States hold no cycles: they are folded from
// events, which are JSON.
func weigh(v reflect.Value) int {
	switch v.Kind() {
	case reflect.String:
		return 16 + v.Len()
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 8
		}
		return 8 + weigh(v.Elem())
	case reflect.Slice, reflect.Array:
		n := 24
		for i := range v.Len() {
			n += weigh(v.Index(i))
		}
		return n
	case reflect.Map:
		n := 48
		for iter := v.MapRange(); iter.Next(); {
			n += 16 + weigh(iter.Key()) + weigh(iter.Value())
		}
		return n
	case reflect.Struct:
		n := 0
		for i := range v.NumField() {
			n += weigh(v.Field(i))
		}
		return n
	case reflect.Invalid:
		return 0
	default:
		return int(v.Type().Size())
	}
}
