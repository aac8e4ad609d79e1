package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// onKeys is onLog for what looks at the keys of personal data, or opens what they seal.
func onKeys(environ []string, stderr io.Writer, do func(context.Context, *node, *cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cfg, err := loadConfig(environ, masterKeyName)
		if err != nil {
			return err
		}
		return onLog(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
			master, err := cfg.masterKey()
			if err != nil {
				return err
			}
			if n.keys, err = sealing.Existing(ctx, n.pool, master); err != nil {
				return err
			}
			return do(ctx, n, cmd, args)
		})(cmd, args)
	}
}

// onNode returns what runs a command beside whatever else uses the database.
func onNode(environ []string, stderr io.Writer, do func(context.Context, *node, *cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cfg, log, err := settings(environ, stderr, masterKeyName)
		if err != nil {
			return err
		}
		n, err := openNode(cmd.Context(), cfg, log, true)
		if err != nil {
			return err
		}
		defer n.close()
		return do(cmd.Context(), n, cmd, args)
	}
}

// onLog returns what runs a command that only reads. It leaves the database as it is, so that another release may look at one
// that this one does not serve. Where the schema is older than this release, it says so and ends; where it is newer, it says so
// and goes on, as an older server does beside a newer one.
func onLog(environ []string, stderr io.Writer, do func(context.Context, *node, *cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		cfg, log, err := settings(environ, stderr)
		if err != nil {
			return err
		}
		n, err := openDatabase(ctx, cfg, log, true)
		if err != nil {
			return err
		}
		defer n.close()
		older, newer, err := postgres.Compare(ctx, n.url, migrations()...)
		if err != nil {
			return err
		}
		if older != "" {
			return fmt.Errorf("the schema of the database is older than this release (%s), and this command changes nothing; `atlas migrate`, or `atlas serve` of this release, brings it up to date", older)
		}
		if newer != "" {
			fmt.Fprintf(stderr, "atlas: the schema of the database is newer than this release (%s), so some of what this command shows may be missing\n", newer)
		}
		vocabulary, err := events.NewVocabulary(events.Catalog()...)
		if err != nil {
			return err
		}
		n.store = eventstore.New(n.pool, vocabulary, nil) // which opens nothing that is sealed
		n.projections = catalog()
		return do(ctx, n, cmd, args)
	}
}
