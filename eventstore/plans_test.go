package eventstore_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// plans are the plans that the statements of a store had, as PostgreSQL's auto_explain tells them.
type plans struct {
	mu  sync.Mutex
	all []plan
}

// plan is a node of a plan, with what it did.
type plan struct {
	Node     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Loops    float64 `json:"Actual Loops"`
	Hit      int     `json:"Shared Hit Blocks"`
	Read     int     `json:"Shared Read Blocks"`
	Plans    []plan  `json:"Plans"`
}

// explained returns a store on the log whose statements are explained as they run. The mode is PostgreSQL's
// plan_cache_mode: a plan must be good with and without a look at its parameters.
func explained(t *testing.T, l *logtest.Log, mode string) (*eventstore.Store, *plans) {
	t.Helper()
	p := &plans{}
	pool, err := postgres.Connect(t.Context(), l.URL, func(c *pgxpool.Config) {
		for name, value := range map[string]string{
			"session_preload_libraries":     "auto_explain",
			"auto_explain.log_min_duration": "0",
			"auto_explain.log_analyze":      "on",
			"auto_explain.log_buffers":      "on",
			"auto_explain.log_timing":       "off",
			"auto_explain.log_format":       "json",
			"auto_explain.log_level":        "notice",
			"plan_cache_mode":               mode,
		} {
			c.ConnConfig.RuntimeParams[name] = value
		}
		c.ConnConfig.OnNotice = p.take
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return eventstore.New(pool, logtest.Vocabulary(t), l.Keys), p
}

func (p *plans) take(_ *pgconn.PgConn, n *pgconn.Notice) {
	_, text, found := strings.Cut(n.Message, "plan:\n")
	var told struct{ Plan plan }
	if !found || json.Unmarshal([]byte(text), &told) != nil {
		slog.Warn("not a plan", "notice", n.Message)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, told.Plan)
}

// blocks returns how many blocks the statements have looked at since the last call, and how many statements there were.
func (p *plans) blocks() (blocks, statements int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		blocks += one.Hit + one.Read
	}
	statements = len(p.all)
	p.all = nil
	return blocks, statements
}

// relations returns the tables that the statements have looked into since the last call.
func (p *plans) relations() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	touched := map[string]bool{}
	var walk func(plan)
	walk = func(n plan) {
		if n.Relation != "" && n.Loops > 0 {
			touched[n.Relation] = true
		}
		for _, below := range n.Plans {
			walk(below)
		}
	}
	for _, one := range p.all {
		walk(one)
	}
	p.all = nil
	return touched
}
