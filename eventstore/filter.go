package eventstore

import (
	"slices"
	"sort"
)

// accepts returns the filter as a predicate that says what ReadAll says in SQL.
func (f Filter) accepts() func(*Recorded) bool {
	types := map[string]bool{}
	for _, t := range f.Types {
		types[t] = true
	}
	return func(r *Recorded) bool {
		return (len(types) == 0 || types[r.Type]) &&
			(len(f.Categories) == 0 || slices.Contains(f.Categories, r.Stream.Category))
	}
}

// indexAfter returns the index of the first recent event after a position. Call it with mu held.
func (t *Tail) indexAfter(position int64) int {
	return sort.Search(len(t.recent), func(i int) bool { return t.recent[i].Position > position })
}
