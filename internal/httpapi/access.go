package httpapi

import (
	"fmt"
	"regexp"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/auth"
)

// Access says who may call an operation. The zero value says nothing and is refused at registration.
//
// It is one of three parts of an operation's declaration. Operation.Scope says which scope an API key needs for it;
// without one, API keys may not call it at all. Operation.StepUp asks for a recent sign-in besides. All three are in the
// OpenAPI document, as x-atlas-access.
type Access string

// Who may call.
const (
	Anyone   Access = "anyone"    // nobody needs to be signed in; a credential is not even looked at
	SignedIn Access = "signed_in" // any user
	Owner    Access = "owner"     // any user, on what is their own: the command and the query answer for the rest that it is not there
	Admin    Access = "admin"     // users who are admins; service keys where the operation has a scope
	Service  Access = "service"   // service keys, which only admins make
)

// scopeForm is how scopes are written: what, and perhaps what with it. "documents:read", "unseal".
var scopeForm = regexp.MustCompile(`^[a-z][a-z_]*(:[a-z][a-z_]*)?$`)

// accessFault says what is wrong with the part of a declaration that says who may call, or "".
func (a *API) accessFault(op Operation) string {
	switch op.Access {
	case "":
		return "does not say who may call it"
	case Anyone:
		if op.Scope != "" || op.StepUp {
			return "is open to anyone and asks for a scope or a recent sign-in"
		}
		return ""
	case SignedIn, Owner, Admin, Service:
	default:
		return fmt.Sprintf("is for %q, which is nobody", op.Access)
	}
	switch {
	case a.authenticator == nil:
		return "needs an Authenticator in the Config"
	case op.Scope != "" && !scopeForm.MatchString(op.Scope):
		return fmt.Sprintf("asks for the scope %q, which has not the form of one", op.Scope)
	case op.Scope == "" && op.Access == Service:
		return "is for service keys and asks for no scope"
	case op.StepUp && op.Scope != "":
		return "asks API keys for a recent sign-in, which they cannot have"
	case op.StepUp && a.config.StepUp == nil:
		return "needs a StepUp in the Config"
	}
	return ""
}

// allows lets a principal pass who may call the operation.
func (op Operation) allows(p auth.Principal) error {
	switch {
	case p.Key != uuid.Nil && op.Scope == "":
		return ErrPermissionDenied.Because("an API key may not do this; sign in as a user")
	case op.Access == Service && !p.Service():
		return ErrPermissionDenied.Because("only a service key may do this")
	case p.Service() && op.Access != Service && op.Access != Admin:
		return ErrPermissionDenied.Because("a service key acts for no user, and only a user may do this")
	case !p.HasScope(op.Scope):
		return ErrScopeMissing.Because("the API key needs the scope " + op.Scope)
	case op.Access == Admin && !p.Admin():
		return ErrPermissionDenied.Because("only an admin may do this")
	}
	return nil
}

// declaredAccess is the declaration as the OpenAPI document shows it.
type declaredAccess struct {
	Who    Access `json:"who"`
	Scope  string `json:"scope,omitempty"`
	StepUp bool   `json:"step_up,omitempty"`
}

// accessExtension is the member of an operation in the OpenAPI document that says who may call it.
const accessExtension = "x-atlas-access"

func (op Operation) declaredAccess() declaredAccess {
	return declaredAccess{Who: op.Access, Scope: op.Scope, StepUp: op.StepUp}
}

// String is the declaration in a line: "owner documents:read", "admin step_up".
func (d declaredAccess) String() string {
	s := string(d.Who)
	if d.Scope != "" {
		s += " " + d.Scope
	}
	if d.StepUp {
		s += " step_up"
	}
	return s
}

// sentence says who may call, to those who read the docs.
func (d declaredAccess) sentence() string {
	s := map[Access]string{
		SignedIn: "any user", Owner: "any user, on what is their own", Admin: "admins", Service: "service keys",
	}[d.Who]
	switch {
	case d.StepUp:
		s += ", who signed in within the last minutes; no API keys"
	case d.Scope == "":
		s += "; no API keys"
	default:
		s += "; an API key needs the scope `" + d.Scope + "`"
	}
	return "Access: " + s + "."
}
