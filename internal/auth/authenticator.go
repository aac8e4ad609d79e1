package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

const (
	// RecentSignIn is how long after signing in a user may do what is dangerous.
	RecentSignIn = 10 * time.Minute

	// truthTimeout bounds one look at the log itself, so that a database that does not answer makes nobody wait for long.
	truthTimeout = 2 * time.Second
)

// ErrStepUpRequired refuses what is dangerous to a session whose user has not proved lately who they are (RFC 9470).
var ErrStepUpRequired = fault.New(fault.Unauthenticated, "step_up_required", "this needs a sign-in of the last 10 minutes; confirm your password, or sign in again, and repeat it")

// Truth is the log itself, for when what this node remembers of it is too old or not enough.
type Truth interface {
	// Epochs returns the epochs that the tokens of a user's session must not be below. It is a fault of kind NotFound
	// where the session has ended or is not the user's, and where the user is disabled or gone.
	Epochs(ctx context.Context, user, session uuid.UUID) (epoch, shared int64, err error)
}

// Authenticator turns an access token into who holds it. As long as this node follows the log it asks no database.
type Authenticator struct {
	tokens      *Tokens
	revocations *Revocations
	truth       Truth
}

// NewAuthenticator returns an authenticator that accepts what tokens verifies and revocations does not refuse. While
// revocations cannot tell, truth does.
func NewAuthenticator(tokens *Tokens, revocations *Revocations, truth Truth) *Authenticator {
	return &Authenticator{tokens: tokens, revocations: revocations, truth: truth}
}

// Authenticate returns the principal of a valid access token. Otherwise it is ErrTokenInvalid, ErrTokenExpired or
// ErrTokenRevoked, or ErrRevocationsUnknown while neither this node nor the database can tell: it never accepts in doubt.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (Principal, error) {
	claims, err := a.tokens.Verify(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	err = a.revocations.Check(claims.Credential())
	if errors.Is(err, ErrRevocationsUnknown) {
		err = a.ask(ctx, claims.Credential())
	}
	if err != nil {
		return Principal{}, err
	}
	return Principal{
		User: claims.User, Session: claims.Session, Roles: claims.Roles,
		Epoch: claims.Epoch, Shared: claims.Shared, AuthTime: claims.AuthTime,
	}, nil
}

// StepUp lets a principal do what is dangerous: the log itself says that the session has not ended, and the user proved
// within RecentSignIn who they are. Otherwise it is ErrTokenRevoked, ErrStepUpRequired or ErrRevocationsUnknown. A
// principal without a session, an API key's, is ErrStepUpRequired: no key has just signed in.
func (a *Authenticator) StepUp(ctx context.Context, p Principal) error {
	if p.Session == uuid.Nil {
		return ErrStepUpRequired
	}
	if err := a.ask(ctx, Credential{User: p.User, Session: p.Session, Epoch: p.Epoch, Shared: p.Shared}); err != nil {
		return err
	}
	if a.tokens.clock().Sub(p.AuthTime) > RecentSignIn {
		return ErrStepUpRequired
	}
	return nil
}

// ask holds a session's credential against the log itself.
func (a *Authenticator) ask(ctx context.Context, c Credential) error {
	ctx, cancel := context.WithTimeout(ctx, truthTimeout)
	defer cancel()
	epoch, shared, err := a.truth.Epochs(ctx, c.User, c.Session)
	switch _, f, ok := fault.Of(err); {
	case err == nil && (c.Epoch < epoch || c.Shared < shared):
		return ErrTokenRevoked
	case err == nil:
		return nil
	case ok && f.Kind() == fault.NotFound:
		return ErrTokenRevoked
	default:
		return fmt.Errorf("%w (%w)", ErrRevocationsUnknown.RetryAfter(time.Second), err)
	}
}
