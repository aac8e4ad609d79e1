package apptest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
)

// Ann and Bob are users of every Atlas, and strangers to each other.
var (
	Ann = uuid.MustParse("0197f2f0-7c00-7000-8000-00000000000a")
	Bob = uuid.MustParse("0197f2f0-7c00-7000-8000-00000000000b")
)

// Password is everybody's.
const Password = "correct horse battery staple"

// User is somebody who is signed in.
type User struct {
	ID      uuid.UUID
	Session uuid.UUID
	Name    string
	Email   string // ann@example.com
	Token   string // valid for ten minutes
	Refresh string // the session's first
}

// SignUp puts a user into the log who signed up and then signed in.
func (a *Atlas) SignUp(t *testing.T, id uuid.UUID, name string) User {
	t.Helper()
	return a.SignUpWith(t, id, name, must(a.Hasher.Hash(t.Context(), Password))(t))
}

// SignUpWith is SignUp with a hash of the test's own.
func (a *Atlas) SignUpWith(t *testing.T, id uuid.UUID, name, hash string) User {
	t.Helper()
	u := User{ID: id, Name: name, Email: strings.ToLower(name) + "@example.com"}
	email := auth.EmailKey(a.emailKey, u.Email)
	a.append(t, id, eventstore.NewStream("email", email), events.EmailReserved{UserID: id})
	a.append(t, id, eventstore.NewStream("user", id),
		events.UserRegistered{UserID: id, Email: u.Email, Name: name, PasswordHash: hash, Roles: []string{"user"}})
	return a.SignIn(t, u, time.Now())
}

// SignIn starts another session of the user's, at that time.
func (a *Atlas) SignIn(t *testing.T, u User, at time.Time) User {
	t.Helper()
	u.Session = newID()
	a.append(t, u.ID, eventstore.NewStream("session", u.Session), events.SessionStarted{UserID: u.ID, StartedAt: at.UTC()})
	u.Token, u.Refresh = a.token(t, u, a.tokens), a.Refresh.Mint(u.Session, 0).Reveal()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users[u.ID] = u
	return u
}

// Disable shuts the user out. Who is in stays in until Revoke.
func (a *Atlas) Disable(t *testing.T, id uuid.UUID) {
	t.Helper()
	a.append(t, id, eventstore.NewStream("user", id), events.UserDisabled{UserID: id, Epoch: 2})
}

// AdminToken returns an access token of the user's that says they are an admin.
func (a *Atlas) AdminToken(t *testing.T, id uuid.UUID) string {
	t.Helper()
	u := a.User(t, id)
	token, _, err := a.tokens.Issue(auth.Claims{User: u.ID, Session: u.Session, Epoch: 1, Roles: []string{"user", "admin"}, AuthTime: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

// Address returns the id of an address's stream.
func (a *Atlas) Address(email string) uuid.UUID { return auth.EmailKey(a.emailKey, email) }

// Append puts events into a stream behind the API's back, as the doing of whom it is about.
func (a *Atlas) Append(t *testing.T, category string, id uuid.UUID, given ...events.Event) {
	t.Helper()
	a.append(t, id, eventstore.NewStream(category, id), given...)
}

// User returns who signed up with the id.
func (a *Atlas) User(t *testing.T, id uuid.UUID) User {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	u, known := a.users[id]
	if !known {
		t.Fatalf("nobody signed up as %s", id)
	}
	return u
}

// TokenOf returns an access token that the user got at that time.
func (a *Atlas) TokenOf(t *testing.T, id uuid.UUID, at time.Time) string {
	t.Helper()
	return a.token(t, a.User(t, id), a.tokensAt(func() time.Time { return at }))
}

func (a *Atlas) token(t *testing.T, u User, tokens *auth.Tokens) string {
	t.Helper()
	token, _, err := tokens.Issue(auth.Claims{User: u.ID, Session: u.Session, Epoch: 1, Roles: []string{"user"}, AuthTime: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

// append puts events into the log behind the API's back.
func (a *Atlas) append(t *testing.T, actor uuid.UUID, stream eventstore.Stream, given ...events.Event) {
	t.Helper()
	ctx := eventstore.WithMetadata(context.Background(), eventstore.Metadata{Actor: actor, CorrelationID: newID()})
	if _, err := a.Store.Append(ctx, eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: given}); err != nil {
		t.Fatal(err)
	}
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// Origin is that of the pages which may use cookies.
const Origin = "https://app.example.com"

// ServiceKey returns an API key that acts for no user and has the scopes, and its id.
func (a *Atlas) ServiceKey(t *testing.T, scopes ...string) (id uuid.UUID, key string) {
	t.Helper()
	id = newID()
	secret := auth.NewAPIKey(id)
	a.append(t, Ann, eventstore.NewStream("apikey", id), events.ServiceKeyCreated{
		CreatedBy: Ann, Name: "Service", Scopes: scopes, Hash: auth.HashAPIKey(secret),
	})
	return id, secret.Reveal()
}
