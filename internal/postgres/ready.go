package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/wait"
)

// ErrServerTooOld is a server of a version that Atlas does not run on.
var ErrServerTooOld = errors.New("PostgreSQL 15 or newer is required")

// WaitReady returns once the server answers and is new enough. It waits, until ctx is done, for a server that is away or
// starting; what waiting does not mend (a wrong password, a missing database, an old version) is returned at once.
func WaitReady(ctx context.Context, pool *pgxpool.Pool) error {
	for {
		err := checkVersion(ctx, pool)
		if err == nil || !IsConnectionLost(err) {
			return err
		}
		if !wait.For(ctx, 100*time.Millisecond) {
			return fmt.Errorf("wait for postgres: %w (%w)", context.Cause(ctx), err)
		}
	}
}

func checkVersion(ctx context.Context, pool *pgxpool.Pool) error {
	const q = `SELECT current_setting('server_version_num')::int, current_setting('server_version')`
	var number int
	var text string
	if err := pool.QueryRow(ctx, q).Scan(&number, &text); err != nil {
		return err
	}
	return newEnough(number, text)
}

func newEnough(number int, text string) error {
	if number < oldestMajor*10000 {
		return fmt.Errorf("%w, and this server is %s", ErrServerTooOld, text)
	}
	return nil
}
