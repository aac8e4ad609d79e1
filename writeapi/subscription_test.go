package writeapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// leased is a message as a worker gets it.
type leased struct {
	Token   string
	Until   time.Time `json:"lease_until"`
	Attempt int
	Replay  bool
	Retried bool
	Event   struct {
		ID      uuid.UUID
		Type    string
		Stream  string
		Version int64
		Sealed  string
		Data    map[string]any
	}
}

// service is a worker that calls with a service key.
type service struct {
	*apptest.Atlas
	key   uuid.UUID
	token string
}

func newService(t *testing.T, a *apptest.Atlas, scopes ...string) service {
	t.Helper()
	id, token := a.ServiceKey(t, append(scopes, "subscriptions:use")...)
	return service{a, id, token}
}

// call makes one call, which must be answered with the status and, of a problem, the code.
func (s service) call(t *testing.T, call, body string, status int, code string, fields ...string) apptest.Answer {
	t.Helper()
	return s.Do(t, apptest.Scenario{Call: call, Token: s.token, Body: body, Status: status, Code: code, Fields: fields, Races: true})
}

// lease leases so many messages, and fails the test when fewer come.
func (s service) lease(t *testing.T, name string, n int) (got []leased) {
	t.Helper()
	watchtest.Eventually(t, time.Minute, fmt.Sprintf("%d messages are leased", n), func() bool {
		answer := s.call(t, "POST /v1/subscriptions/"+name+"/lease", fmt.Sprintf(`{"messages":%d,"wait_seconds":1,"lease_seconds":600}`, n-len(got)), 200, "")
		got = append(got, apptest.Read[struct{ Messages []leased }](t, answer).Messages...)
		return len(got) == n
	})
	return got
}

// none fails the test when a message comes.
func (s service) none(t *testing.T, name, why string) {
	t.Helper()
	answer := s.call(t, "POST /v1/subscriptions/"+name+"/lease", `{"wait_seconds":1}`, 200, "")
	if got := apptest.Read[struct{ Messages []leased }](t, answer).Messages; len(got) > 0 {
		t.Fatalf("%s came %+v", why, got)
	}
}

func (s service) ack(t *testing.T, name string, m leased) {
	t.Helper()
	s.call(t, "POST /v1/subscriptions/"+name+"/ack", `{"tokens":["`+m.Token+`"]}`, 204, "")
}

// document appends a document of Ann's, with so many more events, and returns its stream.
func (s service) document(t *testing.T, more int) string {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	all := []events.Event{plan}
	for range more {
		all = append(all, events.DocumentArchived{OwnerID: ann})
	}
	s.Append(t, "document", id, all...)
	return "document-" + id.String()
}

func TestAWorkerOverHTTPTakesWhatItChoseInOrder(t *testing.T) {
	t.Parallel()
	s := newService(t, apptest.New(t), "unseal")
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"]}`, 200, "")
	stream := s.document(t, 1)
	first := s.lease(t, "search", 1)[0]
	if first.Event.Stream != stream || first.Event.Version != 1 || first.Attempt != 1 || first.Event.Type != "document.created" {
		t.Errorf("got %+v", first)
	}
	if first.Event.Data["title"] != plan.Title || first.Event.Sealed != "shown" {
		t.Errorf("with the scope unseal: %+v", first.Event)
	}
	s.none(t, "search", "while the stream's first message is leased")
	s.ack(t, "search", first)
	s.ack(t, "search", first)
	second := s.lease(t, "search", 1)[0]
	if second.Event.Version != 2 {
		t.Errorf("got %+v", second)
	}
	s.ack(t, "search", second)
	s.none(t, "search", "when all is done")
}

func TestSealedFieldsAreForKeysThatMayUnseal(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	s := newService(t, a)
	s.call(t, "PUT /v1/subscriptions/search", `{"types":["document.created"]}`, 200, "")
	s.document(t, 0)
	answer := s.call(t, "POST /v1/subscriptions/search/lease", `{"wait_seconds":30}`, 200, "")
	m := apptest.Read[struct{ Messages []leased }](t, answer).Messages[0]
	if _, there := m.Event.Data["title"]; there || m.Event.Sealed != "withheld" || strings.Contains(answer.Body, plan.Body) {
		t.Errorf("got %s", answer.Body)
	}
	// An admin may look after subscriptions, and still does not read what is personal.
	s.call(t, "POST /v1/subscriptions/search/nack", `{"messages":[{"token":"`+m.Token+`","delay_seconds":0}]}`, 204, "")
	admin := service{Atlas: a, token: a.AdminToken(t, ann)}
	if m := admin.lease(t, "search", 1)[0]; m.Event.Sealed != "withheld" {
		t.Errorf("an admin gets %+v", m.Event)
	}
}

func TestWhoseLeaseIsOverLearnsWhichAndTheRestCounts(t *testing.T) {
	t.Parallel()
	s := newService(t, apptest.New(t))
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"]}`, 200, "")
	s.document(t, 0)
	s.document(t, 0)
	got := s.lease(t, "search", 2)
	gone := uuid.NewString()
	for _, c := range []struct{ call, body, field string }{
		{"extend", `{"messages":[{"token":"` + got[0].Token + `","seconds":60},{"token":"` + gone + `","seconds":60}]}`, "/messages/1 lease_lost"},
		{"ack", `{"tokens":["` + gone + `","` + got[0].Token + `"]}`, "/tokens/0 lease_lost"},
		{"nack", `{"messages":[{"token":"` + got[1].Token + `","permanent":true,"error":"no use"},{"token":"` + gone + `"}]}`, "/messages/1 lease_lost"},
	} {
		s.call(t, "POST /v1/subscriptions/search/"+c.call, c.body, 409, "lease_lost", c.field)
	}
	s.ack(t, "search", got[0])
	if n := len(s.parked(t, "search")); n != 1 {
		t.Errorf("%d messages are parked, want the one that failed for good", n)
	}
	s.none(t, "search", "when one is done and one is parked")
}

type deadLetter struct {
	ID       int64
	Error    string
	Attempts int
	Version  int64
}

func (s service) parked(t *testing.T, name string) []deadLetter {
	t.Helper()
	answer := s.call(t, "GET /v1/subscriptions/"+name+"/parked", "", 200, "")
	return apptest.Read[struct{ Data []deadLetter }](t, answer).Data
}

func (s service) nack(t *testing.T, name string, m leased, more string) {
	t.Helper()
	s.call(t, "POST /v1/subscriptions/"+name+"/nack", `{"messages":[{"token":"`+m.Token+`"`+more+`}]}`, 204, "")
}

func TestPoisonIsParkedRetriedAndDiscardedOverHTTP(t *testing.T) {
	t.Parallel()
	s := newService(t, apptest.New(t))
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"],"attempts":2,"retry_first_seconds":0.001,"retry_max_seconds":0.001}`, 200, "")
	s.document(t, 2)
	s.nack(t, "search", s.lease(t, "search", 1)[0], `,"error":"503 of the provider"`)
	again := s.lease(t, "search", 1)[0]
	if again.Attempt != 2 || again.Event.Version != 1 {
		t.Fatalf("got %+v", again)
	}
	s.nack(t, "search", again, `,"error":"503 of the provider"`)
	second := s.lease(t, "search", 1)[0]
	if second.Event.Version != 2 {
		t.Fatalf("after what was parked came %+v", second)
	}
	letters := s.parked(t, "search")
	if len(letters) != 1 || letters[0].Error != "503 of the provider" || letters[0].Attempts != 2 || letters[0].Version != 1 {
		t.Fatalf("parked: %+v", letters)
	}
	s.call(t, "POST /v1/subscriptions/search/parked/retry", `{"error":"404"}`, 404, "message_not_parked")
	s.call(t, "POST /v1/subscriptions/search/parked/retry", `{}`, 422, "validation_failed", "/error required")
	s.call(t, "POST /v1/subscriptions/search/parked/retry", `{"error":"503"}`, 200, "")
	s.ack(t, "search", second)
	retried := s.lease(t, "search", 1)[0]
	if retried.Event.Version != 1 || !retried.Retried {
		t.Fatalf("what is retried does not come first, but %+v", retried)
	}
	s.nack(t, "search", retried, "")
	one := fmt.Sprintf("POST /v1/subscriptions/search/parked/%d/", letters[0].ID)
	s.call(t, one+"retry", "", 204, "")
	s.nack(t, "search", s.lease(t, "search", 1)[0], "")
	s.call(t, one+"discard", "", 204, "")
	s.call(t, one+"discard", "", 404, "message_not_parked")
	s.call(t, "POST /v1/subscriptions/search/parked/discard", `{"all":true}`, 404, "message_not_parked")
	if m := s.lease(t, "search", 1)[0]; m.Event.Version != 3 || m.Retried {
		t.Errorf("then came %+v", m)
	}
}

func TestADelayedMessageComesAgainLaterAndHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s := newService(t, apptest.New(t))
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"],"attempts":1}`, 200, "")
	s.document(t, 0)
	delayed := s.lease(t, "search", 1)[0]
	s.nack(t, "search", delayed, `,"delay_seconds":2`)
	other := s.document(t, 0)
	if m := s.lease(t, "search", 1)[0]; m.Event.Stream != other {
		t.Fatalf("got %+v", m)
	}
	if m := s.lease(t, "search", 1)[0]; m.Event.ID != delayed.Event.ID || m.Attempt != 1 {
		t.Errorf("after the delay came %+v; asking for it is no try", m)
	}
}

func TestAResetTakesBackWhatIsLeasedOverHTTP(t *testing.T) {
	t.Parallel()
	s := newService(t, apptest.New(t))
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"],"replays":true}`, 200, "")
	s.document(t, 1)
	first := s.lease(t, "search", 1)[0]
	s.ack(t, "search", first)
	second := s.lease(t, "search", 1)[0]
	s.call(t, "POST /v1/subscriptions/search/reset", `{"to":"beginning"}`, 204, "")
	s.call(t, "POST /v1/subscriptions/search/ack", `{"tokens":["`+second.Token+`"]}`, 409, "lease_lost", "/tokens/0 lease_lost")
	again := s.lease(t, "search", 1)[0]
	if again.Event.ID != first.Event.ID || !again.Replay {
		t.Errorf("after the reset came %+v", again)
	}
	s.ack(t, "search", again)
	if m := s.lease(t, "search", 1)[0]; m.Event.ID != second.Event.ID || m.Replay {
		t.Errorf("then came %+v", m)
	}
	s.call(t, "POST /v1/subscriptions/search/reset", `{"to":"999999999"}`, 400, "position_in_future")
}

func TestASubscriptionIsItsOwnersAndAdminsSeeAll(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	s, other := newService(t, a), newService(t, a)
	admin := service{Atlas: a, token: a.AdminToken(t, ann)}
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"]}`, 200, "")
	other.call(t, "PUT /v1/subscriptions/other", `{}`, 200, "")
	s.document(t, 0)
	m := s.lease(t, "search", 1)[0]
	token := `{"tokens":["` + m.Token + `"]}`
	for _, c := range []struct{ call, body string }{
		{"GET /v1/subscriptions/search", ""},
		{"DELETE /v1/subscriptions/search", ""},
		{"POST /v1/subscriptions/search/lease", ""},
		{"POST /v1/subscriptions/search/ack", token},
		{"POST /v1/subscriptions/search/nack", `{"messages":[{"token":"` + m.Token + `"}]}`},
		{"POST /v1/subscriptions/search/extend", `{"messages":[{"token":"` + m.Token + `","seconds":1}]}`},
		{"POST /v1/subscriptions/search/reset", `{"to":"now"}`},
		{"GET /v1/subscriptions/search/parked", ""},
		{"POST /v1/subscriptions/search/parked/retry", `{"all":true}`},
		{"POST /v1/subscriptions/search/parked/discard", `{"all":true}`},
		{"POST /v1/subscriptions/search/parked/1/retry", ""},
		{"POST /v1/subscriptions/search/parked/1/discard", ""},
	} {
		other.call(t, c.call, c.body, 404, "subscription_not_found")
	}
	// With another subscription's name a token is good for nothing.
	other.call(t, "POST /v1/subscriptions/other/ack", token, 409, "lease_lost", "/tokens/0 lease_lost")
	other.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"]}`, 409, "subscription_taken")
	s.ack(t, "search", m)
	names := func(who service) (names []string) {
		answer := who.call(t, "GET /v1/subscriptions", "", 200, "")
		for _, one := range apptest.Read[struct{ Data []struct{ Name string } }](t, answer).Data {
			names = append(names, one.Name)
		}
		return names
	}
	for _, c := range []struct {
		who  service
		want []string
	}{{s, []string{"search"}}, {other, []string{"other"}}, {admin, []string{"other", "search"}}} {
		if got := names(c.who); !slices.Equal(got, c.want) {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
	admin.call(t, "GET /v1/subscriptions/search", "", 200, "")
	admin.call(t, "DELETE /v1/subscriptions/search", "", 204, "")
	s.call(t, "GET /v1/subscriptions/search", "", 404, "subscription_not_found")
	s.call(t, "POST /v1/subscriptions/search/ack", token, 404, "subscription_not_found")
}

func TestASubscriptionTellsHowItIsDoing(t *testing.T) {
	t.Parallel()
	s := newService(t, apptest.New(t))
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"]}`, 200, "")
	for range 3 {
		s.document(t, 0)
	}
	got := s.lease(t, "search", 3)
	s.nack(t, "search", got[0], `,"error":"later","delay_seconds":600`)
	s.nack(t, "search", got[1], `,"permanent":true`)
	var shown struct {
		OwnerID                          uuid.UUID `json:"owner_id"`
		Waiting, Failing, Leased, Parked int
	}
	s.call(t, "GET /v1/subscriptions/search", "", 200, "").Decode(t, &shown)
	if shown.OwnerID != s.key || shown.Waiting != 2 || shown.Failing != 1 || shown.Leased != 1 || shown.Parked != 1 {
		t.Errorf("got %+v", shown)
	}
}

func TestASubscriptionOfAnotherFormIsRefused(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	s := newService(t, a)
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"]}`, 200, "")
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["user"]}`, 409, "subscription_changed")
	s.call(t, "PUT /v1/subscriptions/Search", `{}`, 400, "invalid_parameter", "name invalid_format")
	s.call(t, "PUT /v1/subscriptions/more", `{"types":["document.written"]}`, 422, "subscription_invalid", "/types/0 not_allowed")
	s.call(t, "PUT /v1/subscriptions/more", `{"start":"999999999"}`, 400, "position_in_future")
	s.call(t, "PUT /v1/subscriptions/more", `{"start":"yesterday"}`, 422, "validation_failed", "/start invalid_format")
	s.call(t, "POST /v1/subscriptions/search/ack", `{"tokens":["mine"]}`, 422, "validation_failed", "/tokens/0 invalid_format")

	// A worker of Atlas itself: an admin sees it, and nobody leases or deletes it.
	log := subscription.New(a.Pool, a.Store, nil, nil)
	if err := log.Create(t.Context(), subscription.Definition{Name: "welcome"}); err != nil {
		t.Fatal(err)
	}
	admin := service{Atlas: a, token: a.AdminToken(t, ann)}
	s.call(t, "GET /v1/subscriptions/welcome", "", 404, "subscription_not_found")
	for _, who := range []service{s, admin} {
		who.call(t, "PUT /v1/subscriptions/welcome", `{}`, 409, "subscription_taken")
	}
	admin.call(t, "GET /v1/subscriptions/welcome", "", 200, "")
	admin.call(t, "GET /v1/subscriptions/welcome/parked", "", 200, "")
	admin.call(t, "POST /v1/subscriptions/welcome/lease", "", 409, "subscription_built_in")
	admin.call(t, "POST /v1/subscriptions/welcome/ack", `{"tokens":["`+uuid.NewString()+`"]}`, 409, "subscription_built_in")
	admin.call(t, "DELETE /v1/subscriptions/welcome", "", 409, "subscription_built_in")
}

func TestALongPollEndsAtOnceWhenItsKeyIsRevoked(t *testing.T) {
	t.Parallel()
	s := newService(t, apptest.New(t))
	s.call(t, "PUT /v1/subscriptions/search", `{"categories":["document"]}`, 200, "")
	s.wantPollEnded(t, 401, "token_revoked", "apikey", s.key, events.APIKeyRevoked{})
}

// TestALongPollEndsAtOnceWhenItsUserIsNoAdminAnyMore has a user's key go on as a key, and lose the right to what it waits for.
func TestALongPollEndsAtOnceWhenItsUserIsNoAdminAnyMore(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	newService(t, a).call(t, "PUT /v1/subscriptions/search", `{"categories":["document"]}`, 200, "")
	a.Append(t, "user", ann, events.UserRoleChanged{UserID: ann, Roles: []string{"user", "admin"}, Epoch: 2})
	s := service{Atlas: a, key: uuid.Must(uuid.NewV7())}
	secret := auth.NewAPIKey(s.key)
	s.token = secret.Reveal()
	a.Append(t, "apikey", s.key, events.APIKeyCreated{OwnerID: ann, Name: "Worker", Scopes: []string{"subscriptions:use"}, Hash: auth.HashAPIKey(secret)})
	s.wantPollEnded(t, 403, "permission_denied", "user", ann, events.UserRoleChanged{UserID: ann, Roles: []string{"user"}, Epoch: 3})
}

// wantPollEnded fails the test unless an event ends a long poll of the subscription search that the key has open.
func (s service) wantPollEnded(t *testing.T, status int, code, category string, id uuid.UUID, e events.Event) {
	t.Helper()
	before := s.lastUse(t)
	ended := make(chan apitest.Answer, 1)
	poll := apitest.Scenario{Call: "POST /v1/subscriptions/search/lease", As: s.token, Body: `{"wait_seconds":60}`}
	go func() { ended <- poll.Send(t, s.URL) }()
	watchtest.Eventually(t, time.Minute, "the long poll is let in", func() bool { return s.lastUse(t).After(before) })
	s.Append(t, category, id, e)
	s.Revoke(t)
	select {
	case answer := <-ended:
		if answer.Status != status || !strings.Contains(answer.Body, code) {
			t.Errorf("it ended with %d %s", answer.Status, answer.Body)
		}
	case <-time.After(50 * time.Second): // it would have ended by itself after 60
		t.Fatal("the long poll goes on")
	}
	s.Append(t, "document", uuid.Must(uuid.NewV7()), plan)
	if n := handedOut(t, s.Atlas); n != 0 {
		t.Errorf("%d messages were handed to nobody", n)
	}
}

// lastUse returns when the key was last used.
func (s service) lastUse(t *testing.T) time.Time {
	t.Helper()
	if err := s.KeyUses.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	uses, err := s.KeyUses.LastUses(t.Context(), []uuid.UUID{s.key})
	if err != nil {
		t.Fatal(err)
	}
	return uses[s.key]
}

// handedOut returns how many messages are out.
func handedOut(t *testing.T, a *apptest.Atlas) (n int) {
	t.Helper()
	if err := a.Pool.QueryRow(t.Context(), `SELECT count(*) FROM atlas.subscription_leases`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
