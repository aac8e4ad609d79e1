package eventstore

import (
	"context"

	"github.com/google/uuid"
)

// Envelope is one personal value on its way into the log or out of it.
type Envelope struct {
	Subject uuid.UUID // whose key encrypts it
	Bound   string    // what it belongs to; it opens nowhere else
	Plain   []byte
	Sealed  []byte
	Err     error // why it could not be opened, though the subject is not forgotten
}

// Sealer guards personal data. eventstore/sealing has the one Atlas uses.
type Sealer interface {
	// Seal sets Sealed of every envelope from Plain. A subject's key is made when it is first needed; a forgotten
	// subject's never again, and sealing for one is an error.
	Seal(ctx context.Context, envelopes []*Envelope) error
	// Open sets Plain of every envelope from Sealed, and leaves it nil where the subject is forgotten. A value that is
	// damaged or in the wrong place gets its Err; an error for all means that the keys could not be had.
	Open(ctx context.Context, envelopes []*Envelope) error
}

// The parts of an event that are sealed.
const (
	sealedPart = "sealed"
	secretPart = "secret"
	clientPart = "client"
)

// bound says what an envelope belongs to: a part of an event, or the client of a command.
func bound(id uuid.UUID, part string) string { return id.String() + "/" + part }
