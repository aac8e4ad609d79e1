package subscription

import (
	"encoding/hex"

	"github.com/atlas-platform/atlas/eventstore"
)

// Slots is how many parts the streams of a group are divided into. It never changes.
const Slots = 256

// SlotOf returns the slot of a stream: the FNV-1a hash (64 bits) of its stored form, its upper half folded onto its
// lower, modulo 256. What is stored by slot relies on it, and so do nodes of different versions beside one another: it
// never changes.
func SlotOf(stream eventstore.Stream) int {
	const offset, prime = 14695981039346656037, 1099511628211
	hash := uint64(offset)
	for i := range len(stream.Category) {
		hash = (hash ^ uint64(stream.Category[i])) * prime
	}
	var id [36]byte
	encodeID(id[:], stream)
	hash = (hash ^ '-') * prime
	for _, b := range id {
		hash = (hash ^ uint64(b)) * prime
	}
	return int((hash ^ hash>>32) % Slots)
}

// encodeID writes the id's stored form without making a string of it: this runs once per event.
func encodeID(to []byte, stream eventstore.Stream) {
	id := stream.ID
	hex.Encode(to[0:8], id[0:4])
	hex.Encode(to[9:13], id[4:6])
	hex.Encode(to[14:18], id[6:8])
	hex.Encode(to[19:23], id[8:10])
	hex.Encode(to[24:36], id[10:16])
	to[8], to[13], to[18], to[23] = '-', '-', '-', '-'
}
