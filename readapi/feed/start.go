package feed

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-platform/atlas/eventstore"
)

// Start is where reading begins: at the first event, behind the last one, or behind one that the caller knows, by the id
// that it came with or by its position alone. The zero value leaves it open.
type Start struct {
	where    where
	place    eventstore.Place
	position int64
}

type where int

const (
	anywhere where = iota
	first
	now
	behindPlace
	behindPosition
)

// First is before the first event.
func First() Start { return Start{where: first} }

// Now is behind the last event that is final.
func Now() Start { return Start{where: now} }

// Behind is behind a place.
func Behind(p eventstore.Place) Start { return Start{where: behindPlace, place: p} }

// Or returns the other start where this one is left open.
func (s Start) Or(other Start) Start {
	if s.where == anywhere {
		return other
	}
	return s
}

var errStart = errors.New("neither start, now, an id nor a position")

// UnmarshalText reads what a caller sends.
func (s *Start) UnmarshalText(text []byte) error {
	switch string(text) {
	case "start":
		*s = First()
		return nil
	case "now":
		*s = Now()
		return nil
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && n >= 0 {
		*s = Start{where: behindPosition, position: n}
		return nil
	}
	p, err := eventstore.ParsePlace(string(text))
	if err != nil {
		return errStart
	}
	*s = Behind(p)
	return nil
}

// Schema tells the docs what is accepted.
func (Start) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString,
		Description: "Where to begin: `start`, `now`, the id of the last event you got (it knows the log it came from), " +
			"or a bare position (which does not). Unless it is given a list begins at the start, and a feed with what happens from now on.",
		PatternDescription: "start, now, an id of this feed, or a position",
		Examples:           []any{"start", "now", "1f3a9c04-512", "512"},
	}
}

// LastID is the id of the last event that a caller got. The zero value is none.
type LastID struct{ Start }

// UnmarshalText reads what a caller sends: an id, and nothing else that a start may be.
func (l *LastID) UnmarshalText(text []byte) error {
	p, err := eventstore.ParsePlace(string(text))
	if err != nil {
		return errStart
	}
	l.Start = Behind(p)
	return nil
}

// Schema tells the docs what is accepted.
func (LastID) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:               huma.TypeString,
		Description:        "The id of the last event you got, as browsers send it when they connect again. It goes before `after`.",
		PatternDescription: "an id of this feed",
		Examples:           []any{"1f3a9c04-512"},
	}
}

// Resolve returns the position that the start is behind. It fails as eventstore.Standing.Find does.
func (s Start) Resolve(st eventstore.Standing) (int64, error) {
	switch s.where {
	case now:
		return st.Last, nil
	case behindPosition:
		if s.position > st.End {
			return 0, eventstore.ErrFuture
		}
		return s.position, nil
	case behindPlace:
		position, err := st.Find(s.place)
		if errors.Is(err, eventstore.ErrLostByRestore) {
			return 0, eventstore.ErrLostByRestore.Because(fmt.Sprintf(
				"%s; what is left of it ends at %s: read on behind that", eventstore.ErrLostByRestore.Sentence(), st.Left(s.place)))
		}
		return position, err
	default:
		return 0, nil
	}
}
