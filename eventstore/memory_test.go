package eventstore

import (
	"log/slog"
	"runtime"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// remembering returns a tail that nobody feeds but the test, with the horizon it begins at.
func remembering(horizon int64) *Tail {
	t := NewTail(nil, nil, slog.New(slog.DiscardHandler))
	t.begin(horizon)
	return t
}

func remembered(position int64, typ, category string) *Recorded {
	return &Recorded{Position: position, Type: typ, Stream: NewStream(category, uuid.Nil), body: &body{}}
}

// TestReadersOfAMemoryMissNothing feeds a tail random pages and lets readers with random filters and limits read in
// between: each gets exactly what its filter chooses up to where it says it has read, in order.
func TestReadersOfAMemoryMissNothing(t *testing.T) {
	types, categories := []string{"a.x", "a.y", "b.x"}, []string{"a", "b"}
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 5).Draw(t, "start")
		tail := remembering(start)
		choose := func(list []string, label string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(list), 0, len(list), rapid.ID[string]).Draw(t, label)
		}
		filter := Filter{Types: choose(types, "types"), Categories: choose(categories, "categories")}
		reader, limit := tail.From(start, filter), rapid.IntRange(1, 4).Draw(t, "limit")
		var all []*Recorded
		high, upto := start, start
		t.Repeat(map[string]func(*rapid.T){
			"extend": func(t *rapid.T) {
				var page []*Recorded
				for range rapid.IntRange(1, 5).Draw(t, "events") {
					high += rapid.Int64Range(1, 3).Draw(t, "gap")
					page = append(page, remembered(high, rapid.SampledFrom(types).Draw(t, "type"), rapid.SampledFrom(categories).Draw(t, "category")))
				}
				tail.extend(page)
				all = append(all, page...)
			},
			"read": func(t *rapid.T) {
				b, behind, _, err := reader.look(limit)
				if err != nil || behind {
					t.Fatalf("behind %v, %v", behind, err)
				}
				if b.Upto == 0 && high == upto {
					return // nothing new
				}
				var want []int64
				for _, r := range all {
					in := (len(filter.Types) == 0 || slices.Contains(filter.Types, r.Type)) &&
						(len(filter.Categories) == 0 || slices.Contains(filter.Categories, r.Stream.Category))
					if in && r.Position > upto && r.Position <= b.Upto {
						want = append(want, r.Position)
					}
				}
				var got []int64
				for _, r := range b.Events {
					got = append(got, r.Position)
				}
				if !slices.Equal(want, got) || len(got) > limit || b.Upto <= upto || b.Upto > high || len(got) < limit && b.Upto != high {
					t.Fatalf("got %v up to %d after %d of %d, want %v", got, b.Upto, upto, high, want)
				}
				upto, reader.after = b.Upto, b.Upto
			},
		})
	})
}

func TestAReaderThatTheMemoryHasLeftBehindMustReadForItself(t *testing.T) {
	tail := remembering(10)
	behind := func(after int64) bool {
		_, behind, _, err := tail.From(after, Filter{}).look(1)
		if err != nil {
			t.Fatal(err)
		}
		return behind
	}
	tail.extend([]*Recorded{remembered(12, "a.x", "a")})
	if !behind(9) || behind(10) {
		t.Error("a reader from before the tail began is behind, and one from there on is not")
	}
	heavy := remembered(20, "a.x", "a")
	heavy.body.parts.Data = make([]byte, keepBytes)
	tail.extend([]*Recorded{heavy, remembered(22, "a.x", "a")})
	if !behind(19) || behind(20) || len(tail.recent) != 1 {
		t.Errorf("%d events are kept after %d; want one, after 20", len(tail.recent), tail.low)
	}
}

// TestAFullMemoryCostsNoMoreThanAnEmptyOne holds that forgetting an event does not copy all that are kept.
func TestAFullMemoryCostsNoMoreThanAnEmptyOne(t *testing.T) {
	tail := remembering(0)
	position := int64(0)
	grow := func(n int) {
		for range n {
			position++
			tail.extend([]*Recorded{remembered(position, "a.x", "a")})
		}
	}
	allocated := func(n int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		grow(n)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const n = 2000
	grow(keepBytes / 512)
	if got := allocated(n) / n; got > 10_000 {
		t.Errorf("%d bytes are allocated for an event of a full tail", got)
	}
	if tail.bytes > keepBytes || len(tail.recent) > keepBytes/512 || position-tail.low != int64(len(tail.recent)) {
		t.Errorf("%d bytes in %d events after %d of %d", tail.bytes, len(tail.recent), tail.low, position)
	}
}
