package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-platform/atlas/internal/fault"
)

// bearerScheme is the name of the one security scheme.
const bearerScheme = "bearer"

func newSpec(c Config) *huma.OpenAPI {
	spec := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: c.Title, Version: c.Version},
		Components: &huma.Components{
			Schemas: newRegistry(),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				bearerScheme: {Type: "http", Scheme: "bearer", Description: "The access token that signing in returns, or an API key."},
			},
		},
	}
	if c.PublicURL != "" {
		spec.Servers = []*huma.Server{{URL: c.PublicURL}}
	}
	return spec
}

// humaOperation returns the declaration as Huma takes it. Reading the body, its cap and its rules are ours, so Huma is
// told to leave them alone; so are unknown parameters.
func (a *API) humaOperation(op Operation) huma.Operation {
	h := huma.Operation{
		OperationID:      op.ID,
		Method:           op.Method,
		Path:             op.Path,
		Summary:          op.Summary,
		Description:      op.Description,
		DefaultStatus:    op.Status,
		MaxBodyBytes:     -1,
		BodyReadTimeout:  -1,
		SkipValidateBody: true,
		Responses:        a.errorResponses(op),
		Extensions:       map[string]any{accessExtension: op.declaredAccess()},
	}
	for _, media := range op.Produces {
		a.documentMedia(&h, op, media)
	}
	if op.Tag != "" {
		h.Tags = []string{op.Tag}
	}
	if op.Access != Anyone {
		h.Security = []map[string][]string{{bearerScheme: op.scopes()}}
		h.Description = strings.TrimSpace(h.Description + "\n\n" + op.declaredAccess().sentence())
	}
	if op.replays() {
		h.Parameters = append(h.Parameters, idempotencyParam())
	}
	return h
}

// documentMedia adds one media type to the answer of success. Huma fills in the schema of JSON unless the body is a
// function; others are text.
func (a *API) documentMedia(h *huma.Operation, op Operation, media string) {
	status := strconv.Itoa(cmp.Or(op.Status, http.StatusOK))
	if h.Responses[status] == nil {
		h.Responses[status] = &huma.Response{Content: map[string]*huma.MediaType{}}
	}
	h.Responses[status].Content[media] = &huma.MediaType{}
	switch {
	case media != jsonType:
		h.Responses[status].Content[media].Schema = &huma.Schema{Type: huma.TypeString}
	case op.Shows != nil:
		h.Responses[status].Content[media].Schema = a.huma.OpenAPI().Components.Schemas.Schema(op.Shows, true, op.ID)
	}
}

func idempotencyParam() *huma.Param {
	shortest, longest := 1, 255
	return &huma.Param{
		Name: "Idempotency-Key", In: "header",
		Description: "A retry with the same key and the same request returns the first answer and changes nothing.",
		Schema:      &huma.Schema{Type: huma.TypeString, MinLength: &shortest, MaxLength: &longest},
	}
}

// errorResponses documents one response per status, listing the codes that come with it.
func (a *API) errorResponses(op Operation) map[string]*huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem](), true, "")
	responses := map[string]*huma.Response{}
	for _, f := range a.faultsOf(op) {
		status := strconv.Itoa(Status(f.Kind()))
		if responses[status] == nil {
			responses[status] = &huma.Response{
				Description: http.StatusText(Status(f.Kind())) + ":\n",
				Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
			}
		}
		responses[status].Description += codeLine(f)
	}
	return responses
}

func codeLine(f *fault.Fault) string { return fmt.Sprintf("\n- `%s`: %s", f.Code(), f.Sentence()) }

// encodeSpec returns the OpenAPI document, without the schemas of Huma's own errors, which nothing refers to.
func (a *API) encodeSpec() ([]byte, error) {
	schemas := a.huma.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	return json.MarshalIndent(a.huma.OpenAPI(), "", "  ")
}

// packageName returns the capitalised name of the package that t is declared in.
func packageName(t reflect.Type) string {
	name := []rune(path.Base(t.PkgPath()))
	name[0] = unicode.ToUpper(name[0])
	return string(name)
}
