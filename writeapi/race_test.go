package writeapi_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

// together makes the calls at once and returns the answers.
func together(t *testing.T, a *apptest.Atlas, calls ...apptest.Scenario) []apptest.Answer {
	t.Helper()
	answers := make([]apptest.Answer, len(calls))
	var all sync.WaitGroup
	for i, call := range calls {
		all.Go(func() { answers[i] = a.Do(t, call) })
	}
	all.Wait()
	return answers
}

func TestConcurrentRevisionsAllHappen(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	path := "/v1/documents/" + a.Stream(t, plan).String()
	var calls []apptest.Scenario
	for i := range 8 {
		body := fmt.Sprintf(`{"title":"Plan %d","body":""}`, i)
		calls = append(calls, apptest.Scenario{Call: "PUT " + path, As: ann, Body: body, Status: 200, Types: []string{"document.revised"}})
	}
	var tags []string
	for _, answer := range together(t, a, calls...) {
		tags = append(tags, answer.ETag())
	}
	slices.Sort(tags)
	if diff := cmp.Diff([]string{`"2"`, `"3"`, `"4"`, `"5"`, `"6"`, `"7"`, `"8"`, `"9"`}, tags); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestOneOfConcurrentRevisionsOfOneVersionHappens(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	id := a.Stream(t, plan)
	revise := apptest.Scenario{
		Call: "PUT /v1/documents/" + id.String(), As: ann, Body: `{"title":"Plan B","body":""}`, Headers: header("If-Match", `"1"`), Races: true,
	}
	won := 0
	for _, answer := range together(t, a, slices.Repeat([]apptest.Scenario{revise}, 8)...) {
		switch answer.Status {
		case 200:
			won++
		case 412:
		default:
			t.Errorf("got %d: %s", answer.Status, answer.Body)
		}
	}
	if events := len(a.Events(t, "document", id)); won != 1 || events != 2 {
		t.Errorf("%d revisions succeeded and the document has %d events; want 1 and 2", won, events)
	}
}

func TestAddressSignedUpTwiceAtOnceGetsOneUser(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	call := apptest.Scenario{Call: register, Body: signUp("carl@example.com", "Carl"), Status: 202, Races: true}
	reserved := 0
	for _, answer := range together(t, a, slices.Repeat([]apptest.Scenario{call}, 8)...) {
		for _, e := range answer.Appended {
			switch e.(type) {
			case events.EmailReserved:
				reserved++
			case events.UserRegistered, events.UserVerificationRequested: // of those who came later, and have nothing to verify
			default:
				t.Errorf("appended %T", e)
			}
		}
	}
	if reserved != 1 {
		t.Errorf("the address was given to %d users, want 1", reserved)
	}
}
