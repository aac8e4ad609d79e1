package foldtest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

var (
	ann  = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")
	bob  = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000002")
	plan = uuid.MustParse("0197f2f0-7c00-7000-8000-00000000000a")
	menu = uuid.MustParse("0197f2f0-7c00-7000-8000-00000000000b")
)

func created(owner uuid.UUID, title string, tags ...string) events.DocumentCreated {
	return events.DocumentCreated{OwnerID: owner, Title: title, ContentType: "text/plain", Tags: tags}
}

func revised(owner uuid.UUID, title string, tags ...string) events.DocumentRevised {
	return events.DocumentRevised{OwnerID: owner, Title: title, ContentType: "text/plain", Tags: tags}
}

// Page is a row with child rows.
type Page struct {
	ID       uuid.UUID  `json:"id" row:"key"`
	OwnerID  uuid.UUID  `json:"owner_id" row:"subject"`
	Titles   []Title    `json:"titles"`
	Archived *time.Time `json:"archived"`
}

// Title is one of a page's, past ones included.
type Title struct {
	Text string   `json:"text"`
	Tags []string `json:"tags"`
}

// pages keeps one row per document.
func pages() *engine.View[Page] {
	return engine.Define[Page]("pages", 1, "",
		engine.Create(func(p *Page, e engine.Recorded[events.DocumentCreated]) {
			p.OwnerID, p.Titles = e.Event.OwnerID, append(p.Titles, Title{e.Event.Title, e.Event.Tags})
		}),
		engine.Change(func(p *Page, e engine.Recorded[events.DocumentRevised]) {
			p.Titles = append(p.Titles, Title{e.Event.Title, e.Event.Tags})
		}),
		engine.Change(func(p *Page, e engine.Recorded[events.DocumentArchived]) {
			at := e.At
			p.Archived = &at
		}),
		engine.Delete[events.DocumentDeleted](),
	)
}

func TestRowsWithChildRowsAreThoseOfTheirEvents(t *testing.T) {
	t.Parallel()
	at := At(4)
	Of(t, pages()).
		Given(plan, created(ann, "Plan", "b", "a"), revised(ann, "Plan B")).
		Given(menu, created(bob, "Menu")).
		Given(plan, events.DocumentArchived{OwnerID: ann}).
		Then(
			Page{ID: menu, OwnerID: bob, Titles: []Title{{Text: "Menu"}}},
			Page{ID: plan, OwnerID: ann, Titles: []Title{{"Plan", []string{"b", "a"}}, {Text: "Plan B"}}, Archived: &at},
		)
}

func TestADeletedRowIsGoneWhateverFollows(t *testing.T) {
	t.Parallel()
	deleted := Of(t, pages()).Given(plan, created(ann, "Plan"), events.DocumentDeleted{OwnerID: ann})
	deleted.ThenNothing()
	deleted.Given(plan, revised(ann, "late")).ThenNothing()
	deleted.Given(plan, created(ann, "again")).Then(Page{ID: plan, OwnerID: ann, Titles: []Title{{Text: "again"}}})
}

func TestRowsOfTheForgottenGoAndDoNotComeBack(t *testing.T) {
	t.Parallel()
	Of(t, pages()).
		Given(plan, created(ann, "Plan")).Given(menu, created(bob, "Menu")).
		Forgotten(ann).
		Given(plan, revised(ann, "late")).
		Then(Page{ID: menu, OwnerID: bob, Titles: []Title{{Text: "Menu"}}})
}

// Label is a row that a tag of an owner's makes, with a row for all of them beside it.
type Label struct {
	OwnerID uuid.UUID `json:"owner_id" row:"key,subject"`
	Name    string    `json:"name" row:"key"`
	Uses    int       `json:"uses"`
}

func TestAnEventMayTouchSeveralRows(t *testing.T) {
	t.Parallel()
	labels := engine.Define[Label]("labels", 1, "",
		engine.On(func(l *Label, _ engine.Recorded[events.DocumentCreated]) { l.Uses++ }),
	).KeyedBy(func(r *eventstore.Recorded) []Label {
		e, err := r.Event()
		if err != nil {
			panic(err)
		}
		keys := []Label{{OwnerID: r.Subject, Name: "*"}}
		for _, tag := range e.(events.DocumentCreated).Tags {
			keys = append(keys, Label{OwnerID: r.Subject, Name: tag})
		}
		return keys
	})
	Of(t, labels).
		Given(plan, created(ann, "Plan", "q4", "work")).Given(menu, created(ann, "Menu", "work")).Given(uuid.New(), created(bob, "Map", "work")).
		Then(Label{ann, "*", 2}, Label{ann, "q4", 1}, Label{ann, "work", 2}, Label{bob, "*", 1}, Label{bob, "work", 1})
}

func TestSecretsReadAsZeroAsTheyDoForEveryFold(t *testing.T) {
	t.Parallel()
	type account struct {
		ID   uuid.UUID `json:"id" row:"key,subject"`
		Name string    `json:"name"`
		Hash string    `json:"hash"`
	}
	accounts := engine.Define[account]("accounts", 1, "",
		engine.Create(func(a *account, e engine.Recorded[events.UserRegistered]) {
			a.Name, a.Hash = e.Event.Name, e.Event.PasswordHash
		}))
	Of(t, accounts).
		Given(ann, events.UserRegistered{UserID: ann, Name: "Ann", PasswordHash: "$argon2id$…"}).
		Then(account{ID: ann, Name: "Ann"})
}

func TestRowsThatAreNotThoseOfTheEventsAreRefused(t *testing.T) {
	t.Parallel()
	c := Of(t, pages()).Given(plan, created(ann, "Plan"))
	right := Page{ID: plan, OwnerID: ann, Titles: []Title{{Text: "Plan"}}}
	for want, rows := range map[string][]Page{
		"-":               {right, {ID: menu}},
		"+":               nil,
		`"Plan B"`:        {{ID: plan, OwnerID: ann, Titles: []Title{{Text: "Plan B"}}}},
		"two of the rows": {right, right},
	} {
		if err := c.Check(rows...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to tell %q", err, want)
		}
	}
	if err := Of(t, pages()).Check(); err == nil {
		t.Error("a claim without events is accepted")
	}
}
