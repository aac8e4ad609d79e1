package writeapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// userAdministration registers what admins do to users. Each asks for a recent sign-in: a stolen token of an admin's
// must not be enough.
func (s *Server) userAdministration(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "disable-user", Method: http.MethodPost, Path: "/v1/admin/users/{id}/disable", Tag: "Administration",
		Summary:     "Shut a user out",
		Description: "Every token and API key of the user is refused from now on. The last admin stays.",
		Access:      httpapi.Admin, StepUp: true, Errors: append(writeFaults(), commands.ErrLastAdmin),
	}, s.disableUser)
	httpapi.Register(api, httpapi.Operation{
		ID: "enable-user", Method: http.MethodPost, Path: "/v1/admin/users/{id}/enable", Tag: "Administration",
		Summary:     "Let a user in again",
		Description: "They sign in anew; their API keys are good again.",
		Access:      httpapi.Admin, StepUp: true, Errors: writeFaults(),
	}, s.enableUser)
	httpapi.Register(api, httpapi.Operation{
		ID: "change-user-role", Method: http.MethodPut, Path: "/v1/admin/users/{id}/role", Tag: "Administration",
		Summary:     "Make a user an admin, or no longer one",
		Description: "The user's tokens are refused from now on; they refresh them and have the new role. The last admin stays.",
		Access:      httpapi.Admin, StepUp: true, MaxBody: 16 << 10,
		Errors: append(writeFaults(), commands.ErrUserRole, commands.ErrUserDisabled, commands.ErrLastAdmin),
	}, s.changeUserRole)
	httpapi.Register(api, httpapi.Operation{
		ID: "sign-user-out", Method: http.MethodPost, Path: "/v1/admin/users/{id}/sessions:revoke", Tag: "Administration",
		Summary:     "End all sessions of a user",
		Description: "The user's tokens and refresh tokens are refused from now on; their API keys are not.",
		Access:      httpapi.Admin, StepUp: true, Errors: writeFaults(),
	}, s.signUserOut)
}

type userRequest struct {
	ID uuid.UUID `path:"id"`
}

func (s *Server) disableUser(ctx context.Context, in *userRequest) (*written, error) {
	return s.administer(ctx, commands.DisableUser{ID: in.ID, By: actor(ctx)}.Steps())
}

func (s *Server) enableUser(ctx context.Context, in *userRequest) (*written, error) {
	return s.administer(ctx, commands.EnableUser{ID: in.ID, By: actor(ctx)}.Steps())
}

func (s *Server) signUserOut(ctx context.Context, in *userRequest) (*written, error) {
	return s.administer(ctx, []commands.Step{commands.User.On(in.ID, commands.SignOutUser{ID: in.ID, By: actor(ctx)})})
}

type changeUserRoleRequest struct {
	ID   uuid.UUID `path:"id"`
	Body struct {
		Role string `json:"role" enum:"user,admin"`
	}
}

func (s *Server) changeUserRole(ctx context.Context, in *changeUserRoleRequest) (*written, error) {
	return s.administer(ctx, commands.ChangeUserRole{ID: in.ID, By: actor(ctx), Role: in.Body.Role}.Steps())
}

// administer carries out the steps and tells what became of the user. A step on the roll of admins may write nothing.
func (s *Server) administer(ctx context.Context, steps []commands.Step) (*written, error) {
	o, err := s.Commands.Handle(commandContext(ctx), steps...)
	if err != nil {
		return nil, err
	}
	return answer(o, commands.User.Category), nil
}
