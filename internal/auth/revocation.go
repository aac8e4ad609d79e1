package auth

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

const (
	// freshFor is how long the cut-offs may be trusted after a successful read of the log.
	freshFor = 5 * time.Second

	// RevocationWindow is how long a cut-off is needed, and so how far back a feed reads when it starts: a token's
	// life, the leeway on its end, as much again for the clock of the node that issued it, and a minute for a token
	// being issued while the cut-off was written.
	RevocationWindow = AccessTTL + 2*leeway + time.Minute

	// ancient is the age from which a cut-off is not kept at all. It is far beyond the window because it compares the
	// log's clock with this node's, and a wrong clock must not lose a cut-off.
	ancient = time.Hour
)

var (
	// ErrTokenRevoked refuses an access token whose session ended or whose user's credentials changed.
	ErrTokenRevoked = fault.New(fault.Unauthenticated, "token_revoked", "the session has ended; sign in again")

	// ErrRevocationsUnknown refuses every access token while the log cannot be read: a revoked one cannot be told from
	// a valid one. A caller that can ask the database instead may do so on exactly this error.
	ErrRevocationsUnknown = fault.ErrUnavailable
)

// Revocations holds the cut-offs of this node: which sessions ended, and below which credential epoch a user's tokens
// are refused. A feed over the log fills it. It is safe for concurrent use, starts no goroutine, and begins unready.
//
// Cut-offs commute and repeat without harm, so the feed may apply them in any order and more than once. They are kept
// for at least as long as a token they refuse could live, in two generations of which the older is dropped whole:
// memory is bounded by the rate of revocations times half an hour, and nothing is ever swept.
type Revocations struct {
	clock func() time.Time

	mu        sync.RWMutex
	ready     bool
	confirmed time.Time
	turned    time.Time // when young was begun
	young     cutoffs
	old       cutoffs
}

type cutoffs struct {
	sessions map[uuid.UUID]struct{}
	epochs   map[uuid.UUID]int64 // by user: the lowest epoch that is accepted
}

func newCutoffs() cutoffs {
	return cutoffs{sessions: map[uuid.UUID]struct{}{}, epochs: map[uuid.UUID]int64{}}
}

func (c cutoffs) refuse(claims Claims) bool {
	_, ended := c.sessions[claims.Session]
	least, raised := c.epochs[claims.User]
	return ended || raised && claims.Epoch < least
}

// NewRevocations returns an empty set that refuses every token until Ready and Confirm were called.
func NewRevocations(clock func() time.Time) *Revocations {
	r := &Revocations{clock: clock}
	r.Reset()
	return r
}

// EndSession refuses the tokens of one session, which ended at that time.
func (r *Revocations) EndSession(session uuid.UUID, at time.Time) {
	r.add(at, func(c cutoffs) { c.sessions[session] = struct{}{} })
}

// RaiseEpoch refuses the user's tokens of all epochs below this one, which began at that time.
func (r *Revocations) RaiseEpoch(user uuid.UUID, epoch int64, at time.Time) {
	r.add(at, func(c cutoffs) {
		if least, ok := c.epochs[user]; !ok || epoch > least {
			c.epochs[user] = epoch
		}
	})
}

// DisableUser refuses all tokens that the user holds. Disabling a user begins an epoch, like every change of
// credentials, so enabling them again has nothing to take back here: who signs in then gets tokens of the new epoch.
func (r *Revocations) DisableUser(user uuid.UUID, epoch int64, at time.Time) {
	r.RaiseEpoch(user, epoch, at)
}

func (r *Revocations) add(at time.Time, apply func(cutoffs)) {
	now := r.clock()
	if now.Sub(at) > ancient {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	apply(r.young)
}

// turn begins a generation when the young one is old enough for all of the old one's entries to be out of the window.
func (r *Revocations) turn(now time.Time) {
	if now.Sub(r.turned) < RevocationWindow {
		return
	}
	r.old, r.young, r.turned = r.young, newCutoffs(), now
}

// Ready says that the cut-offs of the whole RevocationWindow have been applied: the feed has caught up with the log.
func (r *Revocations) Ready() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = true
}

// Confirm says that every cut-off written before that time has been applied. The feed calls it after each successful
// read of the log, with the time at which the read began.
func (r *Revocations) Confirm(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at)
	if at.After(r.confirmed) {
		r.confirmed = at
	}
}

// Reset forgets everything and refuses every token until Ready and Confirm are called again: for a feed that
// reconnects to a server which may not hold the same log.
func (r *Revocations) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready, r.confirmed = false, time.Time{}
	r.young, r.old, r.turned = newCutoffs(), newCutoffs(), r.clock()
}

// Fresh says whether the cut-offs can be trusted at that time: loaded, and confirmed within the last 5 seconds.
func (r *Revocations) Fresh(now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.fresh(now)
}

// fresh asks both of a time's clocks: the monotonic one stands still while a machine sleeps, the other can be set back.
func (r *Revocations) fresh(now time.Time) bool {
	return r.ready && now.Sub(r.confirmed) <= freshFor && now.Round(0).Sub(r.confirmed.Round(0)) <= freshFor
}

// Check accepts the claims of a verified token, or is ErrTokenRevoked, or ErrRevocationsUnknown when it cannot tell.
func (r *Revocations) Check(claims Claims) error {
	now := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.young.refuse(claims) || r.old.refuse(claims) {
		return ErrTokenRevoked
	}
	if !r.fresh(now) {
		return ErrRevocationsUnknown.RetryAfter(time.Second)
	}
	return nil
}
