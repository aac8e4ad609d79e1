package eventstore

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// CheckStored refuses the data and metadata of an event that was recorded elsewhere if the database could not hold
// them, or a reader of the log could not read them. sealed is how many bytes the event has beside them.
func CheckStored(data, metadata json.RawMessage, sealed int) error {
	if size := len(data) + sealed; size > maxEventBytes {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrData, size, maxEventBytes)
	}
	if !json.Valid(data) {
		return errors.New("data: not well-formed JSON")
	}
	if _, _, err := decodeMetadata(metadata); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return errors.Join(validate(data), validate(metadata))
}

// SealedEnvelope returns the sealed fields of an event as its Sealer opens them. Secret fields have no such way out.
func SealedEnvelope(event, subject uuid.UUID, sealed []byte) *Envelope {
	return &Envelope{Subject: subject, Bound: bound(event, sealedPart), Sealed: sealed}
}
