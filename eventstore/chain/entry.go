package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// entry is what a block keeps of one event: enough to name it when it is gone, and to tell whether it is the same.
type entry struct {
	position, version int64
	stream            string
	digest            [sha256.Size]byte
	hints             hints
}

func entryOf(e *event) entry {
	return entry{position: e.position, version: e.version, stream: string(e.stream), digest: e.digest(), hints: e.hints()}
}

// append adds the entry's bytes: position, version, length and bytes of the stream's name, digest, hints.
func (e entry) append(b []byte) []byte {
	b = appendInt(appendInt(b, e.position), e.version)
	b = appendField(b, []byte(e.stream))
	b = append(b, e.digest[:]...)
	return append(b, e.hints[:]...)
}

var errEntries = errors.New("its entries cannot be read")

// parseEntries reads the entries of a block. It is given bytes that somebody may have changed.
func parseEntries(b []byte) (all []entry, err error) {
	const fixed = 24
	for len(b) > 0 {
		var e entry
		if len(b) < fixed {
			return nil, errEntries
		}
		e.position = int64(binary.BigEndian.Uint64(b))
		e.version = int64(binary.BigEndian.Uint64(b[8:]))
		n := binary.BigEndian.Uint64(b[16:])
		b = b[fixed:]
		if n > uint64(len(b)) || uint64(len(b))-n < sha256.Size+uint64(len(e.hints)) {
			return nil, errEntries
		}
		e.stream, b = string(b[:n]), b[n:]
		b = b[copy(e.digest[:], b):]
		b = b[copy(e.hints[:], b):]
		if len(all) > 0 && e.position <= all[len(all)-1].position {
			return nil, fmt.Errorf("%w: position %d is out of order", errEntries, e.position)
		}
		all = append(all, e)
	}
	return all, nil
}
