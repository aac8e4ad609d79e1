package readapi_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/apptest"
)

// me is who is signed in.
type me struct {
	ID          uuid.UUID
	Email, Name string
	Roles       []string
	Version     int64
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// Whoever signs up and signs in asks who they are next, and faster than any read table is.
func TestMeIsThereRightAfterSigningUp(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for i := range 10 {
		email := fmt.Sprintf("new-%d@example.com", i)
		a.Do(t, apptest.Scenario{
			Call: "POST /v1/auth/register", Body: fmt.Sprintf(`{"email":%q,"password":%q,"name":"New"}`, email, apptest.Password),
			Status: 202, Types: []string{"user.registered", "email.reserved"},
		})
		in := apptest.Read[struct {
			Token string `json:"access_token"`
		}](t, a.Do(t, apptest.Scenario{
			Call: "POST /v1/auth/login", Body: fmt.Sprintf(`{"email":%q,"password":%q}`, email, apptest.Password),
			Status: 200, Types: []string{"session.started"},
		}))
		got := apptest.Read[me](t, a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: in.Token, Headers: header("Prefer", "wait=30"), Status: 200}))
		want := me{ID: got.ID, Email: email, Name: "New", Roles: []string{"user"}, Version: 1, CreatedAt: got.CreatedAt, UpdatedAt: got.CreatedAt}
		if diff := cmp.Diff(want, got); diff != "" || got.ID == uuid.Nil || got.CreatedAt.IsZero() {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestReadMe(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	renamed := a.Do(t, apptest.Scenario{Call: "PATCH /v1/me", As: ann, Body: `{"name":"Anna"}`, Status: 200, Types: []string{"user.name_changed"}})
	got := apptest.Read[me](t, a.Do(t, apptest.Scenario{Call: "GET /v1/me", As: ann, Headers: renamed.After(), Status: 200}))
	if got.ID != ann || got.Name != "Anna" || got.Email != "ann@example.com" || got.Version != 2 {
		t.Errorf("got %+v", got)
	}
	a.Run(t,
		apptest.Scenario{Name: "what the caller has is not sent again", Call: "GET /v1/me", As: ann, Headers: header("If-None-Match", `"2"`), Status: 304},
		apptest.Scenario{Name: "nobody is nobody", Call: "GET /v1/me", Status: 401, Code: "unauthenticated"},
	)
}
