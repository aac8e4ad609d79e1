package main_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/internal/natstest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// TestTheCommandsOfTheRelaysPageRun gives every command of docs/relay.md, in its order, beside a server that forwards.
func TestTheCommandsOfTheRelaysPageRun(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/relay.md")
	if err != nil {
		t.Fatal(err)
	}
	broker := natstest.Start(t)
	settings := []string{
		"ATLAS_DATABASE_URL=" + pgtest.NewDatabase(t), "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t), "ATLAS_NATS_URL=" + broker.URL(),
	}
	p := serve(t, settings...)
	signUp(t, p.url(), "ann@example.com")
	p.eventually(patience, "says what is missing", func() bool { return strings.Contains(p.stderr.String(), "run `atlas relay setup`") })
	ran := 0
	for line := range strings.Lines(string(page)) {
		command, is := strings.CutPrefix(line, "atlas relay ")
		if !is {
			continue
		}
		ran++
		command, _, _ = strings.Cut(command, "#")
		if o := atlas(t, settings, append([]string{"relay"}, strings.Fields(command)...)...); o.code != 0 {
			t.Errorf("atlas relay %s: exit %d: %s", command, o.code, o.stderr)
		}
	}
	if ran < 4 {
		t.Errorf("the page has %d commands", ran)
	}
	if got := nextMessage(t, broker.JetStream(), "atlas-users"); got.Subject() != "atlas.users.user.registered.v1" {
		t.Errorf("the first message is on %s", got.Subject())
	}
	relayIsWatched(t, p, settings)
	traceIsHandedOn(t, p, settings, broker.JetStream())
	atlas(t, settings, "relay", "setup", "--max-messages", "100").wants(t, 0) // there are fewer
	p.terminate()
	exits(t, p, 0)
}

// nextMessage is the first of a stream, as a consumer gets it.
func nextMessage(t *testing.T, js jetstream.JetStream, stream string) jetstream.Msg {
	t.Helper()
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// traceIsHandedOn follows a request's trace through its command's event to a worker on the log, and through the outbox to a
// consumer at NATS, with the correlation of the two.
func traceIsHandedOn(t *testing.T, p *process, settings []string, js jetstream.JetStream) {
	t.Helper()
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	admin := createAdmin(t, p, settings, "admin@example.com")
	_, key := newServiceKey(t, admin, "subscriptions:use")
	worker := admin.withKey(key)
	worker.must(t, http.StatusOK, "PUT", "/v1/subscriptions/search", map[string]any{"types": []string{"document.created"}})
	admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."}, "Traceparent", trace)
	var leased struct {
		Messages []struct {
			Event struct {
				ID       string
				Metadata struct {
					Traceparent   string
					CorrelationID string `json:"correlation_id"`
				}
			}
		}
	}
	into(t, &leased, worker.must(t, http.StatusOK, "POST", "/v1/subscriptions/search/lease", map[string]int{"messages": 1, "wait_seconds": 20}))
	if len(leased.Messages) != 1 {
		t.Fatalf("leased %+v, want the new document", leased)
	}
	e := leased.Messages[0].Event
	if e.Metadata.Traceparent != trace || e.Metadata.CorrelationID == "" {
		t.Errorf("the worker gets %+v, want the trace %s and a correlation", e, trace)
	}
	got := nextMessage(t, js, "atlas-documents").Headers()
	if got.Get("traceparent") != trace || got.Get("correlation_id") != e.Metadata.CorrelationID || got.Get("event_id") != e.ID {
		t.Errorf("the consumer gets %v, want the trace, correlation and event of %+v", got, e)
	}
}

// relayIsWatched looks where operators look.
func relayIsWatched(t *testing.T, p *process, settings []string) {
	t.Helper()
	type topic struct {
		Topic, Holder, Error string
		Offset, Lag          int64
		Broker               *struct {
			LastID string `json:"last_id"`
		}
	}
	var users topic
	watchtest.Eventually(t, patience, "the status says that all is forwarded", func() bool {
		for line := range strings.Lines(atlas(t, settings, "relay", "status", "--json").stdout) {
			var one topic
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				t.Fatal(err)
			}
			if one.Topic == "users" {
				users = one
			}
		}
		return users.Offset > 0 && users.Lag == 0
	})
	if users.Holder == "" || users.Error != "" || users.Broker == nil || users.Broker.LastID == "" {
		t.Errorf("got %+v", users)
	}
	answer, err := http.Get(p.opsURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`atlas_relay_lag_messages{topic="users"} 0`, `atlas_relay_lag_seconds{topic="users"} 0`, `atlas_relay_stuck{topic="users"} 0`,
		`atlas_relay_held{topic="users"} 1`, `atlas_relay_connected 1`, `atlas_relay_forwarded_total{topic="users"} `,
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("the metrics do not say %s", line)
		}
	}
}

// TestARefusalByNATSHarmsNothingElse has a wrong password: it is said once, without the password, and all else goes on.
func TestARefusalByNATSHarmsNothingElse(t *testing.T) {
	t.Parallel()
	const secret, refusal = "zz-swordfish-zz", "nats refuses the credentials of ATLAS_NATS_URL"
	broker := natstest.Start(t, func(o *server.Options) { o.Username, o.Password = "relay", "right" })
	at, err := url.Parse(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	at.User = url.UserPassword("relay", secret)
	settings := []string{
		"ATLAS_DATABASE_URL=" + pgtest.NewDatabase(t), "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t), "ATLAS_NATS_URL=" + at.String(),
	}
	p := serve(t, settings...)
	p.eventually(patience, "says that it is refused", func() bool { return strings.Contains(p.stderr.String(), refusal) })
	refused := time.Now()
	signUp(t, p.url(), "ann@example.com")
	setup, status := atlas(t, settings, "relay", "setup"), atlas(t, settings, "relay", "status")
	setup.wants(t, 1, refusal)
	status.wants(t, 0)
	if !strings.Contains(status.stdout, refusal) {
		t.Errorf("the status does not tell: %s", status.stdout)
	}
	p.eventually(patience, "has tried more than once", func() bool { return time.Since(refused) > 2*time.Second })
	if n := strings.Count(p.stderr.String(), refusal); n != 1 {
		t.Errorf("it is said %d times, want once", n)
	}
	for _, text := range []string{p.stderr.String(), setup.stderr, status.stdout, status.stderr} {
		if strings.Contains(text, secret) || strings.Contains(text, "swordfish") {
			t.Errorf("the password is in %s", text)
		}
	}
}

func TestARelayNeedsToKnowWhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings, args []string
		says           string
	}{
		{[]string{"ATLAS_ROLES=relay"}, []string{"serve"}, "ATLAS_NATS_URL"},
		{nil, []string{"relay", "setup"}, "ATLAS_NATS_URL"},
		{nil, []string{"relay", "setup", "--replicas", "0"}, "replicas"},
		{nil, []string{"relay", "everything"}, "everything"},
	} {
		atlas(t, c.settings, c.args...).wants(t, 2, c.says)
	}
	o := atlas(t, []string{"ATLAS_NATS_URL=nats://127.0.0.1:1"}, "relay", "setup")
	o.wants(t, 1, "nats is away")
}
