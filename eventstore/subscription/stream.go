package subscription

import (
	"time"

	"github.com/atlas-platform/atlas/eventstore"
)

// stream is what a member knows of one stream that has messages not done. It is guarded by the member's lock, and
// forgotten when all that was seen of it is done.
type stream struct {
	name  eventstore.Stream
	slot  *slot
	queue []*eventstore.Recorded // the next messages, as far as they are in memory
	short bool                   // there are more in the log, up to seen
	seen  int64                  // the last position that was seen of it
	done  int64                  // every event of it up to here is done
	next  int64                  // the first version that is not
	busy  bool                   // one of its messages is in hand
	place place                  // in which list it stands
	aside *aside                 // set where the slot's position may pass it
	saved bool                   // it has a row among the held streams
	redo  []redo                 // parked messages to be tried once more; they go first
}

// place is the list that a stream stands in.
type place byte

const (
	nowhere place = iota
	inReady       // to be handed out
	inLoads       // to be read from the log
)

// aside is why a stream is set aside, and since when.
type aside struct {
	position int64 // its first event that is not done
	version  int64
	attempts int
	err      string
	progress string
	since    time.Time
	due      time.Time // when it is tried again; zero where nothing is waited for
	timed    time.Time // the last due for which it was put among the timers
}

// redo is a parked message that an operator wants to be tried once more.
type redo struct {
	position, version int64
	attempts          int
	event             *eventstore.Recorded // once it was read
}

// slot is a slot that a member holds, guarded by the member's lock.
type slot struct {
	hold
	seen     int64              // every event up to here was seen
	window   fifo[entry]        // the events seen whose turn to be passed has not come, in order
	acked    map[int64]struct{} // done by earlier holders, above seen
	streams  map[eventstore.Stream]*stream
	inHand   int
	leaving  bool // nothing more is handed out: it is about to be given back
	lost     bool // another has it, or it was reset: what comes back counts for nothing
	dirty    bool // it has changed since it was last recorded
	recorded int64

	unanswered bool // somebody may still work on a message of it

	replayUpto  int64
	replayAcked map[int64]struct{}
	undone      map[string]int64 // by stream: from where its events were not done before the last reset
}

// idle says that nobody works on a message of the slot.
func (s *slot) idle() bool { return s.inHand == 0 && !s.unanswered }

// entry is an event in a slot's window. Without a stream it is done.
type entry struct {
	position int64
	of       *stream
}

// done says whether the event is done.
func (e entry) done() bool { return e.of == nil || e.position <= e.of.done }

// advance passes what is done, and what belongs to streams that are set aside, and returns the slot's position: every
// event up to it is done, but for those of streams that are aside. They must be recorded together with it.
func (s *slot) advance() int64 {
	for e, more := s.window.peek(); more; e, more = s.window.peek() {
		if !e.done() && e.of.aside == nil {
			return e.position - 1
		}
		s.window.pop()
	}
	return s.seen
}

// above returns the positions beyond the slot's own that are done.
func (s *slot) above() []int64 {
	above := []int64{}
	for _, e := range s.window.all() {
		if e.done() {
			above = append(above, e.position)
		}
	}
	for position := range s.acked {
		above = append(above, position)
	}
	return above
}

// replay says whether an event was done before the last reset.
func (s *slot) replay(e *eventstore.Recorded) bool {
	if e.Position > s.replayUpto {
		if _, acked := s.replayAcked[e.Position]; !acked {
			return false
		}
	}
	if len(s.undone) == 0 {
		return true
	}
	from, undone := s.undone[e.Stream.String()]
	return !undone || e.Position < from
}

// fifo is a queue.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) push(v T) {
	if f.head > 64 && f.head*2 > len(f.items) {
		f.items = f.items[:copy(f.items, f.items[f.head:])]
		f.head = 0
	}
	f.items = append(f.items, v)
}

func (f *fifo[T]) peek() (v T, more bool) {
	if f.head == len(f.items) {
		return v, false
	}
	return f.items[f.head], true
}

func (f *fifo[T]) pop() (v T, more bool) {
	if f.head == len(f.items) {
		return v, false
	}
	var none T
	v, f.items[f.head] = f.items[f.head], none
	f.head++
	return v, true
}

func (f *fifo[T]) all() []T { return f.items[f.head:] }

func (f *fifo[T]) len() int { return len(f.items) - f.head }
