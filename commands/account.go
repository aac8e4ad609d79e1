package commands

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Account is what signing in and writing to a user need to know, read from the log and so never behind it.
type Account struct {
	ID           uuid.UUID
	Email        string
	Name         string
	PasswordHash string
	VerifyBy     time.Time // until when the address is to be verified; zero once it is
	Roles        []string
	Epoch        int64 // credential epoch, from 1; tokens of earlier ones are refused
	SessionEpoch int64 // sessions of earlier credential epochs have ended
	Disabled     bool
}

// Account returns a user's account; ErrNotFound if there is none.
func (h *Handler) Account(ctx context.Context, id uuid.UUID) (Account, error) {
	u, _, err := User.load(ctx, h.log, id)
	if err != nil {
		return Account{}, err
	}
	if !u.exists {
		return Account{}, ErrNotFound
	}
	return Account{
		ID: id, Email: u.email, Name: u.name, PasswordHash: u.passwordHash, VerifyBy: u.verifyBy,
		Roles: slices.Clone(u.roles), Epoch: u.epoch, SessionEpoch: u.sessionEpoch, Disabled: u.disabled,
	}, nil
}

// Holder returns whom an address belongs to; the nil UUID if it is nobody's.
func (h *Handler) Holder(ctx context.Context, emailID uuid.UUID) (uuid.UUID, error) {
	e, _, err := Email.load(ctx, h.log, emailID)
	return e.holder, err
}

// AccountByEmail returns the account that an address belongs to; ErrNotFound if it belongs to nobody.
func (h *Handler) AccountByEmail(ctx context.Context, emailID uuid.UUID) (Account, error) {
	holder, err := h.Holder(ctx, emailID)
	if err != nil {
		return Account{}, err
	}
	return h.Account(ctx, holder)
}

// SignIn is a session that has not ended.
type SignIn struct {
	User        uuid.UUID
	StartedAt   time.Time
	ConfirmedAt time.Time // when the user last proved who they are: at the start or since
	Epoch       int64     // the user's credential epoch at that time
	Shared      int64     // the epoch of everybody's at the start
}

// Stands says whether the session of a user may go on: neither the user was disabled or signed out since, nor everybody.
func (s SignIn) Stands(a Account, shared int64) bool {
	return s.User == a.ID && !a.Disabled && s.Epoch >= a.SessionEpoch && s.Shared >= shared
}

// ActiveSession returns a session that has not ended; ErrNotFound otherwise.
func (h *Handler) ActiveSession(ctx context.Context, id uuid.UUID) (SignIn, error) {
	s, _, err := Session.load(ctx, h.log, id)
	if err != nil {
		return SignIn{}, err
	}
	if s.user == uuid.Nil || s.ended {
		return SignIn{}, ErrNotFound
	}
	return SignIn{User: s.user, StartedAt: s.started, ConfirmedAt: s.confirmed, Epoch: s.epoch, Shared: s.shared}, nil
}

// Epochs returns the epochs that the tokens of a user's session must not be below, read from the log and so never behind
// it. It is ErrNotFound where the session has ended or is another user's, and where the user is disabled or gone.
func (h *Handler) Epochs(ctx context.Context, user, session uuid.UUID) (epoch, shared int64, err error) {
	signIn, err := h.ActiveSession(ctx, session)
	if err != nil {
		return 0, 0, err
	}
	account, err := h.Account(ctx, user)
	if err != nil {
		return 0, 0, err
	}
	shared, err = h.SharedEpoch(ctx)
	if err != nil {
		return 0, 0, err
	}
	if !signIn.Stands(account, shared) {
		return 0, 0, ErrNotFound
	}
	return account.Epoch, shared, nil
}
