package auth

import (
	"math"
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

// Credential is what cut-offs are held against: an access token's claims, or an API key.
type Credential struct {
	User    uuid.UUID // who it acts as
	Epoch   int64     // the user's credential epoch when it was issued, or last looked up
	Session uuid.UUID // nil for an API key
	Key     uuid.UUID // nil for an access token
	Secret  int64     // which of the key's secrets it is, from 1
	Shared  int64     // the epoch that all access tokens share, when it was issued; not held against API keys
}

// holder is one kind of thing whose credentials can be cut off, and which one it is.
type holder struct {
	kind holderKind
	id   uuid.UUID
}

type holderKind byte

const (
	ofUser holderKind = iota + 1
	ofSession
	ofKey
	ofEveryone
)

// Revocations holds the cut-offs of this node: the lowest epoch that is still accepted of each user, session and API
// key that anything was revoked of, and of everyone. A feed over the log fills it. It is safe for concurrent use, starts
// no goroutine, and begins unready.
//
// Of several cut-offs that hit a credential the strictest wins: it has to reach the highest of them. So they commute and
// repeat without harm, and the feed may apply them in any order and more than once. They are kept for at least as long
// as a token they refuse could live, in two generations of which the older is dropped whole: memory is bounded by the
// rate of revocations times half an hour, and nothing is ever swept.
type Revocations struct {
	clock func() time.Time

	mu        sync.RWMutex
	ready     bool
	confirmed time.Time
	turned    time.Time // when young was begun
	young     cutoffs
	old       cutoffs
}

// cutoffs has the lowest epoch that is accepted.
type cutoffs map[holder]int64

func (c cutoffs) raise(h holder, epoch int64) {
	if least, there := c[h]; !there || epoch > least {
		c[h] = epoch
	}
}

func (c cutoffs) refuse(h holder, epoch int64) bool {
	least, there := c[h]
	return there && epoch < least
}

// revoked holds the credential against every cut-off there is, in both generations.
func (r *Revocations) revoked(c Credential) bool {
	for _, known := range []cutoffs{r.young, r.old} {
		if known.refuse(holder{ofUser, c.User}, c.Epoch) ||
			c.Session != uuid.Nil && (known.refuse(holder{ofSession, c.Session}, c.Epoch) || known.refuse(holder{kind: ofEveryone}, c.Shared)) ||
			c.Key != uuid.Nil && known.refuse(holder{ofKey, c.Key}, c.Secret) {
			return true
		}
	}
	return false
}

// NewRevocations returns an empty set that refuses every token until Ready and Confirm were called.
func NewRevocations(clock func() time.Time) *Revocations {
	r := &Revocations{clock: clock}
	r.Reset()
	return r
}

// EndSession refuses the tokens of one session, which ended at that time.
func (r *Revocations) EndSession(session uuid.UUID, at time.Time) {
	r.raise(holder{ofSession, session}, math.MaxInt64, at)
}

// RaiseKey refuses the secrets of an API key that come before this one, from that time on.
func (r *Revocations) RaiseKey(key uuid.UUID, secret int64, at time.Time) {
	r.raise(holder{ofKey, key}, secret, at)
}

// RaiseEpoch refuses what the user holds of all epochs below this one, which began at that time: their credentials
// changed, or what they may do, or they were disabled. Enabling them again has nothing to take back here: who signs in
// then gets tokens of the new epoch.
func (r *Revocations) RaiseEpoch(user uuid.UUID, epoch int64, at time.Time) {
	r.raise(holder{ofUser, user}, epoch, at)
}

// RaiseShared refuses everybody's access tokens of all shared epochs below this one, which began at that time.
func (r *Revocations) RaiseShared(epoch int64, at time.Time) {
	r.raise(holder{kind: ofEveryone}, epoch, at)
}

func (r *Revocations) raise(h holder, epoch int64, at time.Time) {
	now := r.clock()
	if now.Sub(at) > ancient {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	r.young.raise(h, epoch)
}

// turn begins a generation when the young one is old enough for all of the old one's entries to be out of the window.
func (r *Revocations) turn(now time.Time) {
	if now.Sub(r.turned) < RevocationWindow {
		return
	}
	r.old, r.young, r.turned = r.young, cutoffs{}, now
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
	r.young, r.old, r.turned = cutoffs{}, cutoffs{}, r.clock()
}

// Fresh says whether the cut-offs can be trusted at that time: loaded, and confirmed within the last 5 seconds.
func (r *Revocations) Fresh(now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.fresh(now)
}

// Age returns how old what is known of revocations is: every one committed before that is applied. Before anything is
// known it is the age of everything.
func (r *Revocations) Age(now time.Time) time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if !r.ready || r.confirmed.IsZero() {
		return math.MaxInt64
	}
	return now.Sub(r.confirmed)
}

// Size returns how many cut-offs are kept.
func (r *Revocations) Size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.young) + len(r.old)
}

// fresh asks both of a time's clocks: the monotonic one stands still while a machine sleeps, the other can be set back.
func (r *Revocations) fresh(now time.Time) bool {
	return r.ready && now.Sub(r.confirmed) <= freshFor && now.Round(0).Sub(r.confirmed.Round(0)) <= freshFor
}

// Check accepts a credential that was verified, or is ErrTokenRevoked, or ErrRevocationsUnknown when it cannot tell.
func (r *Revocations) Check(c Credential) error {
	now := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.revoked(c) {
		return ErrTokenRevoked
	}
	if !r.fresh(now) {
		return ErrRevocationsUnknown.RetryAfter(time.Second)
	}
	return nil
}
