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
	Spare   bool  // it is left out where its subject is forgotten, instead of failing all
	Err     error // why it could not be opened, though the subject is not forgotten
}

// Sealer guards personal data. eventstore/sealing has the one Atlas uses.
type Sealer interface {
	// Seal sets Sealed of every envelope from Plain. A subject's key is made when it is first needed; a forgotten
	// subject's never again: sealing for one is an error, unless the envelope is Spare, which then keeps Sealed nil.
	Seal(ctx context.Context, envelopes []*Envelope) error
	// Open sets Plain of every envelope from Sealed, and leaves it nil where the subject is forgotten. A value that is
	// damaged or in the wrong place gets its Err; an error for all means that the keys could not be had. An envelope
	// whose Sealed is nil only asks: its Plain is set, and empty, unless the subject is forgotten.
	Open(ctx context.Context, envelopes []*Envelope) error
}

// Forgetter is a Sealer that remembers keys. It is told of the forgotten as the log is read, before anything on the same
// page is opened; so whoever reads in the order of the log never opens what lies behind a subject's end.
type Forgetter interface {
	// Forgotten says that the subjects' keys are destroyed. What it remembers of them is worth nothing from now on.
	Forgotten(subjects ...uuid.UUID)
	// Unsure says that subjects may have been forgotten unnoticed. It must look at every key anew.
	Unsure()
}

// forgottenType is the stored name of the one event that the log itself acts upon. Its stream's id is the subject.
const forgottenType = "subject.forgotten"

// The parts of an event that are sealed.
const (
	sealedPart = "sealed"
	secretPart = "secret"
	clientPart = "client"
)

// bound says what an envelope belongs to: a part of an event, or the client of a command.
func bound(id uuid.UUID, part string) string { return id.String() + "/" + part }
