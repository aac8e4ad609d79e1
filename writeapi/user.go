package writeapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

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
			eventstore.ErrOutcomeUnknown, eventstore.ErrImporting, eventstore.ErrUnavailable},
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

// register records that somebody signs up, and answers alike and after the same work whether or not the address has an
// account: it does not look. Whose address it is shows when the mail is answered (verifyEmail).
func (s *Server) register(ctx context.Context, in *registerRequest) (*accepted, error) {
	email, err := auth.NormalizeEmail(in.Body.Email)
	if err != nil {
		return nil, err
	}
	if err := auth.CheckPassword(in.Body.Password, email, in.Body.Name); err != nil {
		return nil, err
	}
	address := auth.EmailKey(s.EmailKey, email)
	if err := httpapi.Limit(ctx, "register.account", address.String()); err != nil {
		return nil, err
	}
	hash, err := s.Passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	user := commands.RegisterUser{
		ID: newID(), Email: email, Name: in.Body.Name, PasswordHash: hash, VerifyBy: s.Clock().Add(auth.VerificationLifetime),
	}
	if err := s.signUp(commandContext(ctx), user, address); err != nil {
		return nil, err
	}
	out := &accepted{}
	out.Body.Status = "accepted"
	return out, nil
}

// signUp makes the user, who has to verify the address; where that is not asked for, only if the address is taken.
func (s *Server) signUp(ctx context.Context, user commands.RegisterUser, address uuid.UUID) error {
	if !s.Verified {
		_, err := s.Commands.Handle(ctx, commands.User.On(user.ID, user))
		return err
	}
	holder, err := s.Accounts.Holder(ctx, address)
	if err != nil {
		return err
	}
	reserve := commands.Email.On(address, commands.ReserveEmail{User: user.ID, IfFree: true})
	if holder == uuid.Nil {
		user.VerifyBy = time.Time{}
		reserve = commands.Email.On(address, commands.ReserveEmail{User: user.ID})
	}
	_, err = s.Commands.Handle(ctx, commands.User.On(user.ID, user), reserve)
	if errors.Is(err, commands.ErrEmailTaken) {
		return nil // somebody was faster by milliseconds, and this one would have nothing to verify
	}
	return err
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
