package writeapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// users registers the endpoints of users.
func (s *Server) users(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "register", Method: http.MethodPost, Path: "/v1/auth/register", Tag: "Sign in",
		Summary:     "Sign up",
		Description: "The answer is the same whether or not the address has an account already.",
		Access:      httpapi.Anyone, Limit: "register", Status: http.StatusAccepted, MaxBody: 16 << 10,
		Errors: []*fault.Fault{auth.ErrWeakPassword, commands.ErrUserName, commands.ErrContended,
			eventstore.ErrOutcomeUnknown, eventstore.ErrUnavailable},
	}, s.register)
	httpapi.Register(api, httpapi.Operation{
		ID: "change-me", Method: http.MethodPatch, Path: "/v1/me", Tag: "Me",
		Summary: "Change your name", Access: httpapi.SignedIn, Scope: "me:write", MaxBody: 16 << 10,
		Errors: append(writeFaults(), commands.ErrUserName, commands.ErrUserDisabled),
	}, s.changeMe)
}

type registerRequest struct {
	Body struct {
		Email    string      `json:"email" minLength:"3" maxLength:"254"`
		Password auth.Secret `json:"password" doc:"12 to 128 characters"`
		Name     string      `json:"name" minLength:"1" maxLength:"200"`
	}
}

// accepted is the answer to what is answered alike for everyone.
type accepted struct {
	Body struct {
		Status string `json:"status" enum:"accepted"`
	}
}

// register makes a user for an address that has none. One that has gets the same answer, after the same hash; the append
// that is spared still tells in time, to who measures often enough.
func (s *Server) register(ctx context.Context, in *registerRequest) (*accepted, error) {
	email, err := auth.NormalizeEmail(in.Body.Email)
	if err != nil {
		return nil, err
	}
	if err := auth.CheckPassword(in.Body.Password); err != nil {
		return nil, err
	}
	if err := httpapi.Limit(ctx, "register.account", auth.EmailKey(s.EmailKey, email).String()); err != nil {
		return nil, err
	}
	hash, err := s.Passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	id := newID()
	// The user is decided first: a name that is refused must be refused for a taken address too.
	_, err = s.Commands.Handle(commandContext(ctx),
		commands.User.On(id, commands.RegisterUser{ID: id, Email: email, Name: in.Body.Name, PasswordHash: hash}),
		commands.Email.On(auth.EmailKey(s.EmailKey, email), commands.ReserveEmail{User: id}))
	if err != nil && !errors.Is(err, commands.ErrEmailTaken) {
		return nil, err
	}
	out := &accepted{}
	out.Body.Status = "accepted"
	return out, nil
}

type changeMeRequest struct {
	IfMatch httpapi.IfMatch `header:"If-Match"`
	Body    struct {
		Name string `json:"name" minLength:"1" maxLength:"200"`
	}
}

func (s *Server) changeMe(ctx context.Context, in *changeMeRequest) (*written, error) {
	user := auth.User(ctx)
	o, err := s.handle(ctx, commands.User.On(user, commands.ChangeUserName{ID: user, By: user, Name: in.Body.Name}), in.IfMatch)
	if err != nil {
		return nil, err
	}
	return answer(o, commands.User.Category), nil
}
