package auth

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

// told is a log that says this, and counts how often it was asked.
type told struct {
	epoch, shared int64
	err           error
	asked         int
}

func (t *told) Epochs(_ context.Context, user, session uuid.UUID) (epoch, shared int64, err error) {
	t.asked++
	if user != annID || session != sessionID {
		return 0, 0, fault.ErrNotFound
	}
	return t.epoch, t.shared, t.err
}

func TestValidTokenNamesItsHolder(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t, newKeys(t))
	revocations, _ := newRevocations()
	truth := &told{err: errors.New("the database is away")}
	authenticator := NewAuthenticator(tokens, revocations, truth)
	token := issue(t, tokens)

	got, err := authenticator.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	want := Principal{
		User: annID, Session: sessionID, Roles: []string{"user", "admin"}, Epoch: 3, Shared: 2, AuthTime: noon.Add(-time.Hour),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	revocations.EndSession(sessionID, noon)
	if got, err := authenticator.Authenticate(t.Context(), token); !errors.Is(err, ErrTokenRevoked) || !cmp.Equal(got, Principal{}) {
		t.Errorf("after the session ended: %+v, %v; want nobody, ErrTokenRevoked", got, err)
	}
	if _, err := authenticator.Authenticate(t.Context(), ""); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("no token: %v, want ErrTokenInvalid", err)
	}
	if truth.asked != 0 {
		t.Errorf("the log was asked %d times by a node that follows it", truth.asked)
	}
}

// TestNodeThatDoesNotFollowTheLogAsksItOrRefuses: the feed is silent, and what counts is the log itself.
func TestNodeThatDoesNotFollowTheLogAsksItOrRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		truth told
		want  error
	}{
		"the session stands":          {told{epoch: 3, shared: 2}, nil},
		"the user's epoch was raised": {told{epoch: 4, shared: 2}, ErrTokenRevoked},
		"everybody's epoch was":       {told{epoch: 3, shared: 3}, ErrTokenRevoked},
		"the session has ended":       {told{err: fault.ErrNotFound}, ErrTokenRevoked},
		"the database is away":        {told{err: errors.New("connection refused")}, ErrRevocationsUnknown},
		"the database is unavailable": {told{err: fault.ErrUnavailable}, ErrRevocationsUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens, _ := newTokens(t, newKeys(t))
			revocations, clock := newRevocations()
			authenticator := NewAuthenticator(tokens, revocations, &c.truth)
			token := issue(t, tokens)
			clock.now = noon.Add(freshFor + time.Millisecond)
			p, err := authenticator.Authenticate(t.Context(), token)
			if !errors.Is(err, c.want) || (p.User == annID) != (c.want == nil) || c.truth.asked != 1 {
				t.Errorf("got %+v, %v, asked %d times; want %v, asked once", p, err, c.truth.asked, c.want)
			}
		})
	}
}

func TestWhatIsRevokedInMemoryIsRefusedThoughTheFeedIsSilent(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t, newKeys(t))
	revocations, clock := newRevocations()
	revocations.EndSession(sessionID, noon)
	token := issue(t, tokens)
	clock.now = noon.Add(freshFor + time.Millisecond)
	if _, err := NewAuthenticator(tokens, revocations, &told{epoch: 3, shared: 2}).Authenticate(t.Context(), token); !errors.Is(err, ErrTokenRevoked) {
		t.Errorf("got %v, want ErrTokenRevoked", err)
	}
}

func TestDangerousThingsNeedARecentSignInAndAStandingSession(t *testing.T) {
	t.Parallel()
	signedIn := func(ago time.Duration) Principal {
		return Principal{User: annID, Session: sessionID, Epoch: 3, Shared: 2, AuthTime: noon.Add(-ago)}
	}
	stands := told{epoch: 3, shared: 2}
	for name, c := range map[string]struct {
		who   Principal
		truth told
		want  error
	}{
		"just now":                   {signedIn(0), stands, nil},
		"ten minutes ago":            {signedIn(RecentSignIn), stands, nil},
		"longer ago":                 {signedIn(RecentSignIn + time.Second), stands, ErrStepUpRequired},
		"just now, but ended since":  {signedIn(0), told{err: fault.ErrNotFound}, ErrTokenRevoked},
		"just now, but of old":       {signedIn(0), told{epoch: 4, shared: 2}, ErrTokenRevoked},
		"longer ago, and ended":      {signedIn(time.Hour), told{err: fault.ErrNotFound}, ErrTokenRevoked},
		"just now, nobody can tell":  {signedIn(0), told{err: fault.ErrUnavailable}, ErrRevocationsUnknown},
		"an API key has no sign-in":  {Principal{User: annID, AuthTime: noon}, stands, ErrStepUpRequired},
		"another's session is no go": {Principal{User: uuid.New(), Session: sessionID, AuthTime: noon}, stands, ErrTokenRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens, _ := newTokens(t, newKeys(t))
			revocations, _ := newRevocations()
			if err := NewAuthenticator(tokens, revocations, &c.truth).StepUp(t.Context(), c.who); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
