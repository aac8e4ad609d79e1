package events

import (
	"math"
	"reflect"
	"slices"
)

// Revoking is an event after which credentials that were good are refused, on every node and within a second. To give an
// event that power, give it this method: every node finds the type by it and reads it from the log.
type Revoking interface{ CutOff() CutOff }

// CutOff says which credentials are refused: those of the holder that the event's stream names, whose epoch is below
// this one. Epochs are integers counted by streams; times are never compared, since two events share a second. An epoch
// that is not positive means every one: when in doubt, refuse.
type CutOff struct {
	Of    Holder
	Epoch int64 // the lowest that is still accepted
}

// Holder is the kind of thing whose credentials a cut-off refuses. Which one it is says the id of the event's stream.
type Holder int

// The holders.
const (
	OfUser     Holder = iota + 1 // a user's tokens and keys, by the user's credential epoch
	OfSession                    // one session's tokens
	OfAPIKey                     // one API key, by the number of its secret
	OfEveryone                   // everybody's tokens, by the epoch that all share; the stream does not matter
)

// Ended is the epoch that no credential has: all of the holder's are refused.
const Ended = math.MaxInt64

// CutOff returns what an event of this type cuts off if its fields do not tell: a shape of a newer version, for example.
// ok is false for types that revoke nothing.
func (t Type) CutOff() (c CutOff, ok bool) {
	e, ok := reflect.Zero(t.shape.goType).Interface().(Revoking)
	if !ok {
		return CutOff{}, false
	}
	return CutOff{Of: e.CutOff().Of, Epoch: Ended}, true
}

// Revoking lists the stored names of the types that are Revoking, sorted.
func (v *Vocabulary) Revoking() (names []string) {
	for name, t := range v.names {
		if _, revokes := t.CutOff(); revokes {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
