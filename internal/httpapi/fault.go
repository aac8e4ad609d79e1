package httpapi

import (
	"net/http"

	"github.com/atlas-platform/atlas/internal/fault"
)

// The faults that any request may meet, whatever the operation.
var (
	ErrMalformedJSON    = fault.New(fault.BadRequest, "malformed_json", "the body is not one well-formed JSON value")
	ErrInvalidParameter = fault.New(fault.BadRequest, "invalid_parameter", "a path, query or header parameter is not valid")
	ErrIncompleteBody   = fault.New(fault.BadRequest, "incomplete_body", "the body ended early or came too slowly; send it again")
	ErrUnauthenticated  = fault.New(fault.Unauthenticated, "unauthenticated", "sign in and send the access token as a bearer token")
	ErrPermissionDenied = fault.New(fault.Forbidden, "permission_denied", "the caller is not allowed to do this")
	ErrScopeMissing     = fault.New(fault.Forbidden, "scope_missing", "the API key does not have the scope that this needs")
	ErrNotFound         = fault.ErrNotFound
	ErrMethodNotAllowed = fault.New(fault.MethodUnknown, "method_not_allowed", "the path exists but does not answer this method; see Allow")
	ErrNotAcceptable    = fault.New(fault.NotAcceptable, "not_acceptable", "none of the media types in Accept can be produced here")
	ErrBodyTooLarge     = fault.New(fault.TooLarge, "body_too_large", "the body is larger than this operation takes")
	ErrUnsupportedMedia = fault.New(fault.WrongMedia, "unsupported_media_type", "send the body uncompressed, as Content-Type: application/json in UTF-8")
	ErrValidation       = fault.ErrValidation
	ErrInternal         = fault.New(fault.Internal, "internal", "something went wrong on our side; quote the request id when you report it")
	ErrBusy             = fault.ErrBusy
	ErrNewer            = fault.ErrNewer
	ErrDetached         = fault.ErrDetached
	ErrTimeout          = fault.New(fault.Unavailable, "timeout", "the request took too long and was given up; try again")
)

// ownFaults lists them, for the catalogue.
func ownFaults() []*fault.Fault {
	return []*fault.Fault{
		ErrMalformedJSON, ErrInvalidParameter, ErrIncompleteBody, ErrUnauthenticated, ErrPermissionDenied, ErrScopeMissing, ErrNotFound,
		ErrMethodNotAllowed, ErrNotAcceptable, ErrBodyTooLarge, ErrUnsupportedMedia, ErrValidation, ErrInternal, ErrBusy, ErrNewer, ErrDetached, ErrTimeout, ErrDraining,
	}
}

// Status is the one map from kinds of failure to HTTP statuses.
func Status(k fault.Kind) int {
	switch k {
	case fault.BadRequest:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.MethodUnknown:
		return http.StatusMethodNotAllowed
	case fault.NotAcceptable:
		return http.StatusNotAcceptable
	case fault.Conflict:
		return http.StatusConflict
	case fault.Gone:
		return http.StatusGone
	case fault.Stale:
		return http.StatusPreconditionFailed
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.WrongMedia:
		return http.StatusUnsupportedMediaType
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.TooMany:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
