package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/projections/engine"
)

// parkedCommands are about rows that wait for an event that could not be folded.
func parkedCommands(environ []string, stderr io.Writer) []*cobra.Command {
	parked := &cobra.Command{
		Use: "parked NAME", Short: "List the rows of a read table that wait for an event that could not be folded",
		Args: oneArg, RunE: onLog(environ, stderr, listParked),
	}
	var which engine.Choice
	retry := &cobra.Command{
		Use: "retry NAME", Short: "Fold what waits for parked rows again, in order",
		Long: "Fold what waits for parked rows again, in order: of all, of one key as it is listed, or of those with an error.\n" +
			"This binary's fold is what is tried.",
		Args: oneArg, RunE: onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
			return retryParked(ctx, n, cmd, args[0], which)
		}),
	}
	retry.Flags().StringVar(&which.Key, "key", "", "only the row with this key, as it is listed")
	retry.Flags().StringVar(&which.Error, "error", "", "only those whose error contains this")
	return []*cobra.Command{parked, retry}
}

func listParked(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	p, err := n.projection(args[0])
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tPOSITION\tWAITING\tATTEMPTS\tSINCE\tFAILED\tNEXT TRY\tERROR")
	const page = 500
	for after := ""; ; {
		all, err := engine.ListParked(ctx, n.pool, p.ID(), after, page)
		if err != nil {
			return err
		}
		for _, k := range all {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", k.Key, k.Position, k.Waiting, k.Attempts, moment(k.Since), moment(k.FailedAt),
				moment(k.NextAt), strings.ReplaceAll(k.Error, "\n", " "))
			after = k.Key
		}
		if len(all) < page {
			return w.Flush()
		}
	}
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func retryParked(ctx context.Context, n *node, cmd *cobra.Command, name string, which engine.Choice) error {
	p, err := n.projection(name)
	if err != nil {
		return err
	}
	if which.Key != "" && !json.Valid([]byte(which.Key)) {
		return usageError{errors.New(`--key takes a key as "atlas projections parked" lists it, such as '{"id":"…"}'`)}
	}
	done, err := engine.Retry(ctx, n.store, n.pool, p, which)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d healed, %d failed again\n", done.Healed, done.Failed)
	if done.Failed > 0 {
		return fmt.Errorf("%d keys are parked still; see atlas projections parked %s", done.Failed, name)
	}
	return nil
}
