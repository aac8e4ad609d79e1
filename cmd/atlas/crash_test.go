package main_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestAKilledAtlasLosesNothing(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	settings := []string{"ATLAS_DATA_DIR=" + dir}
	survive(t, dir, serve(t, settings...), func(p *process) *process {
		p.kill()
		return serve(t, settings...)
	})
}

// The server is killed three times in a row, the last two as it comes back.
func TestAKilledPostgreSQLLosesNothing(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	survive(t, dir, serve(t, "ATLAS_DATA_DIR="+dir), func(p *process) *process {
		for range 3 {
			pid := killServer(t, dir)
			p.eventually(patience, "has started another server", func() bool {
				next := postmaster(dir)
				return next != pid && slices.Contains(serverProcesses(dir), next)
			})
		}
		killed := time.Now()
		p.awaitLog("postgres restarted")
		p.awaitReady(30*time.Second - time.Since(killed))
		return p
	})
}

// survive lets a disaster happen in the middle of a burst, and holds that nothing came of it: the disaster returns the
// process that serves afterwards.
func survive(t *testing.T, dir string, p *process, disaster func(*process) *process) {
	users := []*client{signUp(t, p.url(), "ann@example.com"), signUp(t, p.url(), "bob@example.com")}
	b := newBurst(users)
	b.base.Store(p.url())
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*patience, errors.New("the burst takes too long"))
	defer cancel()
	fed := b.feed(ctx, t, createAdmin(t, p, []string{"ATLAS_DATA_DIR=" + dir}, "root@example.com"))
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- b.run(ctx, users) }()
	select {
	case <-b.reached:
	case err := <-done:
		t.Fatal(err)
	}
	struck := time.Now()
	p = disaster(p)
	t.Logf("struck after %d answers in %s, ready again after %s", b.turn, struck.Sub(began), time.Since(struck))
	b.base.Store(p.url())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes in %s, %d of them more than once", burstWrites, time.Since(began), b.repeated())

	db := database(t, dir)
	b.checkRetries(t, users)
	b.checkLog(t, db)
	b.checkReads(t, users)
	fed(db)
	checkOutbox(t, db)
	checkRebuilds(t, db, []string{"ATLAS_DATA_DIR=" + dir})
	t.Logf("checked after %s", time.Since(began))
}

// feed follows the burst with two feeds, one of which sees what is personal. What it returns waits for them, and holds that
// each brought every event of the log once and in order.
func (b *burst) feed(ctx context.Context, t *testing.T, admin *client) (check func(*pgxpool.Pool)) {
	t.Helper()
	type fed struct {
		got  []int64
		ends int
		err  error
	}
	feeds := make(chan fed, 2)
	for _, scopes := range [][]string{{"events:read"}, {"events:read", "unseal"}} {
		_, key := newServiceKey(t, admin, scopes...)
		go func() {
			base := func() string { return b.base.Load().(string) }
			got, ends, err := follow(ctx, base, "?category=document&after=start", key, burstWrites)
			feeds <- fed{got, ends, err}
		}()
	}
	return func(db *pgxpool.Pool) {
		t.Helper()
		want := column[int64](t, db, `SELECT position FROM atlas.events WHERE stream LIKE 'document-%' ORDER BY position`)
		for range cap(feeds) {
			f := <-feeds
			if diff := cmp.Diff(want, f.got); diff != "" || f.err != nil {
				t.Errorf("a feed is not what the log has: %v (-log +feed):\n%.4000s", f.err, diff)
			}
			t.Logf("a feed was ended %d times", f.ends)
		}
	}
}

// checkRebuilds holds that every read table equals one that is built anew from the log.
func checkRebuilds(t *testing.T, db *pgxpool.Pool, settings []string) {
	t.Helper()
	awaitProjections(t, db)
	before := dump(t, db, "read")
	if len(before["read.documents_v1"]) == 0 {
		t.Error("read.documents_v1 is empty")
	}
	for _, name := range projectionNames(t, settings) {
		if name == "outbox" {
			continue // its messages were handed on
		}
		if o := atlas(t, settings, "projections", "rebuild", name); o.code != 0 {
			t.Errorf("rebuild %s: exit %d: %s", name, o.code, o.stderr)
		}
	}
	awaitProjections(t, db)
	if diff := cmp.Diff(dump(t, db, "read"), before); diff != "" {
		t.Errorf("read tables differ from a rebuild (-rebuilt +before):\n%.4000s", diff)
	}
}

// checkOutbox holds that the outbox has one message for every event of its topics, in the order of the log.
func checkOutbox(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	awaitProjections(t, db)
	for topic, types := range map[string]string{"users": "user.%", "documents": "document.%"} {
		want := column[string](t, db, `SELECT position || ' ' || type || '.v1' FROM atlas.events WHERE type LIKE $1 ORDER BY position`, types)
		got := column[string](t, db, `SELECT concat(metadata->>'position', ' ', metadata->>'contract') FROM outbox.`+topic+` ORDER BY "offset"`)
		if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
			t.Errorf("topic %s is not what the log has (-log +topic):\n%.4000s", topic, diff)
		}
		if n := column[int](t, db, `SELECT count(DISTINCT uuid) FROM outbox.`+topic)[0]; n != len(got) {
			t.Errorf("topic %s has %d messages with %d ids", topic, len(got), n)
		}
	}
}
