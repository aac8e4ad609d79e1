package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// onNode returns what runs a command beside whatever else uses the database.
func onNode(environ []string, stderr io.Writer, do func(context.Context, *node, *cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cfg, log, err := settings(environ, stderr)
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

// onLog returns what runs a command that only reads. It leaves the database as it is, so that a newer binary may look at one
// that an older one serves; where they have grown too far apart, it says so.
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
		if err := postgres.UpToDate(ctx, n.url, migrations()...); err != nil {
			return fmt.Errorf("%w: `atlas migrate`, or `atlas serve` of this release, does that; this command changes nothing", err)
		}
		vocabulary, err := events.NewVocabulary(events.Catalog()...)
		if err != nil {
			return err
		}
		n.store = eventstore.New(n.pool, vocabulary, nil) // which opens nothing that is sealed
		return do(ctx, n, cmd, args)
	}
}
