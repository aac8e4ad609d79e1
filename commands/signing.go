package commands

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
)

const (
	// KeyAnnounced is how long a key is published before it signs: longer than anybody may keep a copy of the key set, and
	// than the clocks of two nodes may differ.
	KeyAnnounced = 6 * time.Minute

	// KeyAnnouncedAtLeast is how long it is published at least, however urgent: by then every node of Atlas has heard of
	// it, or knows that it has not heard of anything.
	KeyAnnouncedAtLeast = 6 * time.Second

	// KeyVerifies is how long a key verifies after it has stopped signing: longer than what it signed lives.
	KeyVerifies = 12 * time.Minute

	// maxSigningKeys bounds the keys in use: a rotation needs two or three.
	maxSigningKeys = 16
)

// Faults of the keys that sign.
var (
	ErrKeySigns    = fault.New(fault.Conflict, "key_signs", "this key signs; rotate first, and retire it when another one signs")
	ErrKeyUsed     = fault.New(fault.Conflict, "key_used", "this key has signed before and will not again")
	ErrTooManyKeys = fault.New(fault.Conflict, "too_many_keys", "there are 16 keys in use already; retire some")
)

// SigningID is the one stream of the Signing aggregate.
var SigningID = uuid.MustParse("5e1f0000-0000-7000-8000-000000000001")

// Signing decides which keys sign and verify access tokens. A key is announced, then active, then retiring, then removed;
// one at a time is active.
var Signing = Decider[signing, SigningCommand, events.SigningEvent]{
	Category: "signing",
	Decide:   decideSigning,
	Evolve:   evolveSigning,
}

// KeyState is where in its life a key is.
type KeyState string

// The states, in their order.
const (
	Announced KeyState = "announced" // published, and what it signs is accepted
	Active    KeyState = "active"    // signs
	Retiring  KeyState = "retiring"  // what it has signed is accepted
	Removed   KeyState = "removed"   // nothing of it is accepted
)

// SigningKey is one key as the log tells it.
type SigningKey struct {
	ID        string
	Public    string
	State     KeyState
	Since     time.Time // when that state began
	SignsFrom time.Time // when an announced key is to sign; zero while that is not decided
	Until     time.Time // when a retiring key is to be removed
}

// Due says whether something is to be done about the key at that time: AdvanceKeys does it.
func (k SigningKey) Due(now time.Time) bool {
	return k.State == Announced && !k.SignsFrom.IsZero() && !k.SignsFrom.After(now) ||
		k.State == Retiring && !k.Until.After(now)
}

type signing struct {
	keys   []SigningKey // in the order in which they were announced, none forgotten
	shared int64
}

// SigningCommand is the closed set of what can be asked of the keys that sign.
type SigningCommand interface{ signingCommand() }

// AnnounceKey publishes a key. One that is known already stays as it is.
type AnnounceKey struct {
	ID     string
	Public string
	At     time.Time
}

// ScheduleKey has an announced key sign, as soon as it was announced for so long. Where no key signs, it does at once,
// since nobody holds a copy of a key set then. A key that is scheduled to sign sooner, or signs, stays as it is.
type ScheduleKey struct {
	ID        string
	Announced time.Duration // KeyAnnouncedAtLeast or more
	At        time.Time
}

// AdvanceKeys does what is due: announced keys begin to sign, and retiring ones are removed. Any node may give it.
type AdvanceKeys struct{ At time.Time }

// RetireKey makes everything worthless that a key has signed, from now on. The one that signs is refused.
type RetireKey struct {
	ID string
	At time.Time
}

// SignOutEveryone ends every session there is.
type SignOutEveryone struct{}

func (AnnounceKey) signingCommand()     {}
func (ScheduleKey) signingCommand()     {}
func (AdvanceKeys) signingCommand()     {}
func (RetireKey) signingCommand()       {}
func (SignOutEveryone) signingCommand() {}

func decideSigning(s signing, command SigningCommand) ([]events.SigningEvent, error) {
	switch c := command.(type) {
	case AnnounceKey:
		return announceKey(s, c)
	case ScheduleKey:
		return scheduleKey(s, c)
	case AdvanceKeys:
		return advanceKeys(s, c.At.UTC()), nil
	case RetireKey:
		return retireKey(s, c)
	case SignOutEveryone:
		return []events.SigningEvent{events.EveryoneSignedOut{Epoch: s.shared + 1}}, nil
	}
	panic(fmt.Sprintf("signing: command %T not decided", command))
}

func announceKey(s signing, c AnnounceKey) ([]events.SigningEvent, error) {
	if s.find(c.ID) != nil {
		return nil, nil
	}
	used := 0
	for _, k := range s.keys {
		if k.State != Removed {
			used++
		}
	}
	if used >= maxSigningKeys {
		return nil, ErrTooManyKeys
	}
	return []events.SigningEvent{events.SigningKeyAnnounced{KeyID: c.ID, PublicKey: c.Public, AnnouncedAt: c.At.UTC()}}, nil
}

func scheduleKey(s signing, c ScheduleKey) ([]events.SigningEvent, error) {
	key := s.find(c.ID)
	switch {
	case key == nil:
		return nil, ErrNotFound
	case key.State == Active:
		return nil, nil
	case key.State != Announced:
		return nil, ErrKeyUsed
	case s.active() == nil:
		return []events.SigningEvent{events.SigningKeyActivated{KeyID: c.ID, ActivatedAt: c.At.UTC()}}, nil
	}
	from := key.Since.Add(max(c.Announced, KeyAnnouncedAtLeast)).UTC()
	if !key.SignsFrom.IsZero() && !from.Before(key.SignsFrom) {
		return nil, nil
	}
	return []events.SigningEvent{events.SigningKeyScheduled{KeyID: c.ID, SignsFrom: from}}, nil
}

// advanceKeys lets the key sign that was scheduled last of those that are due. Another one that was due never signs, and
// goes the way of those that did: its public key is out.
func advanceKeys(s signing, now time.Time) (decided []events.SigningEvent) {
	var next *SigningKey
	for i := range s.keys {
		k := &s.keys[i]
		if k.State == Announced && k.Due(now) && (next == nil || !k.SignsFrom.Before(next.SignsFrom)) {
			next = k
		}
	}
	for _, k := range s.keys {
		switch {
		case next != nil && k.ID == next.ID:
			decided = append(decided, events.SigningKeyActivated{KeyID: k.ID, ActivatedAt: now})
		case next != nil && (k.State == Active || k.State == Announced && k.Due(now)):
			decided = append(decided, events.SigningKeyRetired{KeyID: k.ID, RetiredAt: now, VerifiesUntil: now.Add(KeyVerifies)})
		case k.State == Retiring && k.Due(now):
			decided = append(decided, events.SigningKeyRemoved{KeyID: k.ID, RemovedAt: now})
		}
	}
	return decided
}

func retireKey(s signing, c RetireKey) ([]events.SigningEvent, error) {
	key := s.find(c.ID)
	switch {
	case key == nil:
		return nil, ErrNotFound
	case key.State == Active:
		return nil, ErrKeySigns
	case key.State == Removed:
		return nil, nil
	}
	return []events.SigningEvent{events.SigningKeyRemoved{KeyID: c.ID, RemovedAt: c.At.UTC()}}, nil
}

func evolveSigning(s signing, event events.SigningEvent) signing {
	s.keys = slices.Clone(s.keys) // the state before may be kept
	switch e := event.(type) {
	case events.SigningKeyAnnounced:
		s.keys = append(s.keys, SigningKey{ID: e.KeyID, Public: e.PublicKey, State: Announced, Since: e.AnnouncedAt})
	case events.SigningKeyScheduled:
		s.find(e.KeyID).SignsFrom = e.SignsFrom
	case events.SigningKeyActivated:
		k := s.find(e.KeyID)
		k.State, k.Since = Active, e.ActivatedAt
	case events.SigningKeyRetired:
		k := s.find(e.KeyID)
		k.State, k.Since, k.Until = Retiring, e.RetiredAt, e.VerifiesUntil
	case events.SigningKeyRemoved:
		k := s.find(e.KeyID)
		k.State, k.Since = Removed, e.RemovedAt
	case events.EveryoneSignedOut:
		s.shared = e.Epoch
	default:
		panic(fmt.Sprintf("signing: event %T not evolved", event))
	}
	return s
}

// find returns the key with the id, or nil.
func (s signing) find(id string) *SigningKey {
	for i := range s.keys {
		if s.keys[i].ID == id {
			return &s.keys[i]
		}
	}
	return nil
}

// active returns the key that signs, or nil before the first one does.
func (s signing) active() *SigningKey {
	for i := range s.keys {
		if s.keys[i].State == Active {
			return &s.keys[i]
		}
	}
	return nil
}

// SigningKeys returns every key there ever was, in the order in which they were announced, as the log tells.
func (h *Handler) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	s, _, err := Signing.load(ctx, h.log, SigningID)
	return s.keys, err
}

// SharedEpoch returns the epoch that all tokens and sessions share, as the log tells; those of earlier ones are refused.
func (h *Handler) SharedEpoch(ctx context.Context) (int64, error) {
	s, _, err := Signing.load(ctx, h.log, SigningID)
	return s.shared, err
}
