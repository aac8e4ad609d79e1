package writeapi

import (
	"context"
	"strconv"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// written is the answer to a write.
type written struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Position string `header:"Atlas-Position"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     struct {
		ID       uuid.UUID `json:"id"`
		Version  int64     `json:"version" doc:"Of the resource, after the write"`
		Position int64     `json:"position" doc:"Send it as Atlas-Min-Position to read what was written"`
	}
}

// removed is the answer to a write after which there is nothing left to name.
type removed struct {
	Position string `header:"Atlas-Position"`
	Replayed string `header:"Idempotency-Replayed"`
}

// handle carries out one command, at the version the caller insists on, if any.
func (s *Server) handle(ctx context.Context, step commands.Step, match httpapi.IfMatch) (eventstore.Outcome, error) {
	ctx = commandContext(ctx)
	if version, exact := match.Version(); exact {
		return s.Commands.HandleAt(ctx, version, step)
	}
	return s.Commands.Handle(ctx, step)
}

// answer tells what was written to the stream of a category.
func answer(o eventstore.Outcome, category string) *written {
	w := &written{Position: position(o), Replayed: replayed(o)}
	if stream, found := o.Of(category); found {
		w.ETag = httpapi.ETag(stream.Version)
		w.Body.ID, w.Body.Version, w.Body.Position = stream.Stream.ID, stream.Version, stream.Position
	}
	return w
}

func position(o eventstore.Outcome) string { return strconv.FormatInt(o.Position(), 10) }

func replayed(o eventstore.Outcome) string {
	if o.Replayed {
		return "true"
	}
	return ""
}
