package main_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/cmd/atlas/bench"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/internal/natstest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// TestEveryCaseOfTheBenchmarksMeasures runs each for a moment: the figures mean nothing, but a case fails where a side did
// other than it said.
func TestEveryCaseOfTheBenchmarksMeasures(t *testing.T) {
	t.Parallel()
	database, broker := pgtest.NewDatabase(t), natstest.Start(t)
	for _, c := range bench.Catalog() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			clients := "1"
			if slices.Max(c.Clients) > 1 {
				clients = "3,1"
			}
			args := []string{"bench", c.Name, "--json", "--duration=20ms", "--clients=" + clients}
			if c.Name == "fill" {
				args = append(args, "--events=10000")
			}
			p := start(t, []string{"ATLAS_DATABASE_URL=" + database, "ATLAS_NATS_URL=" + broker.URL()}, args...)
			exits(t, p, 0)
			var seen []string
			for line := range strings.Lines(p.stdout.String()) {
				f := figure(t, []byte(line))
				if f.Case == c.Name {
					seen = append(seen, string(rune('0'+f.Clients)))
				}
			}
			if got := strings.Join(seen, ","); got != clients {
				t.Errorf("measured with %s clients, want %s", got, clients)
			}
		})
	}
	t.Cleanup(func() { // after the cases
		for name := range broker.JetStream().StreamNames(context.Background()).Name() {
			t.Errorf("stream %s was left behind", name)
		}
		conn, err := pgx.Connect(context.Background(), database)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		var left int
		if err := conn.QueryRow(context.Background(), `SELECT count(*) FROM pg_database WHERE datname LIKE 'atlas_bench_%'`).Scan(&left); err != nil || left > 0 {
			t.Errorf("%d databases were left behind (%v)", left, err)
		}
	})
}

// figure reads one line, which must have every field and no other.
func figure(t *testing.T, line []byte) (f measure.Figure) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	for _, name := range []string{"case", "clients", "value", "unit", "limit", "ratio", "p50_ms", "p99_ms"} {
		if _, ok := fields[name]; !ok || len(fields) != 8 {
			t.Fatalf("%s: want the eight fields of a measurement, %s among them", line, name)
		}
	}
	if err := json.Unmarshal(line, &f); err != nil {
		t.Fatal(err)
	}
	if f.Case == "" || f.Clients < 1 || f.Value <= 0 || f.Unit == "" || f.Limit <= 0 || f.Ratio <= 0 || f.P50 > f.P99 {
		t.Errorf("%s: no measurement", line)
	}
	return f
}

func TestTheBenchmarksBringAServerOfTheirOwn(t *testing.T) {
	t.Parallel()
	dir, err := openDir()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p := start(t, []string{"TMPDIR=" + dir}, "bench", "append", "--duration=10ms", "--clients=2")
	exits(t, p, 0)
	table := p.stdout.String()
	if !strings.Contains(table, "ratio") || !strings.Contains(table, "append.memory") {
		t.Errorf("got %s, want a table with the figures", table)
	}
	if strings.Contains(p.stderr.String(), "\x1b") {
		t.Error("there is a progress line, and no terminal")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v were left behind (%v)", left, err)
	}
}

func TestABenchmarkThatIsNotThereIsTheCallersMistake(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"bench"}, {"bench", "everything"}, {"bench", "append", "--clients=0"}, {"bench", "append", "--duration=0s"}, {"bench", "lag", "--rate=0"}} {
		exits(t, start(t, nil, args...), 2)
	}
}

func exits(t *testing.T, p *process, want int) {
	t.Helper()
	if got := p.wait(); got != want {
		t.Fatalf("exit code %d, want %d", got, want)
	}
}
