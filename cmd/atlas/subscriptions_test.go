package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// TestOperatorsLookAfterSubscriptions uses the commands beside a server whose worker has sent a mail.
func TestOperatorsLookAfterSubscriptions(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	settings := []string{"ATLAS_DATA_DIR=" + dir}
	p := serve(t, settings...)
	signUp(t, p.url(), "ann@example.com")
	mails := func() int { return len(mailsIn(t, dir)) }
	watchtest.Eventually(t, patience, "the welcome mail is written", func() bool { return mails() == 1 })
	prints := func(what string, args ...string) {
		t.Helper()
		if o := atlas(t, settings, append([]string{"subscriptions"}, args...)...); o.code != 0 || !strings.Contains(o.stdout, what) {
			t.Errorf("%v: got %+v, want %q", args, o, what)
		}
	}
	prints("welcome", "list")
	prints("types: user.registered", "show", "welcome")
	prints("goes on after beginning", "reset", "welcome", "--to", "beginning")
	prints("goes on after now", "reset", "welcome", "--to", "now")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{2, "no subscription", []string{"reset", "nosuch", "--to", "now"}},
		{2, "beyond the end of the log", []string{"reset", "welcome", "--to", "99999999"}},
		{2, "no parked message", []string{"retry", "welcome", "--all"}},
		{2, "--position", []string{"discard", "welcome"}},
		{2, "beginning", []string{"reset", "welcome"}},
	} {
		atlas(t, settings, append([]string{"subscriptions"}, c.args...)...).wants(t, c.code, c.says)
	}
	if n := mails(); n != 1 {
		t.Errorf("%d mails were written, want 1: a reset sends none again", n)
	}
}

func mailsIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "mail", "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestOperatorsDealWithDeadLetters has a message of the welcome worker lie parked, as if its mail had been refused.
func TestOperatorsDealWithDeadLetters(t *testing.T) {
	t.Parallel()
	dir, url := dataDir(t), pgtest.NewDatabase(t)
	settings := []string{"ATLAS_DATA_DIR=" + dir, "ATLAS_DATABASE_URL=" + url, "ATLAS_DEV=1"}
	p := serve(t, settings...)
	signUp(t, p.url(), "ann@example.com")
	watchtest.Eventually(t, patience, "the welcome mail is written", func() bool { return len(mailsIn(t, dir)) == 1 })
	on := func(args ...string) outcome { return atlas(t, settings, append([]string{"subscriptions"}, args...)...) }
	position := park(t, url, "welcome", "503 try later")

	on("list").wantsOut(t, "PARKED", "welcome")
	on("show", "welcome").wantsOut(t, "1 messages parked", "HELD STREAM", "SLOTS")
	on("parked", "welcome").wantsOut(t, fmt.Sprint(position), "user.registered", "503 try later")
	for _, want := range []string{
		`parked_messages{subscription="welcome"} 1`, `lag_positions{subscription="welcome"} \d`, `lag_seconds{subscription="welcome"} \d`,
		`held_streams{subscription="welcome"} 0`, `failing_streams{subscription="welcome"} 0`, `paused{subscription="welcome"} 0`,
		`processes{subscription="welcome"} 1`, `in_hand{subscription="welcome"} 0`,
		`handler_seconds_count{outcome="done",subscription="welcome"} 1`, `handler_seconds_sum{outcome="done",subscription="welcome"} \d`,
	} {
		if got := metricsOf(t, p); !regexp.MustCompile(`(?m)^atlas_subscription_` + want).MatchString(got) {
			t.Errorf("the metrics lack atlas_subscription_%s", want)
		}
	}
	on("retry", "welcome", "--error", "no such").wants(t, 2, "no parked message")
	on("discard", "welcome", "--position", "1", "--all").wants(t, 2, "--position")
	on("retry", "welcome", "--error", "503").wantsOut(t, "1 to be tried again")
	watchtest.Eventually(t, patience, "the retry goes through", func() bool {
		return !strings.Contains(on("parked", "welcome").stdout, "503")
	})
	park(t, url, "welcome", "550 no such mailbox")
	on("discard", "welcome", "--position", fmt.Sprint(position)).wantsOut(t, "1 discarded")
	if o := on("parked", "welcome"); o.code != 0 || strings.Contains(o.stdout, "550") {
		t.Errorf("after it was discarded: %+v", o)
	}

	for _, mail := range mailsIn(t, dir) {
		if err := os.Remove(mail); err != nil {
			t.Fatal(err)
		}
	}
	on("reset", "welcome", "--to", "beginning", "--replay-effects").wantsOut(t, "goes on after beginning")
	watchtest.Eventually(t, patience, "with its effects replayed the mail is sent again", func() bool { return len(mailsIn(t, dir)) == 1 })
}

// park has the first user's registration lie parked for a worker.
func park(t *testing.T, url, worker, why string) (position int64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var name string
	const first = `SELECT position, stream FROM atlas.events WHERE type = 'user.registered' ORDER BY position LIMIT 1`
	if err := conn.QueryRow(t.Context(), first).Scan(&position, &name); err != nil {
		t.Fatal(err)
	}
	stream, err := eventstore.ParseStream(name)
	if err != nil {
		t.Fatal(err)
	}
	const letter = `
		INSERT INTO atlas.subscription_parked (subscription, slot, position, stream, version, event, type, attempts, error)
		SELECT $1, $2, position, stream, version, id, type, 15, $3 FROM atlas.events WHERE position = $4`
	mustExec(t, url, letter, worker, subscription.SlotOf(stream), why, position)
	return position
}
