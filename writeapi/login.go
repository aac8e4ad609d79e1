package writeapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// errTooManyAttempts makes who tries passwords wait. It says nothing about whether there is an account to try them on.
var errTooManyAttempts = fault.New(fault.TooMany, "too_many_attempts", "too many failed sign-ins with this address; wait as long as Retry-After says")

// Subjects holds the keys of personal data.
type Subjects interface {
	// Renew reads a subject's key anew, whether it is in memory or does not exist.
	Renew(ctx context.Context, subject uuid.UUID) error
}

// Failures counts sign-ins that failed.
type Failures interface {
	Record(ctx context.Context, address uuid.UUID) error
}

// Delay makes tries wait after failures.
type Delay interface {
	Begin(ctx context.Context, key string) (wait time.Duration)
	Failed(ctx context.Context, key string)
	Succeeded(ctx context.Context, key string)
}

// Devices tells devices from which somebody signed in before.
type Devices interface {
	Mint(account uuid.UUID, now time.Time) string
	Known(cookie string, account uuid.UUID, now time.Time) (device uuid.UUID, known bool)
}

// deviceCookie holds what a device is known by.
const deviceCookie = "atlas_device"

// attempt is one try to sign in.
type attempt struct {
	address  uuid.UUID // a keyed hash of what was typed
	tries    string    // what failures are counted by: the address, or a device that is known there
	known    bool      // from such a device
	password auth.Secret
}

// authenticate returns the account of an address and its password. It fails alike, and after the same work, for an
// address that is none, that has no account or one that is not verified, whose account is disabled, and for a wrong
// password: the same hashes, the same statements, the same answer. Tests count them.
func (s *Server) authenticate(ctx context.Context, address string, password auth.Secret) (commands.Account, error) {
	a := s.attempt(ctx, address, password)
	if wait := s.Delay.Begin(ctx, a.tries); wait > 0 {
		return commands.Account{}, errTooManyAttempts.RetryAfter(wait)
	}
	account, err := s.accountOf(ctx, a.address)
	if err != nil {
		return account, err
	}
	ok, rehash, err := s.check(ctx, account, password)
	if err != nil {
		return account, err
	}
	if !ok || account.Disabled {
		s.Delay.Failed(ctx, a.tries)
		if err := s.Failures.Record(ctx, a.address); err != nil {
			return account, err
		}
		return account, auth.ErrInvalidCredentials
	}
	s.welcome(ctx, a)
	if rehash {
		s.rehash(ctx, account, password)
	}
	return account, nil
}

// attempt finds out what the try is counted by. An address that is none is a key like any other.
func (s *Server) attempt(ctx context.Context, address string, password auth.Secret) attempt {
	email, err := auth.NormalizeEmail(address)
	if err != nil {
		email = "not an address: " + strings.ToLower(address)
	}
	a := attempt{address: auth.EmailKey(s.EmailKey, email), password: password}
	a.tries = "address/" + a.address.String()
	if device, known := s.Devices.Known(httpapi.Cookie(ctx, deviceCookie), a.address, s.Clock()); known {
		a.tries, a.known = "device/"+device.String(), true
	}
	return a
}

// accountOf reads the account that an address belongs to, or nobody's, in three statements. The key of what is sealed in
// it is read even if it is in memory or there is no account: otherwise who was here lately could be told by time.
func (s *Server) accountOf(ctx context.Context, address uuid.UUID) (commands.Account, error) {
	holder, err := s.Accounts.Holder(ctx, address)
	if err != nil {
		return commands.Account{}, err
	}
	subject := holder
	if subject == uuid.Nil {
		subject = address
	}
	if err := s.Subjects.Renew(ctx, subject); err != nil {
		return commands.Account{}, err
	}
	account, err := s.Accounts.Account(ctx, holder)
	if _, f, is := fault.Of(err); is && f == commands.ErrNotFound {
		return commands.Account{}, nil
	}
	return account, err
}

// check holds the password against the account's, or against nobody's, which takes as long.
func (s *Server) check(ctx context.Context, account commands.Account, password auth.Secret) (ok, rehash bool, err error) {
	if account.PasswordHash == "" {
		return false, false, s.Passwords.VerifyNobody(ctx, password)
	}
	return s.Passwords.Verify(ctx, account.PasswordHash, password)
}

// welcome forgets failures of who got in, and lets their device be known.
func (s *Server) welcome(ctx context.Context, a attempt) {
	s.Delay.Succeeded(ctx, a.tries)
	if a.known {
		return
	}
	httpapi.SetCookie(ctx, &http.Cookie{
		Name: deviceCookie, Value: s.Devices.Mint(a.address, s.Clock()), Path: "/v1/auth", MaxAge: int(auth.DeviceLifetime.Seconds()),
		HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteStrictMode,
	})
}

// rehash stores a password at today's cost, if that can be done now: the next sign-in will try again.
func (s *Server) rehash(ctx context.Context, account commands.Account, password auth.Secret) {
	hash, err := s.Passwords.Hash(ctx, password)
	if err != nil {
		return
	}
	ctx = commandContext(auth.WithPrincipal(ctx, auth.Principal{User: account.ID}))
	_, _ = s.Commands.Handle(ctx, commands.User.On(account.ID, commands.RehashPassword{ID: account.ID, Old: account.PasswordHash, New: hash}))
}
