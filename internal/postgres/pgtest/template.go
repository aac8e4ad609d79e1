package pgtest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"sync"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// template is a migrated database that others are copied from.
type template struct {
	once sync.Once
	name string
	err  error
}

// template returns the name of a database with these sets, migrated by the first test that needs it.
func (k *kit) template(server string, sets []postgres.MigrationSet) (string, error) {
	if len(sets) == 0 {
		return "template0", nil
	}
	key, err := fingerprint(sets)
	if err != nil {
		return "", err
	}
	t := k.templateOf(key)
	t.once.Do(func() {
		t.name = k.nextName("template")
		if t.err = run(server, "CREATE DATABASE "+t.name+" TEMPLATE template0"); t.err != nil {
			return
		}
		t.err = postgres.Migrate(context.Background(), in(server, t.name), sets...)
	})
	return t.name, t.err
}

func (k *kit) templateOf(key string) *template {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.templates == nil {
		k.templates = map[string]*template{}
	}
	if k.templates[key] == nil {
		k.templates[key] = &template{}
	}
	return k.templates[key]
}

// nextName is a database name not used before on this server.
func (k *kit) nextName(kind string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.databases++
	return fmt.Sprintf("%s_%d", kind, k.databases)
}

// fingerprint tells lists of sets apart by their names and every file's content.
func fingerprint(sets []postgres.MigrationSet) (string, error) {
	sum := sha256.New()
	for _, set := range sets {
		fmt.Fprintf(sum, "set %q\n", set.Name)
		err := fs.WalkDir(set.FS, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(set.FS, path)
			fmt.Fprintf(sum, "%q %q\n", path, text)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return string(sum.Sum(nil)), nil
}
