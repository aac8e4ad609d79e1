package eventstore

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// CheckStored refuses the data and metadata of an event that was recorded elsewhere if the database could not hold
// them, or a reader of the log could not read them. Both must be well-formed JSON already. sealed is how many bytes the
// event has beside them.
func CheckStored(data, metadata json.RawMessage, sealed int) error {
	if size := len(data) + sealed; size > maxEventBytes {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrData, size, maxEventBytes)
	}
	for _, part := range []json.RawMessage{data, metadata} {
		if err := validate(part); err != nil {
			return err
		}
	}
	if _, _, err := decodeMetadata(metadata); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return nil
}

// SealedEnvelope returns the sealed fields of an event as its Sealer opens them. Secret fields have no such way out.
func SealedEnvelope(event, subject uuid.UUID, sealed []byte) *Envelope {
	return &Envelope{Subject: subject, Bound: bound(event, sealedPart), Sealed: sealed}
}
