package eventstore

import (
	"fmt"

	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrCommandReused says that a command id came again for another command. Its caller must choose a new id.
var ErrCommandReused = fault.New(fault.Invalid, "idempotency_key_reused",
	"this idempotency key was used for another request; use a new key for a new request")

// ErrOutcomeUnknown says that the connection was lost during an append and that trying the same command again failed too:
// the events may be in the log or not. The same command with the same id finds out.
var ErrOutcomeUnknown = fault.New(fault.Unavailable, "outcome_unknown",
	"whether the request took effect is unknown; if it had an idempotency key, repeat it with the same one, else look before you repeat it")

// ErrImporting says that an import which keeps positions has not finished: until it has, nothing else can be appended.
var ErrImporting = fault.New(fault.Unavailable, "log_importing",
	"the event log is being imported, and nothing can be written before that has finished; try again later")

// ErrUnavailable says that the log's database cannot be reached. Nothing was written.
var ErrUnavailable = fault.ErrUnavailable

// ErrFuture says that a position lies beyond the end of the log.
var ErrFuture = fault.New(fault.BadRequest, "position_in_future",
	"the position lies beyond the end of the log")

// ErrData says that an event cannot be stored: the database has no place for what is in it. What is in an event comes
// from a request, so this is a fault of the caller's.
var ErrData = fault.New(fault.Invalid, "data_not_storable",
	"the request cannot be stored: it is too large, or holds the NUL character, half of a surrogate pair or too long a number")

// ErrVersion is a lost race: a stream is not at the version the append expected.
type ErrVersion struct {
	Stream   Stream
	Expected int64
	Actual   int64 // 0 if the stream does not exist
}

func (e *ErrVersion) Error() string {
	return fmt.Sprintf("stream %s is at version %d, expected %d", e.Stream, e.Actual, e.Expected)
}
