package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-platform/atlas/internal/fault"
)

// Operation declares one operation: what it is called, who may call it, and how it can fail.
type Operation struct {
	ID          string         // unique, kebab-case: "archive-document"
	Method      string         // GET also answers HEAD
	Path        string         // "/v1/documents/{id}"
	Summary     string         // one line
	Description string         // more, as Markdown
	Tag         string         // the group in the docs
	Access      Access         // who may call; must be declared
	Scope       string         // what an API key needs to call it: "documents:read"; without one no API key may
	StepUp      bool           // asks for a recent sign-in: for what a stolen token must not do
	Limit       string         // the first part of the limit's name that holds beside or, for strangers, in place of the API's own: "login" is login.address
	Status      int            // of success; 0 is 200 with a body and 204 without
	MaxBody     int64          // bytes of the body; 0 is DefaultMaxBody
	Produces    []string       // media types; empty is application/json. Media says which one a caller wants
	Shows       reflect.Type   // of the JSON body, where the output's Body is a function; see WriteJSON
	Timeout     time.Duration  // for the handler; 0 is Config.Timeout, negative is none (streams, long polls)
	Held        bool           // may take long: without a Timeout there is none, and the context ends as Ended says
	NoReplay    bool           // the answer holds a secret: Idempotency-Key is ignored
	Errors      []*fault.Fault // what the handler may return, besides what every operation may
}

// DefaultMaxBody is the most bytes of a body that an operation takes unless it says otherwise.
const DefaultMaxBody = 1 << 20

// jsonType is the one media type of bodies.
const jsonType = "application/json"

// errFailed is what Huma sees of a failure; the failure itself is in the call.
var errFailed = errors.New("failed")

// Register adds an operation. The fields of I tagged path, query or header are its parameters and I.Body its body; the
// fields of O tagged header are headers of the answer, O.Status its status where it varies, O.Body its body. The handler
// returns a fault for what the caller can act on; any other error becomes an internal one whose text is only logged.
// Register panics on a declaration that is not complete: no Access, or an impossible one; an ID, a route or an error code
// used twice.
func Register[I, O any](api *API, op Operation, handler func(context.Context, *I) (*O, error)) {
	api.declare(op)
	mustBeSeen(op.ID, reflect.TypeFor[I](), reflect.TypeFor[O]())
	huma.Register(api.huma, api.humaOperation(op), func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			callFrom(ctx).fail(because(ctx, err))
			return nil, errFailed
		}
		return out, nil
	})
}

// declare takes the operation into the API's lists, or panics: a wrong declaration must not get as far as a request.
func (a *API) declare(op Operation) {
	switch {
	case op.ID == "" || op.Method == "" || !strings.HasPrefix(op.Path, "/"):
		panic(fmt.Sprintf("httpapi: operation %q needs an ID, a method and a path", op.ID))
	}
	if wrong := a.accessFault(op); wrong != "" {
		panic(fmt.Sprintf("httpapi: operation %q %s", op.ID, wrong))
	}
	if wrong := a.limitFault(op); wrong != "" {
		panic(fmt.Sprintf("httpapi: operation %q %s", op.ID, wrong))
	}
	if _, twice := a.operations[op.ID]; twice {
		panic(fmt.Sprintf("httpapi: operation %q is declared twice", op.ID))
	}
	a.operations[op.ID] = op
	a.addFaults(op.Errors...)
}

// mustBeSeen panics on embedded structs whose type is not exported, however deep: Huma passes over them without a word. A
// parameter or header in one would never be read or sent, and a body's fields would be missing from its schema.
func mustBeSeen(id string, types ...reflect.Type) {
	for _, t := range types {
		if f, hidden := hiddenEmbed(t, map[reflect.Type]bool{}); hidden {
			panic(fmt.Sprintf("httpapi: operation %q: %s is embedded and must be exported", id, f.Type))
		}
	}
}

// hiddenEmbed finds an embedded struct whose type is not exported in t or what t is made of.
func hiddenEmbed(t reflect.Type, seen map[reflect.Type]bool) (f reflect.StructField, found bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] || t.Implements(reflect.TypeFor[huma.SchemaProvider]()) {
		return f, false
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && !f.IsExported() {
			return f, true
		}
		if !f.IsExported() {
			continue
		}
		if inner, found := hiddenEmbed(f.Type, seen); found {
			return inner, true
		}
	}
	return f, false
}

// mutates says whether the operation changes something, so that a retry of it must not do so twice.
func (op Operation) mutates() bool {
	return slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, op.Method)
}

// replays says whether Idempotency-Key means something to the operation.
func (op Operation) replays() bool { return op.mutates() && op.Access != Anyone && !op.NoReplay }

// scopes lists what an API key needs, as OpenAPI wants it: a list that may be empty.
func (op Operation) scopes() []string {
	if op.Scope == "" {
		return []string{}
	}
	return []string{op.Scope}
}

// produces returns the media types the operation answers with.
func (op Operation) produces() []string {
	if len(op.Produces) == 0 {
		return []string{jsonType}
	}
	return op.Produces
}

// maxBody returns the most bytes of a body that the operation takes.
func (op Operation) maxBody() int64 {
	if op.MaxBody == 0 {
		return DefaultMaxBody
	}
	return op.MaxBody
}
