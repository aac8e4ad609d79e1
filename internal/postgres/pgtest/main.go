package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// shared is the server of this test process.
var shared kit

// kit is the throw-away server and the templates made in it so far.
type kit struct {
	once   sync.Once
	dir    *scratch
	server *postgres.Server
	err    error

	mu        sync.Mutex
	templates map[string]*template
	databases int
}

// Main runs the tests of a package and exits; TestMain calls it.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run runs the tests of a package and returns their exit code, for a TestMain that has more to do.
func Run(m *testing.M) int {
	defer shared.stop()
	return m.Run()
}

// start returns the running server, starting it for the first test that asks.
func (k *kit) start() (*postgres.Server, error) {
	k.once.Do(func() {
		if k.dir, k.err = newScratch(); k.err != nil {
			return
		}
		k.server, k.err = postgres.Start(context.Background(), config(k.dir.path))
	})
	return k.server, k.err
}

// config allows for many tests at once, each with pools of its own.
func config(dir string) postgres.ServerConfig {
	return postgres.ServerConfig{Dir: dir, MaxConnections: 400, Throwaway: true}
}

func (k *kit) stop() {
	if k.server != nil {
		if err := k.server.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
		}
	}
	if k.dir != nil {
		k.dir.remove()
	}
}
