package relay

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/internal/natstest"
)

func TestSetupMakesChangesAndKeeps(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	day, million := 24*time.Hour, int64(1_000_000)
	for _, step := range []struct {
		wish Wish
		want Done
	}{{Wish{}, Made}, {Wish{}, Kept}, {Wish{MaxAge: &day, MaxMsgs: &million}, Changed}, {Wish{MaxAge: &day}, Kept}, {Wish{}, Kept}} {
		if got, err := Setup(t.Context(), js, "atlas", topic, step.wish); err != nil || got != step.want {
			t.Errorf("got %q (%v), want %q", got, err, step.want)
		}
	}
	three := 3
	for _, topic := range []string{topic, "others"} {
		if _, err := Setup(t.Context(), js, "atlas", topic, Wish{Replicas: &three}); !errors.Is(err, ErrNoCluster) {
			t.Errorf("three replicas of %s on one server: got %v, want ErrNoCluster", topic, err)
		}
	}
	got := natstest.Stream(t, js, "atlas-users").CachedInfo().Config
	want := jetstream.StreamConfig{
		Name: "atlas-users", Subjects: []string{"atlas.users.>"}, Description: got.Description, Metadata: got.Metadata,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: 1,
		MaxAge: day, MaxMsgs: million, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxConsumers: -1, MaxMsgSize: -1, Duplicates: 2 * time.Minute,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
}

func TestSetupRefusesLimitsThatWouldDropMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(shortWindow())
	w.write(20)
	w.relay()
	w.awaitAll()
	few, small, short := int64(10), int64(100), 150*time.Millisecond
	before := w.stream().CachedInfo().Config
	for text, wish := range map[string]Wish{"20 messages": {MaxMsgs: &few}, "bytes": {MaxBytes: &small}, "oldest": {MaxAge: &short}} {
		_, err := Setup(t.Context(), w.js, "atlas", topic, wish)
		if !errors.Is(err, ErrWouldLose) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v, want a refusal that names it", text, err)
		}
	}
	if diff := cmp.Diff(before, w.stream().CachedInfo().Config); diff != "" {
		t.Errorf("a refusal changed the stream:\n%s", diff)
	}
}

// TestAnUnfitStreamIsRefusedAndNotTouched is about streams of the right name that somebody else made.
func TestAnUnfitStreamIsRefusedAndNotTouched(t *testing.T) {
	t.Parallel()
	good := users.config(DefaultLimits())
	for text, change := range map[string]func(*jetstream.StreamConfig){
		"subjects": func(c *jetstream.StreamConfig) { c.Subjects = []string{"other.>"} },
		"oldest":   func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"memory":   func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"some":     func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 },
		"copies": func(c *jetstream.StreamConfig) {
			c.Subjects, c.Mirror = nil, &jetstream.StreamSource{Name: "origin"}
		},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			js := natstest.Start(t).JetStream()
			c := good
			change(&c)
			if _, err := js.CreateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			before := natstest.Stream(t, js, c.Name).CachedInfo().Config
			_, err := Setup(t.Context(), js, "atlas", topic, Wish{})
			if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), text) {
				t.Errorf("got %v, want a refusal that says %q", err, text)
			}
			if diff := cmp.Diff(before, natstest.Stream(t, js, c.Name).CachedInfo().Config); diff != "" {
				t.Errorf("a refusal changed the stream:\n%s", diff)
			}
		})
	}
}

func TestARelayRefusesAnUnfitStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := users.config(DefaultLimits())
	c.Discard = jetstream.DiscardOld
	if _, err := w.js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.write(1)
	w.relay()
	w.awaitError(ErrUnfit)
	if n := len(consume(t, w.js)); n != 0 {
		t.Errorf("the stream got %d messages", n)
	}
}

// TestSubjectsThatBelongToAnotherStreamAreNotTaken has the topic's subjects caught by a stream of another name.
func TestSubjectsThatBelongToAnotherStreamAreNotTaken(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	c := users.config(DefaultLimits())
	c.Name, c.Subjects = "everything", []string{"atlas.>"}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := Setup(t.Context(), js, "atlas", topic, Wish{}); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("got %v, want that the subjects overlap", err)
	}
}

func TestLimitsAreCheckedTogether(t *testing.T) {
	t.Parallel()
	none, minus, hour := 0, int64(-1), time.Hour
	short := time.Minute
	err := Wish{Replicas: &none, MaxBytes: &minus, MaxAge: &short, Duplicates: &hour}.Check()
	for _, part := range []string{"replicas", "below 0", "longer than messages stay"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want it to name %q", err, part)
		}
	}
	if err := (Wish{}).Check(); err != nil {
		t.Error(err)
	}
}

func TestURLsAreCheckedAndNeverRepeated(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"nats://127.0.0.1:4222", "tls://user:pa%2Fss@nats.example.com:4222", "nats://token@a:4222,nats://token@b:4222", "nats://[::1]:4222", "wss://a",
	} {
		if err := CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{
		"", "secret", "http://user:secret@a:1", "nats://", "nats://user:sec/ret@a:1", "nats://user:secret@a:4222/path", "nats://a:4222,", "nats://a b:secret",
		"nats://user:secret@a:port", "nats://user:secret@a:4222?tls=secret",
	} {
		if err := CheckURL(url); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "ret@") {
			t.Errorf("%s: got %v, want an error without it", url, err)
		}
	}
	for _, p := range []string{"", "a.b", "a b", "*", ">", strings.Repeat("a", 65)} {
		if CheckPrefix(p) == nil {
			t.Errorf("prefix %q passes", p)
		}
	}
}

// as is a server for one of its users.
type as struct {
	*natstest.Server
	user string
}

func (a as) URL() string {
	return strings.Replace(a.Server.URL(), "nats://", "nats://"+a.user+":"+a.user+"@", 1)
}

func (a as) JetStream() jetstream.JetStream { return natstest.Connect(a.T(), a.URL()) }

// TestThePermissionsOfThePageSuffice gives a relay what docs/relay.md says it needs, and somebody who sets up what that takes.
func TestThePermissionsOfThePageSuffice(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/relay.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "The user needs to publish to")
	text, _, _ = strings.Cut(text, "Nobody else should")
	relaying, settingUp, found := strings.Cut(text, "for `setup` also")
	if !found {
		t.Fatalf("the page does not say what is needed: %q", text)
	}
	publish, subscribe, _ := strings.Cut(relaying, "subscribe to")
	quoted := regexp.MustCompile("`([^`]+)`")
	subjects := func(text string) (all []string) {
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		return all
	}
	user := func(name string, publish []string) *server.User {
		return &server.User{Username: name, Password: name, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subjects(subscribe)},
		}}
	}
	s := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{
			user("relay", subjects(publish)), user("setup", append(subjects(publish), subjects(settingUp)...)), {Username: "all", Password: "all"},
		}
	})
	w := newWorldWith(t, as{s, "relay"})
	w.js = as{s, "setup"}.JetStream()
	few := int64(5)
	w.setUp(Wish{})
	w.setUp(Wish{MaxMsgs: &few})
	w.write(5)
	stop := w.relay()
	w.awaitAll()
	stop()
	w.forget(2)
	w.relay()
	w.awaitAll()
	w.js = as{s, "all"}.JetStream()
	w.wantEachOnceInOrder()
}
