package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// The matrix calls every operation of the OpenAPI document as everyone who might, and holds the status against what the
// operation declares (x-atlas-access). A new operation joins by being served. It may need a fixture, if its path names
// something, and a body, if one made from its schema breaks a rule that no schema tells.

// fixtures make what a path names, as the owner's, in the log: the key is the path up to its last parameter.
func fixtures() map[string]func(owner uuid.UUID) (id string, made eventstore.Write) {
	stream := func(category string, e func(owner uuid.UUID) events.Event) func(uuid.UUID) (string, eventstore.Write) {
		return func(owner uuid.UUID) (string, eventstore.Write) {
			id := uuid.Must(uuid.NewV7())
			return id.String(), eventstore.Write{Stream: eventstore.NewStream(category, id), Events: []events.Event{e(owner)}}
		}
	}
	user := stream("user", func(uuid.UUID) events.Event {
		return events.UserRegistered{UserID: uuid.New(), Email: "someone@example.com", Name: "Someone", Roles: []string{"user"}}
	})
	return map[string]func(uuid.UUID) (string, eventstore.Write){
		"/v1/documents/{id}": stream("document", func(owner uuid.UUID) events.Event {
			return events.DocumentCreated{OwnerID: owner, Title: "Plan", Body: "Ship it.", ContentType: "text/markdown"}
		}),
		"/v1/me/api-keys/{id}": stream("apikey", func(owner uuid.UUID) events.Event {
			return events.APIKeyCreated{OwnerID: owner, Name: "Key", Scopes: []string{"me:read"}, Hash: "none"}
		}),
		"/v1/admin/api-keys/{id}": stream("apikey", func(owner uuid.UUID) events.Event {
			return events.ServiceKeyCreated{CreatedBy: owner, Name: "Key", Scopes: []string{"events:read"}, Hash: "none"}
		}),
		"/v1/admin/users/{id}": user,
		"/v1/auth/sessions/{id}": stream("session", func(owner uuid.UUID) events.Event {
			return events.SessionStarted{UserID: owner, StartedAt: time.Now().UTC(), Epoch: 1}
		}),
		"/v1/admin/projections/{name}": func(uuid.UUID) (string, eventstore.Write) { return "sessions", eventstore.Write{} },
	}
}

// bodies are what operations are sent whose schema alone makes no body that is carried out.
func bodies() map[string]string {
	key := `{"name":"Key","scopes":["me:read"]}`
	return map[string]string{
		"create-api-key":     key,
		"create-service-key": key,
		"change-password":    `{"current_password":"` + castPassword + `","new_password":"another fine password of the cast"}`,
		"reauthenticate":     `{"password":"` + castPassword + `"}`,

		"put-subscription":        `{"start":"now"}`,
		"reset-subscription":      `{"to":"now"}`,
		"lease-messages":          `{"wait_seconds":1}`,
		"nack-messages":           `{"messages":[{"token":"` + uuid.NewString() + `"}]}`,
		"extend-leases":           `{"messages":[{"token":"` + uuid.NewString() + `","seconds":1}]}`,
		"ack-messages":            `{"tokens":["` + uuid.NewString() + `"]}`,
		"retry-parked-messages":   `{"all":true}`,
		"discard-parked-messages": `{"all":true}`,
	}
}

// admitted are the codes that tell a caller who may call that it cannot be done now, where the state that it needs is more
// than a fixture makes: they come from behind the declaration, and are as good as a success here.
func admitted() map[string][]string {
	return map[string][]string{
		"rebuild-projection":    {"projection_busy"},
		"verify-projection":     {"projection_busy"},
		"rollback-projection":   {"projection_busy", "projection_generation_missing"},
		"cancel-projection-job": {"projection_job_missing"},

		"ack-messages":  {"lease_lost"},
		"nack-messages": {"lease_lost"},
		"extend-leases": {"lease_lost"},
	}
}

const castPassword = "the password of all the cast"

// callers are who calls each operation.
var callers = []string{
	"nobody", "other user", "owner", "owner who signed in long ago", "admin", "admin who signed in long ago",
	"owner's key without the scope", "owner's key with the scope", "admin's key with the scope", "service key with the scope",
	"revoked session", "revoked key", "mistyped key",
}

// expected says what a caller must be answered, by what the operation declares: a status, and the code where one is
// refused; 0 is success, and -1 whatever nobody gets.
func expected(op apitest.Operation, caller string) (status int, code string) {
	a := op.Access
	scoped := a.Scope != ""
	named := strings.Contains(op.Path, "{")
	switch {
	case a.Who == "anyone":
		return -1, ""
	case caller == "nobody":
		return 401, "unauthenticated"
	case caller == "mistyped key":
		return 401, "api_key_invalid"
	case strings.HasPrefix(caller, "revoked"):
		return 401, "token_revoked"
	case strings.Contains(caller, "key") && !scoped:
		return 403, "permission_denied"
	case strings.HasPrefix(caller, "service") != (a.Who == "service") && !(caller == "service key with the scope" && a.Who == "admin"):
		return 403, "permission_denied"
	case caller == "owner's key without the scope":
		return 403, "scope_missing"
	case a.Who == "admin" && !strings.HasPrefix(caller, "admin") && !strings.HasPrefix(caller, "service"):
		return 403, "permission_denied"
	case a.StepUp && strings.HasSuffix(caller, "long ago"):
		return 401, "step_up_required"
	case a.Who == "owner" && named && !strings.HasPrefix(caller, "owner"):
		return 404, "not_found"
	}
	return 0, ""
}

// cast is everyone who calls one operation once, and what it is called on.
type cast struct {
	*served
	tokens *auth.Tokens
	hash   string
	shared int64
	gone   map[string]string // credentials that are revoked, by caller
}

func newCast(t *testing.T, s *served) *cast {
	t.Helper()
	hasher, err := auth.NewHasher(auth.Cost{Memory: 8, Passes: 1, Lanes: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := &cast{served: s, tokens: auth.NewTokens(s.keys, "atlas", "atlas", time.Now), gone: map[string]string{}}
	if c.hash, err = hasher.Hash(t.Context(), castPassword); err != nil {
		t.Fatal(err)
	}
	if c.shared, err = commands.NewHandler(s.node.store).SharedEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.revoke(t)
	return c
}

// act is one caller's part: who they are, and what they present.
type act struct {
	writes     []eventstore.Write
	credential string
}

func write(category string, id uuid.UUID, all ...events.Event) eventstore.Write {
	return eventstore.Write{Stream: eventstore.NewStream(category, id), Expect: eventstore.AnyVersion, Events: all}
}

// user adds somebody who signed in at that time, and returns their token.
func (c *cast) user(t *testing.T, a *act, id uuid.UUID, at time.Time, roles ...string) (session uuid.UUID, token string) {
	t.Helper()
	session = uuid.Must(uuid.NewV7())
	a.writes = append(a.writes,
		write("user", id, events.UserRegistered{UserID: id, Email: id.String() + "@example.com", Name: "Cast", PasswordHash: c.hash, Roles: roles}),
		write("session", session, events.SessionStarted{UserID: id, StartedAt: at.UTC(), Epoch: 1, Shared: c.shared}))
	issued, _, err := c.tokens.Issue(auth.Claims{User: id, Session: session, Epoch: 1, Shared: c.shared, Roles: roles, AuthTime: at})
	if err != nil {
		t.Fatal(err)
	}
	return session, issued.Reveal()
}

// key adds an API key; the nil UUID owns a service's.
func key(a *act, owner uuid.UUID, scopes ...string) (id uuid.UUID, text string) {
	id = uuid.Must(uuid.NewV7())
	secret := auth.NewAPIKey(id)
	var made events.Event = events.APIKeyCreated{OwnerID: owner, Name: "Key", Scopes: scopes, Hash: auth.HashAPIKey(secret)}
	if owner == uuid.Nil {
		made = events.ServiceKeyCreated{Name: "Key", Scopes: scopes, Hash: auth.HashAPIKey(secret)}
	}
	a.writes = append(a.writes, write("apikey", id, made))
	return id, secret.Reveal()
}

func (c *cast) append(t *testing.T, writes []eventstore.Write) (position int64) {
	t.Helper()
	ctx := eventstore.WithMetadata(t.Context(), eventstore.Metadata{Actor: uuid.New()})
	o, err := c.node.store.Append(ctx, writes...)
	if err != nil {
		t.Fatal(err)
	}
	return o.Position()
}

// revoke makes the credentials that are good no more, and waits until that is known.
func (c *cast) revoke(t *testing.T) {
	t.Helper()
	var a act
	user := uuid.Must(uuid.NewV7())
	session, token := c.user(t, &a, user, time.Now(), "user", "admin")
	id, secret := key(&a, user, c.api.Scopes()...)
	_, mistyped := key(&a, user, c.api.Scopes()...)
	c.append(t, a.writes)
	c.gone["revoked session"], c.gone["revoked key"], c.gone["mistyped key"] = token, secret, mistyped[:len(mistyped)-1]+"-"
	present := func(credential string) int {
		return c.do(t, "GET /v1/me", "", http.Header{"Authorization": {"Bearer " + credential}}).Status
	}
	if a, b := present(token), present(secret); a != 200 || b != 200 {
		t.Fatalf("before they are revoked the credentials are answered %d and %d", a, b)
	}
	c.append(t, []eventstore.Write{
		write("session", session, events.SessionEnded{UserID: user, Reason: "logout"}),
		write("apikey", id, events.APIKeyRevoked{OwnerID: user}),
	})
	watchtest.Eventually(t, 30*time.Second, "what was revoked is refused", func() bool { return present(token) == 401 && present(secret) == 401 })
}

// stage puts one caller and an owner into the log, and returns what the caller presents.
func (c *cast) stage(t *testing.T, op apitest.Operation, caller string, owner uuid.UUID) (a act) {
	t.Helper()
	now, longAgo := time.Now(), time.Now().Add(-time.Hour)
	someone := uuid.Must(uuid.NewV7())
	scopes := c.api.Scopes()
	if op.Access.Scope != "" {
		scopes = []string{op.Access.Scope}
	}
	signedIn := now
	if caller == "owner who signed in long ago" {
		signedIn = longAgo
	}
	_, owners := c.user(t, &a, owner, signedIn, "user")
	switch caller {
	case "nobody":
	case "owner", "owner who signed in long ago":
		a.credential = owners
	case "other user":
		_, a.credential = c.user(t, &a, someone, now, "user")
	case "admin":
		_, a.credential = c.user(t, &a, someone, now, "user", "admin")
	case "admin who signed in long ago":
		_, a.credential = c.user(t, &a, someone, longAgo, "user", "admin")
	case "owner's key without the scope":
		_, a.credential = key(&a, owner, slices.DeleteFunc(c.api.Scopes(), func(s string) bool { return s == op.Access.Scope })...)
	case "owner's key with the scope":
		_, a.credential = key(&a, owner, scopes...)
	case "admin's key with the scope":
		c.user(t, &a, someone, now, "user", "admin")
		_, a.credential = key(&a, someone, scopes...)
	case "service key with the scope":
		_, a.credential = key(&a, uuid.Nil, scopes...)
	default:
		a.credential = c.gone[caller]
	}
	return a
}

// call makes the call of one caller, on something of its own, so that no call sees what another did.
func (c *cast) call(t *testing.T, op apitest.Operation, caller string) apitest.Answer {
	t.Helper()
	owner := uuid.Must(uuid.NewV7())
	a := c.stage(t, op, caller, owner)
	path := op.Path
	if strings.HasPrefix(path, subscriptionPath) {
		path = c.subscription(t, op, a.credential)
	} else if end := strings.LastIndex(path, "}"); end >= 0 {
		named := path[:end+1]
		fixture, known := fixtures()[named]
		if !known {
			t.Fatalf("the matrix has no fixture for %s: add to fixtures what makes such a thing for its owner", named)
		}
		id, made := fixture(owner)
		if len(made.Events) > 0 {
			made.Expect = eventstore.AnyVersion
			a.writes = append(a.writes, made)
		}
		path = path[:strings.LastIndex(path, "{")] + id + path[end+1:]
	}
	header := http.Header{"Prefer": {"wait=30"}}
	if position := c.append(t, a.writes); slices.ContainsFunc(op.Parameters, func(p apitest.Parameter) bool { return p.Name == "Atlas-Min-Position" }) {
		header.Set("Atlas-Min-Position", fmt.Sprint(position))
	}
	if a.credential != "" {
		header.Set("Authorization", "Bearer "+a.credential)
	}
	body, given := bodies()[op.ID]
	if !given && op.Body != nil {
		body = text(operation{Operation: op, spec: c.spec}.example(op.Body))
	}
	if body != "" {
		header.Set("Content-Type", "application/json")
	}
	return c.do(t, op.Method+" "+path, body, header)
}

// subscriptionPath begins the paths of a subscription, which is in no stream.
const subscriptionPath = "/v1/subscriptions/{name}"

// subscription makes one that has a parked message, for who holds the credential if it is a key, and returns the
// operation's path on it. What an operation is to make is not there yet.
func (c *cast) subscription(t *testing.T, op apitest.Operation, credential string) (path string) {
	t.Helper()
	q := subscription.Queue{Definition: subscription.Definition{Name: "matrix-" + uuid.NewString(), Start: subscription.Now()}, Owner: uuid.New()}
	if key, err := auth.ParseAPIKey(credential); err == nil {
		q.Owner = key
	}
	if op.ID != "put-subscription" {
		const park = `
			INSERT INTO atlas.subscription_parked (subscription, position, slot, stream, version, event, type, attempts, error)
			VALUES ($1, 1, 0, 'user-' || gen_random_uuid(), 1, gen_random_uuid(), 'user.registered', 1, 'no use')`
		if _, err := subscription.New(c.node.pool, c.node.store, nil, c.node.log).CreateQueue(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if _, err := c.node.pool.Exec(t.Context(), park, q.Name); err != nil {
			t.Fatal(err)
		}
	}
	return strings.NewReplacer("{name}", q.Name, "{id}", "1").Replace(op.Path)
}

func codeOf(t *testing.T, a apitest.Answer) string {
	t.Helper()
	if a.Header.Get("Content-Type") != "application/problem+json" {
		return ""
	}
	var p struct{ Code string }
	a.Decode(t, &p)
	return p.Code
}

// TestEveryRouteAnswersEveryCallerAsItDeclares is the matrix.
func TestEveryRouteAnswersEveryCallerAsItDeclares(t *testing.T) {
	t.Parallel()
	s := serveApp(t)
	c := newCast(t, s)
	for _, op := range s.spec.Operations {
		t.Run(op.ID, func(t *testing.T) {
			var nobody string // what nobody is answered where anyone may call
			for _, caller := range callers {
				status, code := expected(op, caller)
				a := c.call(t, op, caller)
				got := codeOf(t, a)
				switch {
				case status == -1 && caller == "nobody":
					nobody = fmt.Sprint(a.Status, " ", got)
					if got == "unauthenticated" || got == "permission_denied" {
						t.Errorf("anyone may call it, and nobody is answered %s: %s", nobody, a.Body)
					}
				case status == -1:
					if was := fmt.Sprint(a.Status, " ", got); was != nobody {
						t.Errorf("%s: a credential that should not be looked at changes %s into %s", caller, nobody, was)
					}
				case status == 0 && (a.Status < 200 || a.Status > 299) && !slices.Contains(admitted()[op.ID], got):
					t.Errorf("%s may, and is answered %d %s (%s); the body that its schema makes may be the reason: see bodies, and admitted", caller, a.Status, got, a.Body)
				case status > 0 && (a.Status != status || got != code):
					t.Errorf("%s: got %d %q, want %d %q: %s", caller, a.Status, got, status, code, a.Body)
				}
				for _, undeclared := range s.spec.Check(op, a) {
					t.Errorf("%s: openapi.json: %s", caller, undeclared)
				}
			}
		})
	}
}

// TestTheMatrixNamesWhatIsServed holds that no fixture and no body is for something that is gone.
func TestTheMatrixNamesWhatIsServed(t *testing.T) {
	t.Parallel()
	s := serveApp(t)
	for _, path := range slices.Sorted(maps.Keys(fixtures())) {
		if !slices.ContainsFunc(s.spec.Operations, func(op apitest.Operation) bool { return strings.HasPrefix(op.Path, path) }) {
			t.Errorf("nothing is served at %s: take its fixture out", path)
		}
	}
	for id := range bodies() {
		if !slices.ContainsFunc(s.spec.Operations, func(op apitest.Operation) bool { return op.ID == id }) {
			t.Errorf("no operation is called %s: take its body out", id)
		}
	}
}
