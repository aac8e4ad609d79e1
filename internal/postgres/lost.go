package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// sessionEnded are the errors by which a server ends a session, refuses one for now, or says that it is the wrong one.
var sessionEnded = []string{
	"57P01", // admin_shutdown
	"57P02", // crash_shutdown
	"57P03", // cannot_connect_now: starting up, shutting down
	"57P05", // idle_session_timeout
	"25P03", // idle_in_transaction_session_timeout
	"53300", // too_many_connections: there may be room in a moment
	"25006", // read_only_sql_transaction: it was the primary, and another is now
}

// IsConnectionLost says whether err means that the server went away, is not there yet, or cannot be reached: the same
// may succeed later on a new connection. Whether a statement that was under way took effect is unknown. What the
// server refuses for good, and a context cancelled by the caller, is no lost connection.
func IsConnectionLost(err error) bool {
	if answer := (*pgconn.PgError)(nil); errors.As(err, &answer) {
		return strings.HasPrefix(answer.Code, "08") || slices.Contains(sessionEnded, answer.Code)
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	if dial := (*pgconn.ConnectError)(nil); errors.As(err, &dial) {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return true
	}
	return errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
