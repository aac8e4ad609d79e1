package outbox

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// tool runs a program of the server's own version.
func tool(t *testing.T, l *logtest.Log, name string, args ...string) {
	t.Helper()
	var dir string
	if err := l.Pool.QueryRow(t.Context(), `SELECT setting FROM pg_config WHERE name = 'BINDIR'`).Scan(&dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(dir, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// restored returns the log in a cluster whose transaction ids are far behind.
func restored(t *testing.T, l *logtest.Log) *logtest.Log {
	t.Helper()
	dump, server := filepath.Join(t.TempDir(), "dump"), pgtest.StartServer(t)
	tool(t, l, "pg_dump", "--format=custom", "--file="+dump, "--dbname="+l.URL)
	tool(t, l, "pg_restore", "--exit-on-error", "--dbname="+server.URL(), dump)
	return l.NodeAt(t, server.URL())
}

// stock subscribes with watermill-sql's own adapters.
func stock(t *testing.T, l *logtest.Log) <-chan *message.Message {
	t.Helper()
	s, err := wsql.NewSubscriber(stdlib.OpenDBFromPool(l.Pool), wsql.SubscriberConfig{
		ConsumerGroup:  "stock",
		PollInterval:   pollInterval,
		SchemaAdapter:  wsql.DefaultPostgreSQLSchema{GenerateMessagesTableName: messagesTable, SubscribeBatchSize: 1},
		OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{GenerateMessagesOffsetsTableName: offsetsTable},
	}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, s, Documents)
}

// eventsOf returns the ids of the events of the topic's messages.
func eventsOf(t *testing.T, l *logtest.Log) (ids []string) {
	t.Helper()
	for _, m := range messages(t, l.Pool, Documents) {
		ids = append(ids, m.Metadata[MetaEvent])
	}
	return ids
}

func mustSettle(t *testing.T, l *logtest.Log, anyway, want bool) {
	t.Helper()
	if got, err := Settle(t.Context(), l.Pool, Topics(Catalog()), anyway); err != nil || got != want {
		t.Fatalf("settled: %t, %v; want %t", got, err, want)
	}
}

// TestARestoreHidesNothingFromReaders restores the outbox into a younger cluster, with messages that groups have read and
// messages that they have not, and writes more there.
func TestARestoreHidesNothingFromReaders(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	mustSettle(t, l, false, false)
	mustExec(t, l.Pool, `DO $$ BEGIN FOR i IN 1..20000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`)
	publishSome(t, l, 6)
	hasRead(t, l.Pool, "stock", 2, "")
	hasRead(t, l.Pool, "own", 3, "")
	hasRead(t, l.Pool, relayGroup, 4, "0")
	mustSettle(t, l, false, false)

	there := restored(t, l)
	publishSome(t, there, 1)
	blind := wsql.DefaultPostgreSQLSchema{GenerateMessagesTableName: messagesTable}.SelectQuery(Documents, "stock",
		wsql.DefaultPostgreSQLOffsetsAdapter{GenerateMessagesOffsetsTableName: offsetsTable})
	if tag, err := there.Pool.Exec(t.Context(), blind.Query, blind.Args...); err != nil || tag.RowsAffected() != 0 {
		t.Fatalf("before settling a stock group sees %d messages, %v; with none hidden this test shows nothing", tag.RowsAffected(), err)
	}
	mustSettle(t, there, false, true)
	mustSettle(t, there, false, false)
	publishSome(t, there, 1)
	all := eventsOf(t, there)
	if len(all) != 8 {
		t.Fatalf("there are %d messages, want 8", len(all))
	}
	for group, got := range map[string][]string{
		"stock": drain(t, stock(t, there), 6), "own": drain(t, subscribe(t, there, "own", Documents), 5),
	} {
		if want := all[8-len(got):]; !slices.Equal(got, want) {
			t.Errorf("group %s got %v, want %v", group, got, want)
		}
	}
	if g := groupStatus(t, there, relayGroup); g.Lag != 4 {
		t.Errorf("the relay has %d messages before it, want 4", g.Lag)
	}
}

// TestWhereTheClusterIsNotKnownTransactionsTell restores a database that never knew its cluster.
func TestWhereTheClusterIsNotKnownTransactionsTell(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 2)
	hasRead(t, l.Pool, "stock", 1, "")
	mustExec(t, l.Pool, `UPDATE outbox.documents SET transaction_id = '9000000000'`)
	mustSettle(t, l, false, true)
	mustSettle(t, l, false, false)
	if got, want := drain(t, stock(t, l), 2), eventsOf(t, l); !slices.Equal(got, want) {
		t.Errorf("the stock group got %v, want %v: by transactions it had read none of them", got, want)
	}
}

// TestACopyWithoutItsSequenceHidesNothing begins the topic's sequence anew, as a copy of the tables does.
func TestACopyWithoutItsSequenceHidesNothing(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 3)
	hasRead(t, l.Pool, "own", 3, "")
	k, _ := newKeeper(l, keeping)
	k.mustKeep(t)
	mustExec(t, l.Pool, `SELECT setval('outbox.documents_offset_seq', 1)`)
	mustSettle(t, l, false, true)
	publishSome(t, l, 1)
	next(t, subscribe(t, l, "own", Documents)).Ack()
}

// TestSettlingAnywayRepeatsNothingToThoseInOrder is the command, given where nothing was wrong.
func TestSettlingAnywayRepeatsNothingToThoseInOrder(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 4)
	hasRead(t, l.Pool, "own", 2, "")
	hasRead(t, l.Pool, "stock", 3, "")
	mustSettle(t, l, true, true)
	publishSome(t, l, 1)
	all := eventsOf(t, l)
	if got := drain(t, subscribe(t, l, "own", Documents), 3); !slices.Equal(got, all[2:]) {
		t.Errorf("the group own got %v, want %v", got, all[2:])
	}
	if got := drain(t, stock(t, l), 2); !slices.Equal(got, all[3:]) {
		t.Errorf("the group stock got %v, want %v", got, all[3:])
	}
}
