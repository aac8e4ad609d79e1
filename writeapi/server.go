package writeapi

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// Commands carries out commands.
type Commands interface {
	Handle(ctx context.Context, steps ...commands.Step) (eventstore.Outcome, error)
	HandleAt(ctx context.Context, version int64, step commands.Step) (eventstore.Outcome, error)
}

// Accounts tells what signing in needs to know, from the log itself.
type Accounts interface {
	Account(ctx context.Context, id uuid.UUID) (commands.Account, error)
	Holder(ctx context.Context, emailID uuid.UUID) (uuid.UUID, error)
	ActiveSession(ctx context.Context, id uuid.UUID) (commands.SignIn, error)
	SharedEpoch(ctx context.Context) (int64, error)
}

// Passwords hashes and checks passwords.
type Passwords interface {
	Hash(ctx context.Context, password auth.Secret) (string, error)
	Verify(ctx context.Context, stored string, password auth.Secret) (ok, rehash bool, err error)
	VerifyNobody(ctx context.Context, password auth.Secret) error // nil: it did the work, and nobody is let in
}

// AccessTokens issues access tokens.
type AccessTokens interface {
	Issue(auth.Claims) (auth.Secret, time.Duration, error)
}

// RefreshTokens makes refresh tokens and reads them.
type RefreshTokens interface {
	Mint(session uuid.UUID, counter uint64) auth.Secret
	Parse(token auth.Secret) (session uuid.UUID, counter uint64, err error)
}

// RefreshCounters exchanges refresh tokens for the next.
type RefreshCounters interface {
	Rotate(ctx context.Context, session uuid.UUID, counter uint64) (auth.Rotation, error)
}

// Server holds the command endpoints. All fields must be set.
type Server struct {
	Commands  Commands
	Accounts  Accounts
	Passwords Passwords
	Access    AccessTokens
	Refresh   RefreshTokens
	Counters  RefreshCounters
	Subjects  Subjects
	Delay     Delay
	Failures  Failures
	Devices   Devices
	Verify    Verifications

	Subscriptions *subscription.Log

	Verified bool   // new accounts need not verify their address: in development mode
	Origin   string // of the pages that may use the cookie, as Origin returns it; "" for none
	Secure   bool   // callers come by https
	EmailKey []byte // keys the hash under which an address is reserved; never changes
	Clock    func() time.Time
}

// Routes registers every command endpoint. A new aggregate adds its line here.
func (s *Server) Routes(api *httpapi.API) {
	s.users(api)
	s.sessions(api)
	s.verifications(api)
	s.apiKeys(api)
	s.userAdministration(api)
	s.passwords(api)
	s.documents(api)
	s.subscriptions(api)
}

// commandContext gives the context what the command's events will say of their origin, and, where the request carried
// an Idempotency-Key, the id under which the command is carried out once.
func commandContext(ctx context.Context) context.Context {
	client := httpapi.ClientFrom(ctx)
	p, _ := auth.PrincipalFrom(ctx)
	user := p.ID()
	ctx = eventstore.WithMetadata(ctx, eventstore.Metadata{
		Actor:         user,
		CorrelationID: newID(),
		Traceparent:   httpapi.Traceparent(ctx),
		RequestID:     httpapi.RequestID(ctx),
		Client:        eventstore.Client{Address: client.Address, UserAgent: client.UserAgent},
	})
	if i, given := httpapi.IdempotencyFrom(ctx); given {
		ctx = eventstore.WithCommand(ctx, commandID(user, i.Key), i.Fingerprint[:])
	}
	return ctx
}

// commandID is a UUIDv8 made of the caller and the key, so that one caller's keys are no other's.
func commandID(user uuid.UUID, key string) uuid.UUID {
	sum := sha256.Sum256(append(append([]byte("atlas command id\x00"), user[:]...), key...))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// actor returns who gives a command.
func actor(ctx context.Context) commands.Actor {
	p, _ := auth.PrincipalFrom(ctx)
	return commands.Actor{User: p.User, Admin: p.Admin()}
}

// newID returns a UUIDv7, so that ids made later sort later.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
