package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/internal/postgres"
)

func migrateCommand(environ []string, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database up to date, and give the application its rights",
		Long: "Bring the database up to date, as `atlas serve` does when it starts. With ATLAS_OWNER_DATABASE_URL it is the owner\n" +
			"who does it, and the role of ATLAS_DATABASE_URL gets what Atlas needs to serve. Then `atlas serve` needs only the latter.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := settings(environ, stderr)
			if err != nil {
				return err
			}
			n, err := openDatabase(cmd.Context(), cfg, log, true)
			if err != nil {
				return err
			}
			defer n.close()
			if err := n.migrate(cmd.Context(), cfg); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the database is up to date")
			return nil
		},
	}
}

// migrate brings the database up to date. Where the application has a role of its own, the owner does that, and the
// application gets its rights.
func (n *node) migrate(ctx context.Context, cfg Config) error {
	owner := cfg.OwnerDatabaseURL.Reveal()
	if owner == "" {
		return postgres.Migrate(ctx, n.url, migrations()...)
	}
	role, err := postgres.Role(n.url)
	if err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, owner, migrations()...); err != nil {
		return fmt.Errorf("as the owner: %w", err)
	}
	return postgres.Grant(ctx, owner, role, migrations()...)
}
