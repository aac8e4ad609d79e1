package readapi

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/wire"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/readapi/feed"
)

// The scopes of service keys that read the log.
const (
	scopeEvents = "events:read"
	scopeUnseal = "unseal"
)

// eventStream is the media type of a feed.
const eventStream = "text/event-stream"

const eventsDescription = "Every event of the log, in its order, that the filters choose: as a list, oldest first, or, with " +
	"`Accept: text/event-stream`, as a feed of Server-Sent Events that does not end.\n\n" +
	"A list's `resume`, and the id of each event of a feed, say how far you have come: send it as `after`, or as `Last-Event-ID`, and " +
	"you miss nothing and get nothing twice, on whichever node. It knows the log that it came from: after a restore, one that lies in " +
	"what was lost is refused.\n\n" +
	"What is personal is left out unless the key has the scope `unseal`; what is secret always is. Once a person is forgotten, their " +
	"events say so."

// events registers the log, as services read it.
func (s *Server) events(api *httpapi.API, cursors httpapi.Cursors) {
	httpapi.Register(api, httpapi.Operation{
		ID: "read-events", Method: http.MethodGet, Path: "/v1/events", Tag: "Events",
		Summary: "Read the log of events, or follow it", Description: eventsDescription,
		Access: httpapi.Service, Scope: scopeEvents, Held: true,
		Produces: []string{"application/json", eventStream}, Shows: reflect.TypeFor[EventPage](),
		Errors: append(readFaults(), eventstore.ErrOtherLog, eventstore.ErrLostByRestore, feed.ErrTooManyOfKey, feed.ErrTooManyOfNode),
	}, func(ctx context.Context, in *eventsRequest) (*eventsAnswer, error) {
		if httpapi.Media(ctx) == eventStream {
			return s.feed(ctx, in)
		}
		return s.listEvents(ctx, cursors, in)
	})
}

type eventsRequest struct {
	httpapi.ReadAfter
	httpapi.Paging
	After       feed.Start  `query:"after"`
	LastEventID feed.LastID `header:"Last-Event-ID"`
	Types       []string    `query:"type,explode" maxItems:"100" maxLength:"127" doc:"Only events of these types: document.created"`
	Categories  []string    `query:"category,explode" maxItems:"100" maxLength:"63" doc:"Only events of these categories: document"`
	Streams     []string    `query:"stream,explode" maxItems:"100" maxLength:"100" doc:"Only events of these streams: document-0197f2f0-7c00-7000-8000-00000000000a"`
}

// eventsAnswer is a list or a feed.
type eventsAnswer struct {
	Body func(huma.Context)
}

// EventPage is a page of the log. It is exported for the schema.
type EventPage struct {
	httpapi.Page[wire.Event]
	Resume string `json:"resume" doc:"How far this page has come, chosen or not: send it as after to read on, whatever comes then"`
}

// filter reads the filters. A name that no event can have is refused: it would choose nothing for ever.
func (s *Server) filter(in *eventsRequest) (f eventstore.Filter, err error) {
	var bad []fault.Field
	refuse := func(parameter, message string) {
		bad = append(bad, fault.Field{Pointer: parameter, Code: "not_allowed", Message: message})
	}
	types, categories := s.Log.Names()
	for _, t := range in.Types {
		if !slices.Contains(types, t) {
			refuse("type", "must be a type of event that this release has")
		}
	}
	for _, c := range in.Categories {
		if !slices.Contains(categories, c) {
			refuse("category", "must be one of "+strings.Join(categories, " "))
		}
	}
	for _, name := range in.Streams {
		stream, err := eventstore.ParseStream(name)
		if err != nil {
			refuse("stream", "must be a category, a hyphen and a UUID")
		}
		f.Streams = append(f.Streams, stream)
	}
	f.Types, f.Categories = in.Types, in.Categories
	if len(bad) > 0 {
		return f, httpapi.ErrInvalidParameter.At(bad...)
	}
	return f, nil
}

// feed opens a feed. What is refused is refused before the first byte of it.
func (s *Server) feed(ctx context.Context, in *eventsRequest) (*eventsAnswer, error) {
	if in.Cursor != "" {
		return nil, httpapi.ErrInvalidParameter.At(fault.Field{
			Pointer: "cursor", Code: "not_allowed", Message: "is for lists; a feed goes on behind Last-Event-ID or after",
		})
	}
	filter, err := s.filter(in)
	if err != nil {
		return nil, err
	}
	if err := s.awaitLog(ctx, in.ReadAfter); err != nil {
		return nil, err
	}
	q := feed.Query{Start: in.LastEventID.Or(in.After).Or(feed.Now()), Filter: filter, Unseal: s.unseals(ctx)}
	opened, err := s.Feeds.Open(ctx, key(ctx), q)
	if err != nil {
		return nil, err
	}
	return &eventsAnswer{func(c huma.Context) {
		w := c.BodyWriter().(http.ResponseWriter)
		if c.Method() == http.MethodHead {
			opened.Close()
			w.Header().Set("Content-Type", eventStream)
			return
		}
		opened.Serve(ctx, s.Feeds.NewStream(w))
	}}, nil
}

// key is the service key that asks.
func key(ctx context.Context) uuid.UUID {
	p, _ := auth.PrincipalFrom(ctx)
	return p.Key
}

// unseals says whether the caller sees what is personal. That somebody does is put on record.
func (s *Server) unseals(ctx context.Context) bool {
	p, _ := auth.PrincipalFrom(ctx)
	if !p.HasScope(scopeUnseal) {
		return false
	}
	s.Audit.InfoContext(ctx, "personal data is read", "key_id", p.Key, "feed", httpapi.Media(ctx) == eventStream)
	return true
}

// lookFor bounds how long a list looks for the first event that a filter chooses.
const lookFor = 2 * time.Second

// listTimeout is what any other read has: the operation has none, because of the feeds.
const listTimeout = 30 * time.Second

func (s *Server) listEvents(ctx context.Context, cursors httpapi.Cursors, in *eventsRequest) (*eventsAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	filter, err := s.filter(in)
	if err != nil {
		return nil, err
	}
	start, purpose := in.LastEventID.Or(in.After).Or(feed.First()), purposeOf(filter)
	if in.Cursor != "" {
		place, err := httpapi.DecodeCursor[eventstore.Place](cursors, purpose, in.Cursor)
		if err != nil {
			return nil, err
		}
		start = feed.Behind(place)
	}
	if err := s.awaitLog(ctx, in.ReadAfter); err != nil {
		return nil, err
	}
	standing, err := s.Log.Standing(ctx)
	if err != nil {
		return nil, err
	}
	after, err := start.Resolve(standing)
	if err != nil {
		return nil, err
	}
	found, err := s.look(ctx, after, standing.Last, filter, in.Limit)
	if err != nil {
		return nil, err
	}
	page := EventPage{Resume: standing.Here(found.Upto).String()}
	page.Data, page.HasMore = make([]wire.Event, len(found.Events)), found.Upto < standing.Last
	unseal := s.unseals(ctx)
	for i, r := range found.Events {
		if page.Data[i], err = wire.Show(r, unseal); err != nil {
			return nil, err
		}
	}
	if page.HasMore {
		next := httpapi.EncodeCursor(cursors, purpose, standing.Here(found.Upto))
		page.NextCursor = &next
	}
	return &eventsAnswer{func(c huma.Context) { httpapi.WriteJSON(c, page) }}, nil
}

// look reads the next events that the filter chooses: as many as one page of the log has of them, up to the limit. Where
// none comes for a while, it says how far it has looked.
func (s *Server) look(ctx context.Context, after, upto int64, f eventstore.Filter, limit int) (b eventstore.Batch, err error) {
	b.Upto = max(after, 0)
	for began := time.Now(); len(b.Events) == 0 && b.Upto < upto && time.Since(began) < lookFor; {
		if b, err = s.Log.ReadAll(ctx, b.Upto, upto, f, limit); err != nil {
			return b, err
		}
	}
	return b, nil
}

// awaitLog waits until what the caller wrote is final.
func (s *Server) awaitLog(ctx context.Context, after httpapi.ReadAfter) error {
	if after.MinPosition == 0 {
		return nil
	}
	end, err := s.Log.End(ctx)
	if err != nil {
		return err
	}
	if after.MinPosition > end {
		return eventstore.ErrFuture
	}
	return s.settle(ctx, after.MinPosition, after.Wait())
}

// purposeOf is what the cursors of lists with a filter are for.
func purposeOf(f eventstore.Filter) string {
	parts := []string{"events"}
	for _, list := range [][]string{f.Types, f.Categories} {
		parts = append(parts, strconv.Itoa(len(list)))
		parts = append(parts, list...)
	}
	for _, stream := range f.Streams {
		parts = append(parts, stream.String())
	}
	return strings.Join(parts, "/")
}
