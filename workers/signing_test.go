package workers_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/workers"
)

// signer is a node that signs and verifies tokens with the keys of the log.
type signer struct {
	*workers.Signing
	tokens *auth.Tokens
}

// sign starts a node that was given these keys.
func sign(t *testing.T, node *logtest.Log, clock func() time.Time, given ...auth.Seed) signer {
	t.Helper()
	s := signer{Signing: workers.NewSigning(commands.NewHandler(node.Store), node.Keys, clock, quiet)}
	if err := s.Adopt(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	keys, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.tokens = auth.NewTokens(keys, "atlas", "atlas", clock)
	set := auth.NewRevocations(clock)
	feed := workers.NewRevocation(node.Store, node.Waker, set, clock, quiet)
	feed.Follow(workers.SigningTypes(), func(ctx context.Context) error {
		keys, err := s.Load(ctx)
		if err == nil {
			s.tokens.Use(keys)
		}
		return err
	})
	background(t, feed.Run)
	background(t, s.Run)
	watchtest.Eventually(t, 30*time.Second, "the node follows the log", func() bool { return set.Fresh(clock()) })
	return s
}

func (s signer) issue(t *testing.T) string {
	t.Helper()
	token, _, err := s.tokens.Issue(auth.Claims{User: ann, Session: newID(), AuthTime: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

func (s signer) accepts(t *testing.T, token string) bool {
	_, err := s.tokens.Verify(t.Context(), token)
	return err == nil
}

// stateOf returns the state of a key, or "" where the log knows none.
func stateOf(t *testing.T, l *logtest.Log, id string) commands.KeyState {
	t.Helper()
	all, err := commands.NewHandler(l.Store).SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if k.ID == id {
			return k.State
		}
	}
	return ""
}

func TestNodesGivenDifferentKeysSignWithOneAndKnowBoth(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	first, second := auth.NewSeed(), auth.NewSeed()
	a := sign(t, l, time.Now, first)
	b := sign(t, l.Node(t), time.Now, second)
	if got := stateOf(t, l, first.ID()) + " " + stateOf(t, l, second.ID()); got != "active announced" {
		t.Errorf("the keys are %s", got)
	}
	if !a.accepts(t, b.issue(t)) || !b.accepts(t, a.issue(t)) {
		t.Error("one node refuses what the other has signed")
	}
}

// TestEveryNodeFollowsARotation goes through a key's life by the nodes' clock, with tokens issued at each stage by one node
// and shown to the other.
func TestEveryNodeFollowsARotation(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	var clock shifted
	old := auth.NewSeed()
	a := sign(t, l, clock.now, old)
	b := sign(t, l.Node(t), clock.now, old)
	before := a.issue(t)
	key, err := b.Rotate(t.Context(), commands.KeyAnnounced)
	if err != nil {
		t.Fatal(err)
	}
	if key.State != commands.Announced || key.SignsFrom.Sub(key.Since) != commands.KeyAnnounced {
		t.Errorf("after the rotation: %+v", key)
	}
	if during := a.issue(t); !b.accepts(t, during) {
		t.Error("a token is refused while a key is announced")
	}

	clock.by.Store(int64(commands.KeyAnnounced + time.Second))
	watchtest.Eventually(t, 30*time.Second, "the new key signs on both nodes", func() bool {
		return a.tokens.Keys().Signs() == key.ID && b.tokens.Keys().Signs() == key.ID
	})
	if after := a.issue(t); !b.accepts(t, after) || !b.accepts(t, before) {
		t.Error("a token of the old or the new key is refused")
	}
	watchtest.Eventually(t, 30*time.Second, "the private part of the old key is destroyed", func() bool {
		_, kept, err := l.Keys.Kept(t.Context(), "signing/"+old.ID())
		return err == nil && !kept
	})

	clock.by.Add(int64(commands.KeyVerifies + time.Second))
	watchtest.Eventually(t, 30*time.Second, "the old key is removed", func() bool { return stateOf(t, l, old.ID()) == commands.Removed })
	late := sign(t, l.Node(t), clock.now, old) // whose settings still name the old key
	if got := late.tokens.Keys().Signs(); got != key.ID || stateOf(t, l, old.ID()) != commands.Removed {
		t.Errorf("a node that is given a removed key signs with %s, want %s", got, key.ID)
	}
}

func TestARetiredKeyIsRefusedEverywhereWithinASecond(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	var clock shifted
	old := auth.NewSeed()
	a := sign(t, l, clock.now, old)
	b := sign(t, l.Node(t), clock.now, old)
	stolen := a.issue(t)
	if err := a.Retire(t.Context(), old.ID()); !errors.Is(err, commands.ErrKeySigns) {
		t.Errorf("retiring the key that signs: %v, want ErrKeySigns", err)
	}
	if _, err := a.Rotate(t.Context(), commands.KeyAnnouncedAtLeast); err != nil {
		t.Fatal(err)
	}
	clock.by.Store(int64(commands.KeyAnnouncedAtLeast + time.Second))
	watchtest.Eventually(t, 30*time.Second, "another key signs", func() bool { return stateOf(t, l, old.ID()) == commands.Retiring })
	if !b.accepts(t, stolen) {
		t.Error("a retiring key's token is refused")
	}
	if err := a.Retire(t.Context(), old.ID()); err != nil {
		t.Fatal(err)
	}
	watchtest.Soon(t, time.Second, "the other node refuses the key", func() bool {
		if err := l.Pool.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		return !b.accepts(t, stolen)
	})
}

// TestALogWithoutItsSecretsGetsAnotherKey: the log was brought here, and the private parts were not.
func TestALogWithoutItsSecretsGetsAnotherKey(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	lost := auth.NewSeed()
	for _, e := range []events.Event{
		events.SigningKeyAnnounced{KeyID: lost.ID(), PublicKey: lost.Public(), AnnouncedAt: time.Now()},
		events.SigningKeyActivated{KeyID: lost.ID(), ActivatedAt: time.Now()},
	} {
		w := eventstore.Write{Stream: eventstore.NewStream("signing", commands.SigningID), Expect: eventstore.AnyVersion, Events: []events.Event{e}}
		if _, err := l.Store.Append(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	s := sign(t, l, time.Now)
	if got := s.tokens.Keys().Signs(); got == lost.ID() || stateOf(t, l, got) != commands.Active {
		t.Errorf("%s signs, want a key that is here", got)
	}
	if !s.accepts(t, s.issue(t)) {
		t.Error("a token is refused by the node that issued it")
	}
}

func TestEveryoneIsSignedOutEverywhere(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	set := guard(t, l.Node(t), time.Now)
	claims := signIn(t, l, ann, 1)
	wantAccepted(t, set, claims)
	write(t, l, commands.Signing.On(commands.SigningID, commands.SignOutEveryone{}))
	wantRevokedWithinASecond(t, l, set, claims)
	claims.Shared++
	wantAccepted(t, set, claims)
}
