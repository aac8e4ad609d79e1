package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/wait"
)

const (
	signingTick  = time.Second // between looks at what is due
	keyWait      = 30 * time.Second
	secretPrefix = "signing/" // before a key's id: what its private part is kept under
)

// SigningTypes lists the stored names of the events that tell which keys sign.
func SigningTypes() []string {
	return []string{
		"signing.key_announced", "signing.key_scheduled", "signing.key_activated", "signing.key_retired", "signing.key_removed",
	}
}

// errNoPrivateKey says that a key is to sign whose private part is not in this database.
var errNoPrivateKey = errors.New("the private part of the key that signs is not in this database")

// Keeper keeps secrets, wrapped by a key that is not beside them. sealing.Keys is one.
type Keeper interface {
	Keep(ctx context.Context, name string, secret []byte) error
	Kept(ctx context.Context, name string) (secret []byte, kept bool, err error)
	Drop(ctx context.Context, name string) error
}

// Keyring is what the log says of keys, and where commands about them are given.
type Keyring interface {
	Handle(ctx context.Context, steps ...commands.Step) (eventstore.Outcome, error)
	SigningKeys(ctx context.Context) ([]commands.SigningKey, error)
}

// Signing keeps the keys of one node in step with the log, and gives the commands that are due. Which keys there are and
// in which state, the log says; their private parts are kept beside it, wrapped by the master key, so that every node can
// sign with whichever key is to sign. It is safe for concurrent use.
type Signing struct {
	keyring Keyring
	keeper  Keeper
	clock   func() time.Time
	log     *slog.Logger

	mu    sync.Mutex
	known []commands.SigningKey // as Load last read them
}

// NewSigning returns the keys of a node.
func NewSigning(keyring Keyring, keeper Keeper, clock func() time.Time, log *slog.Logger) *Signing {
	return &Signing{keyring: keyring, keeper: keeper, clock: clock, log: log}
}

// Adopt brings in the keys that a node was given, and returns when some key signs. Each is announced unless it is known.
// The first is scheduled to sign, unless it has signed before: then another one was put in its place by Rotate.
func (s *Signing) Adopt(ctx context.Context, given []auth.Seed) error {
	known, err := s.keyring.SigningKeys(ctx)
	if err != nil {
		return err
	}
	for i, seed := range given {
		switch state := stateOf(known, seed.ID()); {
		case state != "" && state != commands.Announced && state != commands.Active:
		case i == 0 && state != commands.Active:
			err = s.bring(ctx, seed, commands.KeyAnnounced)
		default:
			err = s.announce(ctx, seed)
		}
		if err != nil {
			return fmt.Errorf("adopt signing key %s: %w", seed.ID(), err)
		}
	}
	return s.ensure(ctx)
}

// ensure makes a key where none signs, or where the one that does is not ours: the log was brought here without the
// secrets beside it, or nothing was given. The new one signs at once, or as soon as it may.
func (s *Signing) ensure(ctx context.Context) error {
	_, err := s.Load(ctx)
	if !errors.Is(err, errNoPrivateKey) {
		return err
	}
	if len(s.known) > 0 {
		s.log.Warn("signing key is not here, another one takes its place")
	}
	if err := s.bring(ctx, auth.NewSeed(), commands.KeyAnnouncedAtLeast); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	for {
		if err := s.Advance(ctx); err != nil {
			return err
		}
		if _, err = s.Load(ctx); !errors.Is(err, errNoPrivateKey) || ctx.Err() != nil {
			return err
		}
		wait.For(ctx, signingTick)
	}
}

// Rotate makes a key that takes the place of the one that signs when it was announced for so long, and returns it.
func (s *Signing) Rotate(ctx context.Context, announced time.Duration) (key commands.SigningKey, err error) {
	seed := auth.NewSeed()
	if err := s.bring(ctx, seed, announced); err != nil {
		return key, fmt.Errorf("rotate signing key: %w", err)
	}
	known, err := s.keyring.SigningKeys(ctx)
	if err != nil {
		return key, err
	}
	return known[slices.IndexFunc(known, func(k commands.SigningKey) bool { return k.ID == seed.ID() })], nil
}

// Retire makes everything worthless that a key has signed. The one that signs is commands.ErrKeySigns.
func (s *Signing) Retire(ctx context.Context, id string) error {
	if _, err := s.keyring.Handle(ctx, commands.Signing.On(commands.SigningID, commands.RetireKey{ID: id, At: s.clock()})); err != nil {
		return err
	}
	return s.dropPrivate(ctx)
}

// bring announces a key and schedules it.
func (s *Signing) bring(ctx context.Context, seed auth.Seed, announced time.Duration) error {
	if err := s.announce(ctx, seed); err != nil {
		return err
	}
	schedule := commands.ScheduleKey{ID: seed.ID(), Announced: announced, At: s.clock()}
	_, err := s.keyring.Handle(ctx, commands.Signing.On(commands.SigningID, schedule))
	return err
}

// announce keeps a key's private part and then announces it, so that none is announced that nobody can sign with.
func (s *Signing) announce(ctx context.Context, seed auth.Seed) error {
	if err := s.keeper.Keep(ctx, secretPrefix+seed.ID(), seed.Reveal()); err != nil {
		return err
	}
	announce := commands.AnnounceKey{ID: seed.ID(), Public: seed.Public(), At: s.clock()}
	_, err := s.keyring.Handle(ctx, commands.Signing.On(commands.SigningID, announce))
	return err
}

// Load returns the keys as the log tells them now.
func (s *Signing) Load(ctx context.Context) (*auth.Keys, error) {
	known, err := s.keyring.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.known = known
	s.mu.Unlock()
	var public []string
	active := ""
	for _, k := range known {
		switch k.State {
		case commands.Active:
			active = k.ID
		case commands.Announced, commands.Retiring:
			public = append(public, k.Public)
		}
	}
	private, kept, err := s.keeper.Kept(ctx, secretPrefix+active)
	if err != nil {
		return nil, err
	}
	if !kept {
		return nil, fmt.Errorf("%w: %q", errNoPrivateKey, active)
	}
	seed, err := auth.SeedFrom(private)
	if err != nil {
		return nil, err
	}
	return auth.NewKeys(seed, public...)
}

// Run does what is due until ctx ends: an announced key begins to sign, a retired one is removed. Every node does; one of
// them is first, and the others find it done.
func (s *Signing) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait.For(ctx, signingTick)
		if !s.due() {
			continue
		}
		if err := s.Advance(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("signing keys not advanced", "error", err)
		}
	}
	return nil
}

// due says whether something is to be done, by what was last loaded.
func (s *Signing) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	return slices.ContainsFunc(s.known, func(k commands.SigningKey) bool { return k.Due(now) })
}

// Advance does what is due.
func (s *Signing) Advance(ctx context.Context) error {
	if _, err := s.keyring.Handle(ctx, commands.Signing.On(commands.SigningID, commands.AdvanceKeys{At: s.clock()})); err != nil {
		return err
	}
	return s.dropPrivate(ctx)
}

// dropPrivate destroys the private parts of keys that sign no more.
func (s *Signing) dropPrivate(ctx context.Context) error {
	known, err := s.keyring.SigningKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range known {
		if k.State == commands.Retiring || k.State == commands.Removed {
			if err := s.keeper.Drop(ctx, secretPrefix+k.ID); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = known
	return nil
}

// stateOf returns the state of the key with the id, or "" where it is not known.
func stateOf(known []commands.SigningKey, id string) commands.KeyState {
	for _, k := range known {
		if k.ID == id {
			return k.State
		}
	}
	return ""
}
