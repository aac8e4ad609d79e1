package readapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/auth/failures"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// Failures tells which sign-ins failed.
type Failures interface {
	List(ctx context.Context, since time.Time, address *uuid.UUID, limit int) ([]failures.Hour, error)
}

// failedSignIns registers the endpoint that shows which sign-ins failed.
func (s *Server) failedSignIns(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "list-sign-in-failures", Method: http.MethodGet, Path: "/v1/admin/sign-in-failures", Tag: "Administration",
		Summary: "See how often sign-ins failed, by address and hour",
		Description: "The newest hours first, and in each the most failures first. An address is shown as a keyed hash, whether or not it has an " +
			"account; to ask about one, give it as `email`. Hours are kept for thirty days.",
		Access: httpapi.Admin,
	}, s.listSignInFailures)
}

type signInFailuresRequest struct {
	Email string    `query:"email" maxLength:"254" doc:"Only of this address"`
	Since time.Time `query:"since" doc:"Only hours that ended after this time; the last 24 hours unless given"`
	Limit int       `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"The most rows"`
}

type signInFailures struct {
	Address  uuid.UUID `json:"address_id" doc:"A keyed hash of the address: the id of its stream in the log"`
	Hour     time.Time `json:"hour" doc:"When the hour began"`
	Failures int64     `json:"failures"`
	LastAt   time.Time `json:"last_at"`
}

type signInFailuresList struct {
	Body struct {
		Data []signInFailures `json:"data" nullable:"false"`
	}
}

func (s *Server) listSignInFailures(ctx context.Context, in *signInFailuresRequest) (*signInFailuresList, error) {
	var address *uuid.UUID
	if in.Email != "" {
		email, err := auth.NormalizeEmail(in.Email)
		if err != nil {
			return nil, httpapi.ErrInvalidParameter.At(fault.Field{Pointer: "email", Code: "invalid_format", Message: "must be an address like name@example.com"})
		}
		id := auth.EmailKey(s.EmailKey, email)
		address = &id
	}
	since := in.Since
	if since.IsZero() {
		since = s.Clock().Add(-24 * time.Hour)
	}
	hours, err := s.Failures.List(ctx, since, address, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &signInFailuresList{}
	out.Body.Data = []signInFailures{}
	for _, h := range hours {
		out.Body.Data = append(out.Body.Data, signInFailures(h))
	}
	return out, nil
}
