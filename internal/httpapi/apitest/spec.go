package apitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Spec is the OpenAPI document of an API: what its answers are held against, and what tests of all operations are made
// from.
type Spec struct {
	Text       string
	Operations []Operation // by path and method

	document any
}

// Operation is what the document says of one.
type Operation struct {
	ID, Method, Path string
	SignedIn         bool // asks for a bearer token
	Access           Access
	Parameters       []Parameter
	Body             Schema           // of the JSON body; nil for none
	Answers          map[int]Schema   // the declared statuses, with the schema of their JSON body, if any
	Codes            map[int][]string // of problems, by status
}

// Access is who may call an operation, as it declares.
type Access struct {
	Who    string // "anyone", "signed_in", "owner", "admin" or "service"
	Scope  string // what an API key needs; "" keeps API keys out
	StepUp bool   // asks for a recent sign-in
}

// Parameter is one of path, query or header.
type Parameter struct {
	Name, In string
	Schema   Schema
}

// Schema is a JSON schema, references resolved on the first level.
type Schema map[string]any

// ReadSpec reads the document of the API at base.
func ReadSpec(t testing.TB, base string) *Spec {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s := &Spec{}
	var document map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&document); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	s.Text, s.document = string(text), document
	paths := member(document, "paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		methods := member(paths, path)
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			s.Operations = append(s.Operations, s.operation(method, path, member(methods, method)))
		}
	}
	return s
}

// member returns an object's member that is an object, or an empty one.
func member(o map[string]any, path ...string) map[string]any {
	for _, name := range path {
		o, _ = o[name].(map[string]any)
	}
	return o
}

var codeLine = regexp.MustCompile("- `([a-z_]+)`")

func (s *Spec) operation(method, path string, o map[string]any) Operation {
	op := Operation{Method: strings.ToUpper(method), Path: path, Answers: map[int]Schema{}, Codes: map[int][]string{}}
	op.ID, _ = o["operationId"].(string)
	_, op.SignedIn = o["security"]
	access := member(o, "x-atlas-access")
	op.Access.Who, _ = access["who"].(string)
	op.Access.Scope, _ = access["scope"].(string)
	op.Access.StepUp, _ = access["step_up"].(bool)
	parameters, _ := o["parameters"].([]any)
	for _, p := range parameters {
		p := p.(map[string]any)
		op.Parameters = append(op.Parameters, Parameter{p["name"].(string), p["in"].(string), s.resolve(member(p, "schema"))})
	}
	op.Body = s.resolve(member(o, "requestBody", "content", "application/json", "schema"))
	for text, r := range member(o, "responses") {
		status, err := strconv.Atoi(text)
		if err != nil {
			continue
		}
		response := r.(map[string]any)
		op.Answers[status] = s.resolve(member(response, "content", "application/json", "schema"))
		description, _ := response["description"].(string)
		for _, m := range codeLine.FindAllStringSubmatch(description, -1) {
			op.Codes[status] = append(op.Codes[status], m[1])
		}
	}
	return op
}

// resolve follows a reference.
func (s *Spec) resolve(schema Schema) Schema {
	for ref, is := schema["$ref"].(string); is; ref, is = schema["$ref"].(string) {
		schema = member(s.document.(map[string]any), strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return schema
}

// Holds says whether something is at a reference of the document.
func (s *Spec) Holds(ref string) bool {
	return strings.HasPrefix(ref, "#/") && len(s.resolve(Schema{"$ref": ref})) > 0
}

// Property returns the schema of an object's member.
func (s *Spec) Property(schema Schema, name string) Schema {
	return s.resolve(member(schema, "properties", name))
}

// Operation returns the operation that answers the method on the path.
func (s *Spec) Operation(method, path string) (Operation, bool) {
	path, _, _ = strings.Cut(path, "?")
	i := slices.IndexFunc(s.Operations, func(op Operation) bool { return op.Method == method && matches(op.Path, path) })
	if i < 0 {
		return Operation{}, false
	}
	return s.Operations[i], true
}

func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, got, func(w, g string) bool { return w == g || strings.HasPrefix(w, "{") && g != "" })
}

// Check returns what the operation does not declare of an answer: its status, its problem's code, its body's members.
func (s *Spec) Check(op Operation, a Answer) (undeclared []string) {
	schema, declared := op.Answers[a.Status]
	if !declared {
		return []string{fmt.Sprintf("%s declares no status %d", op.ID, a.Status)}
	}
	var body any
	if len(a.Body) > 0 {
		if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
			return []string{fmt.Sprintf("%s: the body is not JSON: %v", op.ID, err)}
		}
	}
	if a.Header.Get("Content-Type") == "application/problem+json" {
		code, _ := body.(map[string]any)["code"].(string)
		if !slices.Contains(op.Codes[a.Status], code) {
			return []string{fmt.Sprintf("%s declares no code %q for %d", op.ID, code, a.Status)}
		}
		return nil
	}
	if (schema == nil) != (body == nil) {
		return []string{fmt.Sprintf("%s: body %t, declared %t", op.ID, body != nil, schema != nil)}
	}
	return s.compare(op.ID, schema, body)
}

// compare says where a value is not what the schema says: types, members and enums, which is what clients are generated
// from.
func (s *Spec) compare(at string, schema Schema, value any) (bad []string) {
	schema = s.resolve(schema)
	if len(schema) == 0 {
		return nil
	}
	if !typed(schema["type"], value) {
		return []string{fmt.Sprintf("%s: is a %T, declared %v", at, value, schema["type"])}
	}
	if enum, is := schema["enum"].([]any); is && !slices.Contains(enum, value) {
		bad = append(bad, fmt.Sprintf("%s: is none of %v", at, enum))
	}
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			bad = append(bad, s.compare(at+"/"+strconv.Itoa(i), member(schema, "items"), item)...)
		}
	case map[string]any:
		bad = append(bad, s.compareMembers(at, schema, v)...)
	}
	return bad
}

func (s *Spec) compareMembers(at string, schema Schema, o map[string]any) (bad []string) {
	properties := member(schema, "properties")
	for name, value := range o {
		if property, known := properties[name].(map[string]any); known {
			bad = append(bad, s.compare(at+"/"+name, property, value)...)
		} else if more, closed := schema["additionalProperties"].(bool); closed && !more {
			bad = append(bad, at+"/"+name+": is not declared")
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, there := o[name.(string)]; !there {
			bad = append(bad, fmt.Sprintf("%s/%s: is missing", at, name))
		}
	}
	return bad
}

// typed says whether the value has the type, or one of the types.
func typed(declared, value any) bool {
	switch declared := declared.(type) {
	case []any:
		return slices.ContainsFunc(declared, func(one any) bool { return typed(one, value) })
	case string:
		return declared == typeName(value) || declared == "number" && typeName(value) == "integer"
	default:
		return true
	}
}

func typeName(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	default:
		return "object"
	}
}
