package measure

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// Room is a PostgreSQL server on which cases make databases of their own. It is not safe for concurrent use.
type Room struct {
	url       string
	server    *postgres.Server // nil where the server is somebody else's
	dir       string
	databases []string
	templates map[string]string // by what is migrated in them
}

// Open returns a room on the server at the URL, whose role must be allowed to create databases, or, where the URL is
// empty, on a private server in a temporary directory, durable as in production. binDir says where its programs are;
// empty looks for them.
func Open(ctx context.Context, databaseURL, binDir string) (*Room, error) {
	if databaseURL != "" {
		return &Room{url: databaseURL, templates: map[string]string{}}, nil
	}
	dir, err := os.MkdirTemp("", "atlas-bench-*")
	if err != nil {
		return nil, err
	}
	server, err := postgres.Start(ctx, postgres.ServerConfig{Dir: dir, BinDir: binDir, MaxConnections: 200})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Room{url: server.URL(), server: server, dir: dir, templates: map[string]string{}}, nil
}

// Database makes a database with the sets migrated and returns its URL. Those after the first with the same sets are copies
// of what the first was then.
func (r *Room) Database(ctx context.Context, sets ...postgres.MigrationSet) (string, error) {
	key := ""
	for _, s := range sets {
		key += s.Name + "/"
	}
	template, err := r.template(ctx, key, sets)
	if err != nil {
		return "", err
	}
	return r.create(ctx, " TEMPLATE "+pgx.Identifier{template}.Sanitize())
}

func (r *Room) template(ctx context.Context, key string, sets []postgres.MigrationSet) (name string, err error) {
	if name, ok := r.templates[key]; ok {
		return name, nil
	}
	at, err := r.create(ctx, "")
	if err != nil {
		return "", err
	}
	if err := postgres.Migrate(ctx, at, sets...); err != nil {
		return "", err
	}
	name = r.databases[len(r.databases)-1]
	r.templates[key] = name
	return name, nil
}

func (r *Room) create(ctx context.Context, like string) (string, error) {
	name := "atlas_bench_" + uuid.NewString()
	if err := r.run(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+like); err != nil {
		return "", fmt.Errorf("make a database to measure in: %w", err)
	}
	r.databases = append(r.databases, name)
	return in(r.url, name)
}

// Drop drops a database that is done with, whoever is still connected.
func (r *Room) Drop(ctx context.Context, databaseURL string) error {
	for i, name := range r.databases {
		if at, err := in(r.url, name); err == nil && at == databaseURL {
			r.databases = slices.Delete(r.databases, i, i+1)
			return r.drop(ctx, name)
		}
	}
	return nil
}

// Close drops the databases and ends a private server, also when ctx has ended.
func (r *Room) Close(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if r.server != nil {
		return errors.Join(r.server.Stop(ctx), os.RemoveAll(r.dir))
	}
	for _, name := range r.databases {
		err = errors.Join(err, r.drop(ctx, name))
	}
	return err
}

func (r *Room) drop(ctx context.Context, name string) error {
	return r.run(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

// run executes one statement on the server, outside of any transaction.
func (r *Room) run(ctx context.Context, statement string) error {
	pool, err := postgres.Connect(ctx, r.url, postgres.MaxConns(1))
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = pool.Exec(ctx, statement)
	return err
}

// in returns the URL of another database of the same server.
func in(server, database string) (string, error) {
	at, err := url.Parse(server)
	if err != nil || at.Scheme == "" {
		return "", errors.New("the database must be named by a URL, postgres://user:password@host:port/database")
	}
	at.Path = "/" + database
	return at.String(), nil
}
