package transfer

import (
	"embed"
	"io/fs"

	"github.com/atlas-platform/atlas/internal/postgres"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the table of imports. The log's and the chain's come before it.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "transfer", FS: sub}
}
