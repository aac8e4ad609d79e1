package httpapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"github.com/google/uuid"
)

// newHuma returns Huma as this package uses it: for schemas, parameters and the OpenAPI document. It serves no page of
// its own, adds no $schema, negotiates nothing, and never gets to write an error: see transform.
func newHuma(a *API) huma.API {
	format := huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}
	config := huma.Config{
		OpenAPI:       newSpec(a.config),
		Formats:       map[string]huma.Format{jsonType: format, "json": format},
		DefaultFormat: jsonType,
		Transformers:  []huma.Transformer{transform},
	}
	return jsonOnly{huma.NewAPI(config, adapter{a}), config}
}

// jsonOnly leaves Accept to us. Huma would answer with any type it knows how to write, "json" included.
type jsonOnly struct {
	huma.API
	config huma.Config
}

// Negotiate always says JSON; endpoint.accept has refused callers that do not take it.
func (jsonOnly) Negotiate(string) (string, error) { return jsonType, nil }

// Config is how Huma finds its own configuration again behind a wrapper.
func (j jsonOnly) Config() huma.Config { return j.config }

// transform sees every body before it is written. An error model is Huma refusing a parameter (or repeating a failure
// that the call already holds): it becomes a fault, without the values that Huma puts into it.
func transform(ctx huma.Context, _ string, body any) (any, error) {
	if m, refused := body.(*huma.ErrorModel); refused {
		callFrom(ctx.Context()).fail(refusal(ctx.Operation(), m))
	}
	return body, nil
}

// marshal encodes completely before it writes, so that a value that cannot be encoded is still a clean failure.
func marshal(w io.Writer, v any) error {
	var b bytes.Buffer
	if err := encodeJSON(&b, v); err != nil {
		if a, ok := w.(*answer); ok {
			a.call.fail(err)
		}
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteJSON answers with a value, for an output whose Body is a function since it may answer with another media type.
func WriteJSON(c huma.Context, v any) {
	c.SetHeader("Content-Type", jsonType)
	if err := marshal(c.BodyWriter(), v); err != nil {
		callFrom(c.Context()).fail(err)
	}
}

// adapter puts Huma's operations behind our own steps, on our router.
type adapter struct{ api *API }

// Handle adds one of Huma's operations to the router.
func (a adapter) Handle(op *huma.Operation, next func(huma.Context)) {
	e := newEndpoint(a.api, a.api.operations[op.OperationID], op, next)
	a.api.route(op.Path, op.Method, e.op.declaredAccess(), e.serve)
}

// ServeHTTP is there because Huma asks for it.
func (a adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.api.ServeHTTP(w, r) }

// humaContext is what Huma's handler gets for a request that our steps let pass.
func humaContext(op *huma.Operation, r *http.Request, w http.ResponseWriter) huma.Context {
	return humamux.NewContext(op, r, w)
}

// newRegistry returns the schemas of one API. Two types with one name, from two packages, get two names: Huma would
// panic, and writeapi and readapi may well both say Document.
func newRegistry() huma.Registry {
	names := map[reflect.Type]string{}
	taken := map[string]bool{}
	r := huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if name, known := names[t]; known {
			return name
		}
		name := huma.DefaultSchemaNamer(t, hint)
		if t.Kind() != reflect.Struct {
			return name // only structs become named schemas
		}
		if taken[name] {
			name = packageName(t) + name
		}
		names[t], taken[name] = name, true
		return name
	})
	r.RegisterTypeAlias(reflect.TypeFor[uuid.UUID](), reflect.TypeFor[uuidSchema]())
	r.Schema(reflect.TypeFor[huma.ErrorModel](), true, "") // takes Huma's own names, so that encodeSpec can drop them
	return r
}

// uuidSchema says that a UUID is a string of that format; Huma only sees that it can be read from text.
type uuidSchema struct{}

// Schema returns the schema of a UUID.
func (uuidSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "uuid"}
}
