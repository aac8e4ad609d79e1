package eventstore

import (
	"context"
	"log/slog"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// upkeepInterval is how often the log's parts are seen to. There is room for a part's worth of events ahead, and ten
// days for what expires, so an hour missed does not matter.
const upkeepInterval = time.Hour

// Upkeep makes the parts of the log ahead of need and empties those of expired command ids. Any number of nodes may run
// it. An append that finds no part makes it itself, and ids that nobody expires are kept longer: nothing depends on it
// being on time.
type Upkeep struct {
	store *Store
	log   *slog.Logger
}

// NewUpkeep returns the upkeep of a log.
func NewUpkeep(store *Store, log *slog.Logger) *Upkeep { return &Upkeep{store: store, log: log} }

// Run sees to the log now and every hour, until ctx ends. What fails is logged and tried again the next time.
func (u *Upkeep) Run(ctx context.Context) error {
	for {
		if err := u.store.patiently(ctx, `SELECT atlas.ensure_parts()`); err != nil && ctx.Err() == nil {
			u.log.Warn("parts of the log not made ahead of need", "error", err)
		}
		if err := u.store.patiently(ctx, `SELECT atlas.expire_commands()`); err != nil && ctx.Err() == nil {
			u.log.Warn("command ids not expired", "error", err)
		}
		if !wait.For(ctx, upkeepInterval) {
			return nil
		}
	}
}
