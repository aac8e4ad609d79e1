package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// outboxStatus is what `atlas outbox status --json` prints.
type outboxStatus struct {
	Topics []struct {
		Topic         string
		Messages      int
		OldestSeconds float64 `json:"oldest_seconds"`
		Groups        []struct {
			Group      string
			Lag        int
			LagSeconds *float64 `json:"lag_seconds"`
			Abandoned  *string  `json:"abandoned_at"`
		}
	}
}

// TestOperatorsLookAfterTheOutbox uses the commands and the metrics beside a server whose outbox holds messages.
func TestOperatorsLookAfterTheOutbox(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	settings := []string{"ATLAS_DATA_DIR=" + dataDir(t), "ATLAS_DATABASE_URL=" + url, "ATLAS_DEV=1"}
	p := serve(t, settings...)
	signUp(t, p.url(), "ann@example.com")
	status := func() (s outboxStatus) {
		o := atlas(t, settings, "outbox", "status", "--json")
		if err := json.Unmarshal([]byte(o.stdout), &s); err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		return s
	}
	watchtest.Eventually(t, patience, "a message of a user is there", func() bool {
		s := status()
		return len(s.Topics) == 2 && s.Topics[1].Topic == "users" && s.Topics[1].Messages > 0
	})
	mustExec(t, url, `INSERT INTO outbox.users_offsets (consumer_group, offset_acked, last_processed_transaction_id) VALUES ('audit', 0, '0')`)
	users := status().Topics[1]
	if len(users.Groups) != 1 || users.Groups[0].Group != "audit" || users.Groups[0].Lag != users.Messages || users.Groups[0].LagSeconds == nil {
		t.Errorf("got %+v, want the group audit with all to read", users)
	}
	if o := atlas(t, settings, "outbox", "status"); o.code != 0 || !strings.Contains(o.stdout, "audit") || !strings.Contains(o.stdout, "documents") {
		t.Errorf("status: got %+v", o)
	}
	for _, want := range []string{`atlas_outbox_group_lag_messages{group="audit",topic="users"} `, `atlas_outbox_topic_messages{topic="users"} `, "atlas_outbox_topic_pruned_total"} {
		if got := metricsOf(t, p); !strings.Contains(got, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	atlas(t, settings, "outbox", "drop-group", "users", "audit").wantsOut(t, "is gone")
	atlas(t, settings, "outbox", "drop-group", "users", "audit").wants(t, 2, "no consumer group")
	atlas(t, settings, "outbox", "drop-group", "nosuch", "audit").wants(t, 2, "documents, users")
	atlas(t, settings, "outbox", "drop-group", "users").wants(t, 2)
	atlas(t, settings, "outbox", "backfill", "users", "--from", "start").wantsOut(t, "came again in their place")
	mustExec(t, url, `DELETE FROM outbox.users`)
	atlas(t, settings, "outbox", "backfill", "users", "--from", "0", "--contract", "user.registered.v1").wantsOut(t, "users: 1 messages written")
	atlas(t, settings, "outbox", "backfill", "users", "--from", "then").wants(t, 2, "--from")
	atlas(t, settings, "outbox", "backfill", "users").wants(t, 2, "--from")
	atlas(t, settings, "outbox", "backfill", "users", "--from", "start", "--contract", "nosuch.v1").wants(t, 2, "no such contract")
	atlas(t, settings, "outbox", "backfill", "users", "--from", "1000000").wants(t, 2, "come to")
	atlas(t, settings, "outbox", "backfill", "users", "--cancel").wants(t, 2, "no backfill of the topic is running")
	atlas(t, settings, "outbox", "restored").wantsOut(t, "offsets rewritten")
	atlas(t, settings, "outbox", "contracts").wantsOut(t, "document.created.v1")
	atlas(t, settings, "outbox", "contracts", "user.registered.v1").wantsOut(t, `"$id": "urn:atlas:contract:user.registered.v1"`)
	atlas(t, settings, "outbox", "contracts", "nosuch.v1").wants(t, 2, "nosuch.v1")
}

// wantsOut checks that a command succeeded and printed the words.
func (o outcome) wantsOut(t testing.TB, words ...string) {
	t.Helper()
	for _, word := range words {
		if o.code != 0 || !strings.Contains(o.stdout, word) {
			t.Errorf("got %+v, want exit 0 and %q", o, word)
		}
	}
}

// metricsOf returns the metrics of a process.
func metricsOf(t *testing.T, p *process) string {
	t.Helper()
	response, err := http.Get(p.opsURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func mustExec(t *testing.T, url, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}
