package eventstore

import "slices"

// Filter chooses events. The zero value chooses all. With both, an event is chosen that both choose.
type Filter struct {
	Types      []string // stored names; none means every type
	Categories []string // of streams; none means every category
}

// accepts returns the filter as a predicate that says what the SQL says.
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

// Empty tells that the filter chooses all.
func (f Filter) Empty() bool { return len(f.Types) == 0 && len(f.Categories) == 0 }

// category is a stream's category in SQL.
const category = `split_part(stream, '-', 1)`

// where returns the filter as conditions for SQL, with the parameters that args are given for.
func (f Filter) where(first, second string) (sql string) {
	if len(f.Types) > 0 {
		sql = ` AND type = ANY (` + first + `)`
		first = second
	}
	if len(f.Categories) > 0 {
		sql += ` AND ` + category + ` = ANY (` + first + `)`
	}
	return sql
}

func (f Filter) args() (args []any) {
	if len(f.Types) > 0 {
		args = append(args, f.Types)
	}
	if len(f.Categories) > 0 {
		args = append(args, f.Categories)
	}
	return args
}
