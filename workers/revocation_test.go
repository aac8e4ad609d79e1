package workers_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/workers"
)

// shifted is this machine's clock, set wrong.
type shifted struct{ by atomic.Int64 }

func (c *shifted) now() time.Time { return time.Now().Add(time.Duration(c.by.Load())) }

// guard follows revocations on a node, and returns its set once that is loaded.
func guard(t *testing.T, node *logtest.Log, clock func() time.Time) *auth.Revocations {
	t.Helper()
	set := auth.NewRevocations(clock)
	background(t, workers.NewRevocation(node.Store, node.Waker, set, clock, quiet).Run)
	watchtest.Eventually(t, 30*time.Second, "the revocations are loaded", func() bool { return set.Fresh(clock()) })
	return set
}

// signIn starts a session and returns what its access token claims.
func signIn(t *testing.T, l *logtest.Log, user uuid.UUID, epoch int64) auth.Claims {
	t.Helper()
	session := newID()
	write(t, l, commands.Session.On(session, commands.StartSession{User: user, At: time.Now()}))
	return auth.Claims{User: user, Session: session, Epoch: epoch}
}

func signOut(t *testing.T, l *logtest.Log, c auth.Claims) {
	t.Helper()
	write(t, l, commands.Session.On(c.Session, commands.EndSession{By: c.User, Reason: "logout"}))
}

func wantAccepted(t *testing.T, set *auth.Revocations, c auth.Claims) {
	t.Helper()
	if err := set.Check(c.Credential()); err != nil {
		t.Errorf("a good token is refused: %v", err)
	}
}

func wantRevoked(t *testing.T, set *auth.Revocations, c auth.Claims) {
	t.Helper()
	if err := set.Check(c.Credential()); !errors.Is(err, auth.ErrTokenRevoked) {
		t.Errorf("a revoked token: %v, want ErrTokenRevoked", err)
	}
}

// wantRevokedWithinASecond holds that the set learns from the log soon that the token is revoked.
func wantRevokedWithinASecond(t *testing.T, l *logtest.Log, set *auth.Revocations, c auth.Claims) {
	t.Helper()
	watchtest.Soon(t, time.Second, "the token is refused", func() bool {
		if err := l.Pool.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		return errors.Is(set.Check(c.Credential()), auth.ErrTokenRevoked)
	})
}

func TestASessionEndedOnOneNodeIsRefusedByTheOtherWithinASecond(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	set := guard(t, l.Node(t), time.Now)
	ended, other := signIn(t, l, ann, 1), signIn(t, l, ann, 1)
	wantAccepted(t, set, ended)
	signOut(t, l, ended)
	wantRevokedWithinASecond(t, l, set, ended)
	wantAccepted(t, set, other)
}

func TestADisabledUsersTokensAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	set := guard(t, l.Node(t), time.Now)
	id := register(t, l, "bob@example.com")
	account, err := commands.NewHandler(l.Store).Account(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	claims := signIn(t, l, id, account.Epoch)
	wantAccepted(t, set, claims)
	write(t, l, commands.User.On(id, commands.DisableUser{ID: id, By: commands.Actor{User: id}}))
	wantRevokedWithinASecond(t, l, set, claims)
	claims.Epoch++
	wantAccepted(t, set, claims)
	wantAccepted(t, set, signIn(t, l, ann, 1))
}

// TestAnOpenAppendDelaysNoRevocationButItsOwn holds the horizon back by an open append that ends one session, and ends
// another one behind it.
func TestAnOpenAppendDelaysNoRevocationButItsOwn(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	set := guard(t, l.Node(t), time.Now)
	slow, fast := signIn(t, l, ann, 1), signIn(t, l, ann, 1)
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := l.Store.AppendTx(t.Context(), tx, eventstore.Write{
		Stream: eventstore.NewStream("session", slow.Session), Expect: 1,
		Events: []events.Event{events.SessionEnded{UserID: ann, Reason: "logout"}},
	}); err != nil {
		t.Fatal(err)
	}
	signOut(t, l, fast)
	wantRevokedWithinASecond(t, l, set, fast)
	wantAccepted(t, set, slow)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRevokedWithinASecond(t, l, set, slow) // though nobody was woken
}

func TestANodeThatStartsKnowsWhatWasRevokedBefore(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	claims := signIn(t, l, ann, 1)
	signOut(t, l, claims)
	wantRevoked(t, guard(t, l, time.Now), claims)
}

// TestAWrongClockLosesNoRevocation runs nodes whose clocks are hours ahead of and behind the database's.
func TestAWrongClockLosesNoRevocation(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		l := logtest.New(t)
		var clock shifted
		clock.by.Store(int64(by))
		before := signIn(t, l, ann, 1)
		signOut(t, l, before)
		set := guard(t, l, clock.now)
		wantRevoked(t, set, before)
		after := signIn(t, l, ann, 1)
		signOut(t, l, after)
		wantRevokedWithinASecond(t, l, set, after)
	}
}

// TestAUserDisabledInAnUnknownWayIsShutOut stores an event that does not tell the epoch, as another version might.
func TestAUserDisabledInAnUnknownWayIsShutOut(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	set := guard(t, l, time.Now)
	claims := signIn(t, l, ann, 7)
	if _, err := l.Store.Append(t.Context(), eventstore.Write{
		Stream: eventstore.NewStream("user", ann), Events: []events.Event{events.UserDisabled{UserID: ann}},
	}); err != nil {
		t.Fatal(err)
	}
	wantRevokedWithinASecond(t, l, set, claims)
}

// TestALostServerFailsClosedAndIsReadAnewWhenItIsBack kills the server, lets five seconds pass by the node's clock, and
// starts the server again.
func TestALostServerFailsClosedAndIsReadAnewWhenItIsBack(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	l := onServer(t, server.URL())
	var clock shifted
	set := guard(t, l, clock.now)
	good, revoked := signIn(t, l, ann, 1), signIn(t, l, ann, 1)
	signOut(t, l, revoked)
	wantRevokedWithinASecond(t, l, set, revoked)
	wantAccepted(t, set, good)

	server.Kill()
	clock.by.Store(int64(6 * time.Second))
	if err := set.Check(good.Credential()); !errors.Is(err, auth.ErrRevocationsUnknown) {
		t.Errorf("without the log for 6 s: %v, want ErrRevocationsUnknown", err)
	}
	server.Restart()
	watchtest.Eventually(t, 30*time.Second, "the revocations are loaded again", func() bool { return set.Check(good.Credential()) == nil })
	wantRevoked(t, set, revoked)
	signOut(t, l, good)
	wantRevokedWithinASecond(t, l, set, good)
}

// onServer is a log on a server of its own, without a running tail or waker.
func onServer(t *testing.T, url string) *logtest.Log {
	t.Helper()
	ctx := t.Context()
	if err := postgres.Migrate(ctx, url, eventstore.Migrations(), sealing.Migrations()); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	master, err := sealing.ParseMaster(sealing.GenerateMaster())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sealing.New(ctx, pool, master)
	if err != nil {
		t.Fatal(err)
	}
	store := eventstore.New(pool, logtest.Vocabulary(t), keys)
	return &logtest.Log{URL: url, Pool: pool, Keys: keys, Store: store, Waker: eventstore.NewWaker(store, quiet)}
}
