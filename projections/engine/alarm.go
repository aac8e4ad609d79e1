package engine

import (
	"context"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// When a projection counts as frozen: at two looks in a row it was where it is, with the same event to fold. It is said at
// once, and then once in a while.
const (
	frozenLook  = 5 * time.Second
	frozenAgain = time.Minute
)

// alarm tells of projections that do not move, and why.
type alarm struct {
	seen map[ID]sighting
}

type sighting struct {
	position int64
	told     time.Time
}

// keepWatch looks at the projections that this process runs, and at those that it could run and nobody does.
func (r *Runner) keepWatch(ctx context.Context) {
	a := alarm{seen: map[ID]sighting{}}
	for wait.For(ctx, r.watch) {
		all, err := Lags(ctx, r.pool)
		if err != nil {
			continue // a lost database is told of by whoever waits for it
		}
		for _, l := range all {
			if r.known[l.ID] != nil && (l.Node == "" || l.Node == r.presence.name) && a.isNews(l, time.Now()) {
				r.log.Error("projection does not move", "projection", l.ID.Name, "position", l.Position, "events", l.Events,
					"behind_seconds", int64(l.Behind.Seconds()), "cause", l.Cause)
			}
		}
	}
}

// isNews says whether a projection is frozen and that was not said lately. What stands still with an error is reported by
// whoever runs into it.
func (a alarm) isNews(l Lag, now time.Time) bool {
	before, seen := a.seen[l.ID]
	if l.Events == 0 || l.Error != "" || !seen || before.position != l.Position {
		a.seen[l.ID] = sighting{position: l.Position}
		if l.Events == 0 {
			delete(a.seen, l.ID)
		}
		return false
	}
	if now.Sub(before.told) < frozenAgain {
		return false
	}
	a.seen[l.ID] = sighting{position: l.Position, told: now}
	return true
}
