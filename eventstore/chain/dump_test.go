package chain_test

import (
	"bytes"
	"context"
	"os/exec"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// TestADumpAndRestoreVerifies also reads what was restored in sessions that write times another way.
func TestADumpAndRestoreVerifies(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 5)
	l.burn(t, 3)
	l.write(t, 5)
	l.seal(t, 3)
	heads := l.heads(t)
	l.write(t, 1)

	dump, err := exec.Command("pg_dump", "--no-owner", "--dbname", l.URL).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	url := pgtest.NewDatabase(t)
	restore := exec.Command("psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url)
	restore.Stdin = bytes.NewReader(dump)
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	restored := &log{Log: l.Log, signer: l.signer}
	restored.Pool = elsewhere(t, url)
	r := restored.verifyWith(t, heads)
	if r.Found != 0 || r.Events != 10 || r.Unsealed.Events != 1 {
		t.Errorf("%d events verified, %d unsealed, findings %v; want 10, 1 and none", r.Events, r.Unsealed.Events, r.Findings)
	}
	if _, err := chain.Start(context.Background(), restored.Pool, "restored from a dump"); err != nil {
		t.Fatal(err)
	}
	restored.seal(t, 3)
	wantSound(t, restored.verifyWith(t, heads), 11)
}

// elsewhere connects with the settings of another place, by the protocol in which everything is text.
func elsewhere(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), url+"&timezone=Asia/Kathmandu&datestyle=German&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
