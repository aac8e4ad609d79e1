package subscription

import "github.com/atlas-platform/atlas/eventstore"

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
	hash = (hash ^ '-') * prime
	var room [36]byte
	for _, b := range appendID(room[:0], stream.ID) { // without making a string of it: this runs once per event
		hash = (hash ^ uint64(b)) * prime
	}
	return int((hash ^ hash>>32) % Slots)
}
