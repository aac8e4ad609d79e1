package readapi

import (
	"context"
	"errors"
	"sort"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

// asOf is a point of the past: a position of the log, or a time. Both are inclusive.
type asOf struct {
	given    bool
	position int64 // 0 where a time is meant
	time     time.Time
}

var errAsOf = errors.New("neither a position nor a time")

// UnmarshalText reads an integer as a position and anything else as an RFC 3339 time.
func (a *asOf) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		if n < 1 {
			return errAsOf
		}
		*a = asOf{given: true, position: n}
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return errAsOf
	}
	*a = asOf{given: true, time: t}
	return nil
}

// Schema tells the docs what is accepted.
func (asOf) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:               huma.TypeString,
		Description:        "Read it as it was at a position of the log (an integer) or at a time (RFC 3339), inclusive.",
		PatternDescription: "a position or an RFC 3339 time",
		Examples:           []any{"42", "2026-01-31T12:00:00Z"},
	}
}

// checkAsOf refuses the future, and waits until the past is final: what is read now must read the same for ever.
func (s *Server) checkAsOf(ctx context.Context, a asOf, wait time.Duration) error {
	if a.time.After(s.Clock()) {
		return eventstore.ErrFuture.Because("the time lies in the future")
	}
	end, err := s.Log.End(ctx)
	if err != nil {
		return err
	}
	if a.position > end {
		return eventstore.ErrFuture
	}
	if a.position > 0 {
		end = a.position
	}
	return s.settle(ctx, end, wait)
}

// settle waits until every append that could still write below a position has ended.
func (s *Server) settle(ctx context.Context, position int64, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		horizon, err := s.Log.Horizon(ctx)
		if err != nil && ctx.Err() == nil || horizon >= position && err == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return engine.ErrLagging.RetryAfter(time.Second)
		case <-tick.C:
		}
	}
}

// until returns the events up to the point, of a stream's events in order.
func (a asOf) until(recorded []*eventstore.Recorded) []*eventstore.Recorded {
	n := sort.Search(len(recorded), func(i int) bool {
		if a.position > 0 {
			return recorded[i].Position > a.position
		}
		return recorded[i].At.After(a.time)
	})
	return recorded[:n]
}
