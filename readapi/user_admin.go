package readapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
)

// userAdministration registers what admins see of users.
func (s *Server) userAdministration(api *httpapi.API, cursors httpapi.Cursors) {
	httpapi.Register(api, httpapi.Operation{
		ID: "list-users", Method: http.MethodGet, Path: "/v1/admin/users", Tag: "Administration",
		Summary: "List the users, newest first", Access: httpapi.Admin, Scope: "users:read", Errors: readFaults(),
	}, func(ctx context.Context, in *listUsersRequest) (*userList, error) {
		return s.listUsers(ctx, cursors, in)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "read-user", Method: http.MethodGet, Path: "/v1/admin/users/{id}", Tag: "Administration",
		Summary: "Read a user", Access: httpapi.Admin, Scope: "users:read", Errors: readFaults(),
	}, s.readUser)
}

type user struct {
	ID        uuid.UUID `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Roles     []string  `json:"roles" nullable:"false"`
	Status    string    `json:"status" enum:"pending,active,disabled" doc:"pending until the address is verified"`
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func userOf(u projections.UserRow) user {
	return user{
		ID: u.ID, Email: u.Email, Name: u.Name, Roles: u.Roles, Status: u.Status,
		Version: u.Version, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt,
	}
}

type listUsersRequest struct {
	httpapi.ReadAfter
	httpapi.Paging
	Status string `query:"status" enum:"pending,active,disabled" doc:"Only users of this status"`
	Role   string `query:"role" enum:"user,admin" doc:"Only users who hold this role; admins hold both"`
}

type userList struct {
	Body httpapi.Page[user]
}

func (s *Server) listUsers(ctx context.Context, cursors httpapi.Cursors, in *listUsersRequest) (*userList, error) {
	before, purpose := uuid.Nil, "users/"+in.Status+"/"+in.Role
	if in.Cursor != "" {
		var err error
		if before, err = httpapi.DecodeCursor[uuid.UUID](cursors, purpose, in.Cursor); err != nil {
			return nil, err
		}
	}
	if err := s.await(ctx, in.ReadAfter, projections.Users.ID()); err != nil {
		return nil, err
	}
	rows, err := s.Reader.UserList(ctx, in.Status, in.Role, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	users := make([]user, len(rows))
	for i, row := range rows {
		users[i] = userOf(row)
	}
	next := func(last user) string { return httpapi.EncodeCursor(cursors, purpose, last.ID) }
	return &userList{Body: httpapi.NewPage(users, in.Limit, next)}, nil
}

type readUserRequest struct {
	httpapi.ReadAfter
	ID          uuid.UUID           `path:"id"`
	IfNoneMatch httpapi.IfNoneMatch `header:"If-None-Match"`
}

type userAnswer struct {
	ETag string `header:"ETag"`
	Body user
}

func (s *Server) readUser(ctx context.Context, in *readUserRequest) (*userAnswer, error) {
	if err := s.await(ctx, in.ReadAfter, projections.Users.ID()); err != nil {
		return nil, err
	}
	row, err := s.Reader.User(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &userAnswer{ETag: httpapi.ETag(row.Version), Body: userOf(row)}, nil
}
