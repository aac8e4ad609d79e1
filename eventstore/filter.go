package eventstore

import (
	"slices"
	"strconv"
)

// Filter chooses events. The zero value chooses all. An event is chosen that all three choose.
type Filter struct {
	Types      []string // stored names; none means every type
	Categories []string // of streams; none means every category
	Streams    []Stream // none means every stream
}

// accepts returns the filter as a predicate that says what the SQL says.
func (f Filter) accepts() func(*Recorded) bool {
	types := map[string]bool{}
	for _, t := range f.Types {
		types[t] = true
	}
	streams := map[Stream]bool{}
	for _, s := range f.Streams {
		streams[s] = true
	}
	return func(r *Recorded) bool {
		return (len(types) == 0 || types[r.Type]) &&
			(len(streams) == 0 || streams[r.Stream]) &&
			(len(f.Categories) == 0 || slices.Contains(f.Categories, r.Stream.Category))
	}
}

// Empty tells that the filter chooses all.
func (f Filter) Empty() bool {
	return len(f.Types) == 0 && len(f.Categories) == 0 && len(f.Streams) == 0
}

// where returns the filter as conditions for SQL, with parameters from $first on, in the order of args.
func (f Filter) where(first int) (sql string) {
	for _, is := range f.comparisons() {
		sql += ` AND ` + is + ` ANY ($` + strconv.Itoa(first) + `)`
		first++
	}
	return sql
}

// comparisons lists what the filter compares, and how. Taking the category out of each stream's name would cost as much as
// an eighth of all else that PostgreSQL does for an event.
func (f Filter) comparisons() (all []string) {
	if len(f.Types) > 0 {
		all = append(all, "type =")
	}
	if len(f.Categories) > 0 {
		all = append(all, "stream ^@") // starts with
	}
	if len(f.Streams) > 0 {
		all = append(all, "stream =")
	}
	return all
}

// args returns what the columns are compared with.
func (f Filter) args() (args []any) {
	if len(f.Types) > 0 {
		args = append(args, f.Types)
	}
	if len(f.Categories) > 0 {
		args = append(args, f.prefixes())
	}
	if len(f.Streams) > 0 {
		args = append(args, f.names())
	}
	return args
}

// prefixes returns what the stored forms of the categories' streams begin with.
func (f Filter) prefixes() []string {
	prefixes := make([]string, len(f.Categories))
	for i, c := range f.Categories {
		prefixes[i] = c + "-"
	}
	return prefixes
}

// names returns the stored form of the streams.
func (f Filter) names() []string {
	names := make([]string, len(f.Streams))
	for i, s := range f.Streams {
		names[i] = s.String()
	}
	return names
}
