package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/wait"
)

const (
	revocationPoll    = 250 * time.Millisecond // at least this often
	revocationGap     = 50 * time.Millisecond  // and not more often than this, however busy the log
	revocationTimeout = 2 * time.Second        // of one read; well below the age at which the set fails closed
)

// Revocation keeps the revocations of one node in step with the log.
//
// It reads what is visible, beyond the horizon, since cut-offs commute: an append that is open for long holds up no
// revocation but its own. Each read begins at the horizon of the one before. What was final then has been applied; what
// was not is read again, or for the first time if it was committed since. So nothing is missed however long its append
// took, and no clock is compared with another.
//
// At the start, after any failure, and when the server turns out to be another, it reads the whole auth.RevocationWindow
// by the database's clock before it confirms again.
type Revocation struct {
	store  *eventstore.Store
	waker  *eventstore.Waker
	types  []string
	set    *auth.Revocations
	clock  func() time.Time
	log    *slog.Logger
	server time.Time // when the server started that was read last

	followed []string // types after which reload is called
	reload   func(context.Context) error
	reloaded int64 // the version of the last event after which it was
}

// NewRevocation returns a feed from the log into the set, which must use the same clock.
func NewRevocation(store *eventstore.Store, waker *eventstore.Waker, set *auth.Revocations, clock func() time.Time, log *slog.Logger) *Revocation {
	return &Revocation{store: store, waker: waker, types: store.Vocabulary().Revoking(), set: set, clock: clock, log: log}
}

// Follow has reload called before anything is confirmed, and whenever an event of these types was read, which must all
// belong to one stream. Where it fails, nothing is confirmed until it has succeeded. It is for the wiring, before Run.
func (f *Revocation) Follow(types []string, reload func(context.Context) error) {
	f.followed, f.reload = types, reload
	f.types = append(slices.Clone(f.types), types...)
}

// Run keeps the set up until ctx ends, whatever fails.
func (f *Revocation) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		first := true
		err := f.follow(ctx, func() {
			if first && failing {
				f.log.Info("revocations are read again")
			}
			first, failing = false, false
		})
		if ctx.Err() == nil && !failing {
			f.log.Warn("revocations cannot be read", "error", err)
		}
		failing = true
		wait.For(ctx, revocationPoll)
	}
	return nil
}

var errOtherServer = errors.New("the server was restarted or is another one")

// follow reads the whole window, and then what comes, until a read fails. It reports each one that did not.
func (f *Revocation) follow(ctx context.Context, succeeded func()) error {
	began := f.clock()
	seen, err := f.look(ctx, func(ctx context.Context) (eventstore.Sight, error) {
		return f.store.ReadRecent(ctx, auth.RevocationWindow, f.types)
	})
	if err != nil {
		return err
	}
	if !f.server.IsZero() && !f.server.Equal(seen.Server) {
		f.set.Reset() // it may not hold the same log
	}
	f.server, f.reloaded = seen.Server, -1
	f.apply(seen.Events, began)
	if err := f.heed(ctx, seen.Events); err != nil {
		return err
	}
	f.set.Ready()
	f.set.Confirm(began)
	succeeded()
	for {
		woken := f.waker.Woken()
		began := f.clock()
		next, err := f.look(ctx, func(ctx context.Context) (eventstore.Sight, error) {
			return f.store.ReadBeyond(ctx, seen.Horizon, f.types)
		})
		if err != nil {
			return err
		}
		if !next.Server.Equal(seen.Server) {
			return errOtherServer
		}
		f.apply(next.Events, began)
		if err := f.heed(ctx, next.Events); err != nil {
			return err
		}
		f.set.Confirm(began)
		seen = next
		wait.For(ctx, revocationGap)
		if !wait.Until(ctx, woken, revocationPoll) {
			return ctx.Err()
		}
	}
}

// heed has the others told of what they follow, once: what lies beyond the horizon is read again and again.
func (f *Revocation) heed(ctx context.Context, seen []*eventstore.Recorded) error {
	latest := max(f.reloaded, 0)
	for _, r := range seen {
		if slices.Contains(f.followed, r.Type) {
			latest = max(latest, r.Version)
		}
	}
	if f.reload == nil || latest <= f.reloaded {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, revocationTimeout)
	defer cancel()
	if err := f.reload(ctx); err != nil {
		return err
	}
	f.reloaded = latest
	return nil
}

func (f *Revocation) look(ctx context.Context, read func(context.Context) (eventstore.Sight, error)) (eventstore.Sight, error) {
	ctx, cancel := context.WithTimeout(ctx, revocationTimeout)
	defer cancel()
	return read(ctx)
}

// apply adds cut-offs. They are dated by this node's clock, when they were read: the set drops what looks ancient, and
// the database's clock may be wrong.
func (f *Revocation) apply(seen []*eventstore.Recorded, at time.Time) {
	for _, r := range seen {
		Revoke(f.set, f.store.Vocabulary(), r, at)
	}
}

// Revoke adds what the event cuts off to the set; an event that is not events.Revoking adds nothing. One that does not
// tell, since a newer binary wrote it, cuts off everything of whom it is about: when in doubt, refuse.
func Revoke(set *auth.Revocations, vocabulary *events.Vocabulary, r *eventstore.Recorded, at time.Time) {
	typ, err := vocabulary.Named(r.Type)
	if err != nil {
		return
	}
	cut, revokes := typ.CutOff()
	if !revokes {
		return
	}
	if e, err := r.Event(); err == nil {
		if said := e.(events.Revoking).CutOff(); said.Epoch > 0 {
			cut = said
		}
	}
	switch cut.Of {
	case events.OfUser:
		set.RaiseEpoch(r.Stream.ID, cut.Epoch, at)
	case events.OfSession:
		set.EndSession(r.Stream.ID, at)
	case events.OfAPIKey:
		set.RaiseKey(r.Stream.ID, cut.Epoch, at)
	case events.OfEveryone:
		set.RaiseShared(cut.Epoch, at)
	default:
		panic(fmt.Sprintf("revocation: %s cuts off credentials of no known holder", r.Type))
	}
}
