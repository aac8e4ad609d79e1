package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

const usersTable = `
	CREATE TABLE {table} (
		id         uuid        PRIMARY KEY,
		email      text        NOT NULL,
		name       text        NOT NULL,
		roles      text[]      NOT NULL,
		status     text        NOT NULL,
		session_epoch bigint   NOT NULL,
		version    bigint      NOT NULL,
		created_at timestamptz NOT NULL,
		updated_at timestamptz NOT NULL
	);`

// UserRow is a user as the APIs show it.
type UserRow struct {
	ID           uuid.UUID `json:"id" row:"key,subject"`
	Email        string    `json:"email"`
	Name         string    `json:"name"`
	Roles        []string  `json:"roles"`
	Status       string    `json:"status"`        // "pending" until the address is verified, then "active" or "disabled"
	SessionEpoch int64     `json:"session_epoch"` // sessions of earlier credential epochs have ended
	Version      int64     `json:"version"`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

// Users keeps one row per user.
var Users = engine.Define[UserRow]("users", 4, usersTable,
	engine.Create(func(u *UserRow, e engine.Recorded[events.UserRegistered]) {
		u.Email, u.Name, u.Roles, u.Status, u.CreatedAt = e.Event.Email, e.Event.Name, list(e.Event.Roles), "active", e.At
		u.SessionEpoch = 1
	}),
	engine.Change(func(u *UserRow, e engine.Recorded[events.UserVerificationRequested]) { u.Status = "pending" }),
	engine.Change(func(u *UserRow, e engine.Recorded[events.UserVerified]) { u.Status = "active" }),
	engine.Change(func(u *UserRow, e engine.Recorded[events.UserNameChanged]) { u.Name = e.Event.Name }),
	engine.Change(func(u *UserRow, e engine.Recorded[events.UserRoleChanged]) { u.Roles = list(e.Event.Roles) }),
	engine.Change(func(u *UserRow, e engine.Recorded[events.UserDisabled]) {
		u.Status, u.SessionEpoch = "disabled", e.Event.Epoch
	}),
	engine.Change(func(u *UserRow, e engine.Recorded[events.UserSignedOut]) { u.SessionEpoch = e.Event.Epoch }),
	engine.Change(func(u *UserRow, e engine.Recorded[events.UserPasswordChanged]) { u.SessionEpoch = e.Event.Epoch }),
	engine.Change(func(u *UserRow, e engine.Recorded[events.UserEnabled]) { u.Status = "active" }),
).Always(func(u *UserRow, e *eventstore.Recorded) { u.Version, u.UpdatedAt = e.Version, e.At })

const userColumns = `id, email, name, roles, status, session_epoch, version, created_at, updated_at`

// User returns one user.
func (r *Reader) User(ctx context.Context, id uuid.UUID) (UserRow, error) {
	q := `
		SELECT ` + userColumns + `
		FROM ` + Users.Table() + `
		WHERE id = $1`
	row, err := one[UserRow](ctx, r.pool, q, id)
	if err != nil {
		return row, fmt.Errorf("user %s: %w", id, err)
	}
	return row, nil
}

// UserList returns up to limit users, newest first, after the one with the id before, the nil UUID for the first page. An
// empty status or role means any.
func (r *Reader) UserList(ctx context.Context, status, role string, before uuid.UUID, limit int) ([]UserRow, error) {
	q := `
		SELECT ` + userColumns + `
		FROM ` + Users.Table() + `
		WHERE ($1 = '' OR status = $1)
			AND ($2 = '' OR $2 = ANY (roles))
			AND ($3 = '00000000-0000-0000-0000-000000000000'::uuid OR id < $3)
		ORDER BY id DESC
		LIMIT $4`
	rows, err := many[UserRow](ctx, r.pool, q, status, role, before, limit)
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	return rows, nil
}

// list makes an absent list an empty one, since columns that hold lists are never null.
func list(items []string) []string {
	if items == nil {
		return []string{}
	}
	return items
}
