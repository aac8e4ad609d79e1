package httpapi

// Paging is the place and size of the page asked for. Embed it in the input of a list.
type Paging struct {
	Cursor string `query:"cursor" maxLength:"1000" doc:"The next_cursor of the page before; none for the first page."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"The most items of the page."`
}

// Page is one page of a list.
type Page[T any] struct {
	Data       []T     `json:"data" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"Where the next page begins; null on the last one"`
	HasMore    bool    `json:"has_more"`
}

// NewPage returns the page of at most limit rows. Read limit+1 rows: the one too many says that there is more. The
// cursor of the last row that is shown is where the next page begins.
func NewPage[T any](rows []T, limit int, cursor func(last T) string) Page[T] {
	p := Page[T]{Data: rows}
	if len(rows) > limit {
		p.Data, p.HasMore = rows[:limit], true
		next := cursor(rows[limit-1])
		p.NextCursor = &next
	}
	if p.Data == nil {
		p.Data = []T{}
	}
	return p
}
