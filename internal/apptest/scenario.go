package apptest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
)

// Scenario is one call, what must come back, and what the log must hold of it afterwards.
type Scenario struct {
	Name  string         // a claim: "archive an active document"
	Given []events.Event // the stream that {id} in Call and Body names, in the read tables already
	Call  string         // "POST /v1/documents/{id}/archive"
	As    uuid.UUID      // Ann, Bob or who else signed up; nil is nobody
	Token string         // in place of As's own
	Body  string

	Headers map[string]string // besides what As and Body imply

	Status   int
	Code     string         // the problem's; "" wants none
	Fields   []string       // the problem's, each "pointer code"
	Appended []events.Event // exactly what the request appended, in order
	Types    []string       // stored names of what it appended, where Appended cannot know the ids in it
	Races    bool           // others ask the same at once: what it appended, and what came back where Status is 0, the test judges
	Then     func(t *testing.T, a Answer)
}

// Answer is what came back.
type Answer struct {
	apitest.Answer
	Given    uuid.UUID      // the id of the given stream
	Appended []events.Event // by the request
}

// Read reads the answer's body as a T.
func Read[T any](t *testing.T, a Answer) (v T) {
	t.Helper()
	a.Decode(t, &v)
	return v
}

// After returns the headers of a request that waits for what the answer's request wrote.
func (a Answer) After() map[string]string {
	return map[string]string{"Atlas-Min-Position": a.Header.Get("Atlas-Position"), "Prefer": "wait=30"}
}

// ETag returns the answer's entity tag.
func (a Answer) ETag() string { return a.Header.Get("ETag") }

// Run runs the scenarios as subtests, all at once.
func (a *Atlas) Run(t *testing.T, scenarios ...Scenario) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			a.Do(t, s)
		})
	}
}

// Do makes the call and checks all that the scenario says.
func (a *Atlas) Do(t *testing.T, s Scenario) Answer {
	t.Helper()
	answer := Answer{Given: newID()}
	if len(s.Given) > 0 {
		answer.Given = a.Stream(t, s.Given...)
	}
	id := answer.Given.String()
	call := apitest.Scenario{
		Call: strings.ReplaceAll(s.Call, "{id}", id), Body: strings.ReplaceAll(s.Body, "{id}", id), As: s.Token,
		Headers: s.Headers, Status: s.Status, Code: s.Code, Fields: s.Fields,
	}
	if s.As != uuid.Nil && s.Token == "" {
		call.As = a.User(t, s.As).Token
	}
	before := must(a.Store.End(t.Context()))(t)
	a.revocations.Confirm(time.Now())
	if s.Races && s.Status == 0 {
		answer.Answer = call.Send(t, a.URL)
	} else {
		answer.Answer = call.Do(t, a.URL)
	}
	a.checkSpec(t, call.Call, answer)
	appended := a.appendedBy(t, answer, before)
	answer.Appended = eventsOf(t, appended)
	a.checkAppended(t, s, appended)
	if s.Then != nil {
		s.Then(t, answer)
	}
	return answer
}

// Stream puts events into a new stream, as Ann's doing, and waits until they can be read.
func (a *Atlas) Stream(t *testing.T, given ...events.Event) uuid.UUID {
	t.Helper()
	typ, id := must(a.Store.Vocabulary().Of(given[0]))(t), newID()
	category, _, _ := strings.Cut(typ.Name, ".")
	a.append(t, Ann, eventstore.NewStream(category, id), given...)
	a.CatchUp(t)
	return id
}

// checkSpec holds the answer against the OpenAPI document.
func (a *Atlas) checkSpec(t *testing.T, call string, answer Answer) {
	t.Helper()
	method, path, _ := strings.Cut(call, " ")
	op, known := a.Spec.Operation(method, path)
	if !known {
		return // an unknown path or method, which some scenarios are about
	}
	for _, undeclared := range a.Spec.Check(op, answer.Answer) {
		t.Errorf("openapi.json: %s", undeclared)
	}
}

// appendedBy returns what the request with this answer appended.
func (a *Atlas) appendedBy(t *testing.T, answer Answer, after int64) (found []*eventstore.Recorded) {
	t.Helper()
	end := must(a.Store.End(t.Context()))(t)
	for after < end {
		batch := must(a.Store.ReadAll(t.Context(), after, end, eventstore.Filter{}, 1000))(t)
		for _, r := range batch.Events {
			if r.Metadata.RequestID == answer.Header.Get("X-Request-ID") {
				found = append(found, r)
			}
		}
		after = batch.Upto
	}
	return found
}

func (a *Atlas) checkAppended(t *testing.T, s Scenario, appended []*eventstore.Recorded) {
	t.Helper()
	for _, r := range appended {
		if s.As != uuid.Nil && r.Metadata.Actor != s.As {
			t.Errorf("%s says that %s did it, not %s", r.Type, r.Metadata.Actor, s.As)
		}
	}
	if s.Races {
		return
	}
	if s.Types != nil {
		var types []string
		for _, r := range appended {
			types = append(types, r.Type)
		}
		if diff := cmp.Diff(s.Types, types, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("appended (-want +got):\n%s", diff)
		}
		return
	}
	if diff := cmp.Diff(s.Appended, eventsOf(t, appended), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("appended (-want +got):\n%s", diff)
	}
}
