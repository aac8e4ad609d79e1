package readapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore/wire"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/readapi/feed"
	"github.com/atlas-platform/atlas/readapi/feed/feedtest"
)

// withFeeds serves an Atlas whose feeds are as configured.
func withFeeds(t *testing.T, c feed.Config) *apptest.Atlas {
	t.Helper()
	return apptest.With(t, apptest.Options{Limits: apptest.Unlimited, Feeds: c})
}

// TestAFeedGoesOnExactlyBehindTheLastID hangs up again and again, in the middle of whatever comes, while eight writers
// write.
func TestAFeedGoesOnExactlyBehindTheLastID(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 40
	a := withFeeds(t, feed.Config{})
	_, key := a.ServiceKey(t, "events:read")
	start := readEvents(t, a, key, "?after=now").Resume
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range each {
				a.Append(t, "document", uuid.New(), plan, archived)
			}
		})
	}
	var got []int64
	for lastID, hangUps := start, 0; len(got) < 2*writers*each; hangUps++ {
		r, err := feedtest.Open(t.Context(), a.URL, "?after=start", key, lastID) // the header goes before after
		if err != nil {
			t.Fatal(err)
		}
		for n := range 1 + hangUps%17*3 {
			if n == 1 && hangUps%3 == 0 {
				break
			}
			if len(got) == 2*writers*each {
				break
			}
			got = append(got, r.Take(t, 1)[0].Position)
		}
		lastID = r.LastID
		r.Close()
	}
	writing.Wait()
	after, _ := strconv.ParseInt(start[strings.Index(start, "-")+1:], 10, 64)
	want := slices.DeleteFunc(positions(everything(t, a)), func(p int64) bool { return p <= after })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-log +feed):\n%s", diff)
	}
	// In one go, page after full page.
	whole := feedtest.MustOpen(t, a.URL, "", key, start)
	if diff := cmp.Diff(want, feedtest.Positions(whole.Take(t, len(want)))); diff != "" {
		t.Errorf("in one go (-log +feed):\n%s", diff)
	}
}

// TestAFeedGoesOnWhenItsDatabaseConnectionsAreLost ends all of them, again and again, between what is written.
func TestAFeedGoesOnWhenItsDatabaseConnectionsAreLost(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{})
	_, key := a.ServiceKey(t, "events:read")
	r := feedtest.MustOpen(t, a.URL, "?category=document", key, "")
	const lose = `
		SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`
	for range 3 {
		id := uuid.New()
		a.Append(t, "document", id, plan, archived) // next to each other, the first next to where the feed reads on
		for n, e := range r.Take(t, 2) {
			if e.Stream != "document-"+id.String() || e.Version != int64(n+1) {
				t.Fatalf("got version %d of %s, want %d of %s", e.Version, e.Stream, n+1, id)
			}
		}
		var lost int
		if err := a.Pool.QueryRow(t.Context(), lose).Scan(&lost); err != nil || lost == 0 {
			t.Fatalf("%d connections lost, %v", lost, err)
		}
		watchtest.Eventually(t, time.Minute, "the log can be read again", func() bool {
			_, err := a.Store.Newest(t.Context())
			return err == nil
		})
	}
}

func TestAFeedIsAnAnswerThatProxiesLeaveAlone(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{Heartbeat: 20 * time.Millisecond})
	_, key := a.ServiceKey(t, "events:read")
	r := feedtest.MustOpen(t, a.URL, "", key, "")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Encoding": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	said := map[string]bool{}
	for !said["comment"] || !said["retry"] || !said["id"] {
		m, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		said["comment"], said["retry"], said["id"] = said["comment"] || m.Comment, said["retry"] || m.Retry != "", said["id"] || m.ID != ""
	}
	a.Append(t, "document", uuid.New(), plan)
	if e := r.Take(t, 1)[0]; e.Type != "document.created" || e.Sealed != wire.Withheld {
		t.Errorf("got %+v", e)
	}
	head := a.Do(t, apptest.Scenario{Call: "HEAD /v1/events", Token: key, Status: 200, Headers: header("Accept", "text/event-stream")})
	if head.Header.Get("Content-Type") != "text/event-stream" || head.Body != "" {
		t.Errorf("HEAD: got %v %q", head.Header, head.Body)
	}
}

// TestAFilterThatChoosesNothingComesForwardAllTheSame has 2,000 events that are not for a feed go by, some before it is
// opened and some after, and holds that its last id goes along, so that nobody looks at them again.
func TestAFilterThatChoosesNothingComesForwardAllTheSame(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{Heartbeat: 50 * time.Millisecond})
	_, key := a.ServiceKey(t, "events:read")
	pass := func() (last int64) {
		t.Helper()
		for range 2 {
			a.Append(t, "document", uuid.New(), slices.Repeat(given(plan), 500)...)
		}
		all := everything(t, a)
		return all[len(all)-1].Position
	}
	pass()
	r := feedtest.MustOpen(t, a.URL, "?after=start&type=document.deleted", key, "")
	last := pass()
	for !strings.HasSuffix(r.LastID, fmt.Sprintf("-%d", last)) {
		m, err := r.Next()
		if err != nil || m.Data != "" {
			t.Fatalf("got %+v %v, want nothing but ids", m, err)
		}
	}
	gone := uuid.New()
	a.Append(t, "document", gone, plan, deleted)
	again := feedtest.MustOpen(t, a.URL, "?type=document.deleted", key, r.LastID)
	for who, r := range map[string]*feedtest.Reader{"the feed": r, "the one behind its last id": again} {
		if e := r.Take(t, 1)[0]; e.Stream != "document-"+gone.String() {
			t.Errorf("%s: got %+v", who, e)
		}
	}
}

// tooMany documents of large are more than a connection takes whose reader does not read: 10 MiB.
const tooMany = 40

// large is a document of a quarter of a mebibyte.
func large() events.Event {
	return events.DocumentCreated{OwnerID: ann, Title: "Large", Body: strings.Repeat("x", 1<<18), ContentType: "text/plain"}
}

// TestASlowReaderIsDroppedAndGoesOnWhileOthersDo has one reader read nothing, until it was dropped for that.
func TestASlowReaderIsDroppedAndGoesOnWhileOthersDo(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{Patience: 3 * time.Second})
	_, key := a.ServiceKey(t, "events:read", "unseal")
	slow := feedtest.MustOpen(t, a.URL, "", key, "")
	if m, err := slow.Next(); err != nil || m.Retry == "" {
		t.Fatalf("got %+v %v", m, err)
	}
	fast, want := feedtest.MustOpen(t, a.URL, "", key, ""), []int64{}
	var reading sync.WaitGroup
	reading.Go(func() {
		for len(want) < tooMany {
			e, err := fast.NextEvent()
			if err != nil {
				t.Errorf("the fast reader, after %d events: %v", len(want), err)
				return
			}
			want = append(want, e.Position)
		}
	})
	for range tooMany {
		a.Append(t, "document", uuid.New(), large())
	}
	reading.Wait()
	watchtest.Eventually(t, time.Minute, "the slow reader is dropped, and it alone", func() bool {
		s := a.Feeds.Stats()
		return s.Dropped == 1 && s.Open == 1
	})
	var got []int64
	for {
		e, err := slow.NextEvent()
		if err != nil {
			break // what was under way is read; then the connection is cut, without an end
		}
		got = append(got, e.Position)
	}
	if len(got) >= tooMany {
		t.Fatalf("the slow reader got all %d events", len(got))
	}
	again := feedtest.MustOpen(t, a.URL, "", key, slow.LastID)
	got = append(got, feedtest.Positions(again.Take(t, tooMany-len(got)))...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-fast +slow):\n%s", diff)
	}
}

func TestOnlySoManyFeedsAreOpen(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{PerKey: 2, PerNode: 3})
	_, one := a.ServiceKey(t, "events:read")
	_, other := a.ServiceKey(t, "events:read")
	refused := func(key string, status int, code string) {
		t.Helper()
		answer := a.Do(t, apptest.Scenario{Call: "GET /v1/events", Token: key, Status: status, Code: code, Headers: header("Accept", "text/event-stream")})
		if status == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "" {
			t.Error("it does not say when to come again")
		}
	}
	first := feedtest.MustOpen(t, a.URL, "", one, "")
	feedtest.MustOpen(t, a.URL, "", one, "")
	refused(one, 429, "too_many_feeds")
	feedtest.MustOpen(t, a.URL, "", other, "")
	refused(other, 503, "feeds_exhausted")
	readEvents(t, a, one, "") // lists are not feeds
	first.Close()
	watchtest.Eventually(t, 30*time.Second, "a feed that was hung up is closed", func() bool { return a.Feeds.Stats().Open == 2 })
	feedtest.MustOpen(t, a.URL, "", other, "")
	a.Do(t, apptest.Scenario{Call: "GET /v1/events?after=12345678-1", Token: one, Status: 503, Code: "feeds_exhausted", Headers: header("Accept", "text/event-stream")})
}

// TestNoFeedIsOpenedForWhatMakesNoSense sends what no reader of feeds should.
func TestNoFeedIsOpenedForWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{})
	_, key := a.ServiceKey(t, "events:read")
	for what, c := range map[string]struct{ query, lastID, field string }{
		"an id of nothing":           {"", " ", "Last-Event-ID invalid_format"},
		"two ids":                    {"", "12345678-1, 12345678-2", "Last-Event-ID invalid_format"},
		"a position":                 {"", "12", "Last-Event-ID invalid_format"},
		"a word":                     {"", "start", "Last-Event-ID invalid_format"},
		"an id beyond all numbers":   {"", "12345678-99999999999999999999", "Last-Event-ID invalid_format"},
		"an id of 100 KiB":           {"", "12345678-" + strings.Repeat("1", 100<<10), "Last-Event-ID invalid_format"},
		"two places":                 {"?after=1&after=2", "", "after repeated"},
		"a list's cursor":            {"?cursor=abc", "", "cursor not_allowed"},
		"a filter that is none":      {"?kind=document", "", "kind unknown_parameter"},
		"too many filters":           {"?" + strings.Repeat("type=document.created&", 101), "", "type too_many"},
		"a stream that cannot be":    {"?stream=document-1", "", "stream not_allowed"},
		"a filter that is not UTF-8": {"?type=%ff", "", "type invalid_text"},
	} {
		headers := header("Accept", "text/event-stream")
		if c.lastID != "" {
			headers["Last-Event-ID"] = c.lastID
		}
		t.Log(what)
		a.Do(t, apptest.Scenario{Call: "GET /v1/events" + c.query, Token: key, Headers: headers, Status: 400, Code: "invalid_parameter", Fields: []string{c.field}})
	}
	a.Do(t, apptest.Scenario{Call: "POST /v1/events", Token: key, Headers: header("Accept", "text/event-stream"), Status: 405, Code: "method_not_allowed"})
	a.Do(t, apptest.Scenario{Call: "GET /v1/events", Token: key, Headers: header("Accept", "text/html"), Status: 406, Code: "not_acceptable"})
	if open := a.Feeds.Stats().Open; open != 0 {
		t.Errorf("%d feeds are open", open)
	}
}

// TestFeedsForClientsOfOldAndOddKinds speaks HTTP by hand.
func TestFeedsForClientsOfOldAndOddKinds(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{Heartbeat: 20 * time.Millisecond})
	_, key := a.ServiceKey(t, "events:read")
	old := dialFeed(t, a.URL, "GET /v1/events HTTP/1.0", key)
	lines := bufio.NewScanner(old)
	for said := ""; said != ": still here"; said = lines.Text() {
		if !lines.Scan() {
			t.Fatalf("over HTTP/1.0 it ended after %q: %v", said, lines.Err())
		}
	}
	odd := dialFeed(t, a.URL, "GET /v1/events HTTP/1.1", key)
	watchtest.Eventually(t, 30*time.Second, "both are open", func() bool { return a.Feeds.Stats().Open == 2 })
	if err := odd.CloseWrite(); err != nil { // for a server that is hanging up
		t.Fatal(err)
	}
	watchtest.Eventually(t, 30*time.Second, "the one that hung up by half is closed", func() bool { return a.Feeds.Stats().Open == 1 })
	if n, err := io.Copy(io.Discard, odd); err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	huge := dialFeed(t, a.URL, "GET /v1/events HTTP/1.1\r\nLast-Event-ID: "+strings.Repeat("1", 10<<20), key)
	status, err := bufio.NewReader(huge).ReadString('\n')
	if err == nil && !strings.Contains(status, " 431 ") { // or it is cut off while it still sends
		t.Errorf("an id of 10 MiB is answered %q", status)
	}
	if open := a.Feeds.Stats().Open; open != 1 {
		t.Errorf("%d feeds are open, want the old one alone", open)
	}
}

// dialFeed asks for a feed by hand, and reads nothing of what comes.
func dialFeed(t *testing.T, base, request, key string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	// A write fails where the server has enough before it has all.
	_, _ = fmt.Fprintf(c, "%s\r\nHost: atlas\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n", request, key)
	return c.(*net.TCPConn)
}

// TestAFeedEndsWithItsKey revokes one of two keys.
func TestAFeedEndsWithItsKey(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{})
	id, revoked := a.ServiceKey(t, "events:read")
	_, good := a.ServiceKey(t, "events:read")
	ends, goes := feedtest.MustOpen(t, a.URL, "?category=document", revoked, ""), feedtest.MustOpen(t, a.URL, "?category=document", good, "")
	a.Append(t, "document", uuid.New(), plan)
	ends.Take(t, 1)
	a.Append(t, "apikey", id, events.APIKeyRevoked{})
	a.Revoke(t)
	var ended *feedtest.Ended
	if _, err := ends.NextEvent(); !errors.As(err, &ended) || ended.Code != "token_revoked" {
		t.Errorf("got %v, want token_revoked", err)
	}
	if _, err := ends.Next(); err == nil {
		t.Error("something comes behind the end")
	}
	a.Append(t, "document", uuid.New(), archived)
	goes.Take(t, 2)
}

// TestWhoWasForgottenIsErasedInWhatIsSentAfterwards forgets Ann while events of hers wait for a reader that takes one and
// then no more. They wait in the log, in the tail, in the feed and on the way; what the feed sends later is erased.
func TestWhoWasForgottenIsErasedInWhatIsSentAfterwards(t *testing.T) {
	t.Parallel()
	a := withFeeds(t, feed.Config{Patience: time.Minute})
	_, key := a.ServiceKey(t, "events:read", "unseal")
	r := feedtest.MustOpen(t, a.URL, "?category=document", key, "")
	for range tooMany {
		a.Append(t, "document", uuid.New(), large())
	}
	if e := r.Take(t, 1)[0]; e.Sealed != wire.Shown {
		t.Fatalf("got %s", e.Sealed)
	}
	watchtest.Eventually(t, time.Minute, "the feed waits for its reader", func() bool {
		sent := a.Feeds.Stats().Sent
		return !watchtest.Holds(200*time.Millisecond, func() bool { return a.Feeds.Stats().Sent != sent })
	})
	if _, err := a.Keys.Forget(context.Background(), a.Store, ann); err != nil {
		t.Fatal(err)
	}
	sent := int(a.Feeds.Stats().Sent) // and one more may be on its way
	var states []wire.Sealed
	for _, e := range r.Take(t, tooMany-1) { // so the one at sent is the one after the next
		states = append(states, e.Sealed)
	}
	if later := states[min(sent, len(states)):]; len(later) == 0 || slices.ContainsFunc(later, func(s wire.Sealed) bool { return s != wire.Erased }) {
		t.Errorf("%d were sent before Ann was forgotten; what came behind the first: %v", sent, states)
	}
	again := feedtest.MustOpen(t, a.URL, "?category=document&after=start", key, "")
	for _, e := range again.Take(t, tooMany) {
		if e.Sealed != wire.Erased {
			t.Fatalf("read again: %s", e.Sealed)
		}
	}
}
