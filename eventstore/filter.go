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

// category is a stream's category in SQL.
const category = `split_part(stream, '-', 1)`

// where returns the filter as conditions for SQL, with parameters from $first on, in the order of args.
func (f Filter) where(first int) (sql string) {
	for _, column := range f.columns() {
		sql += ` AND ` + column + ` = ANY ($` + strconv.Itoa(first) + `)`
		first++
	}
	return sql
}

// columns lists what the filter compares.
func (f Filter) columns() (all []string) {
	if len(f.Types) > 0 {
		all = append(all, "type")
	}
	if len(f.Categories) > 0 {
		all = append(all, category)
	}
	if len(f.Streams) > 0 {
		all = append(all, "stream")
	}
	return all
}

// args returns what the columns are compared with.
func (f Filter) args() (args []any) {
	if len(f.Types) > 0 {
		args = append(args, f.Types)
	}
	if len(f.Categories) > 0 {
		args = append(args, f.Categories)
	}
	if len(f.Streams) > 0 {
		args = append(args, f.names())
	}
	return args
}

// names returns the stored form of the streams.
func (f Filter) names() []string {
	names := make([]string, len(f.Streams))
	for i, s := range f.Streams {
		names[i] = s.String()
	}
	return names
}
