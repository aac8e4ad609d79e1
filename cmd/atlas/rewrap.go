package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/eventstore/sealing"
)

func keysCommand(environ []string, stderr io.Writer) *cobra.Command {
	parent := &cobra.Command{Use: "keys", Short: "See and change the keys that sign and those that seal"}
	parent.AddCommand(signingCommands(environ, stderr)...)
	parent.AddCommand(
		&cobra.Command{Use: "status", Short: "Show how many keys each master key wraps", Args: noArgs, RunE: onKeys(environ, stderr, keysStatus)},
		&cobra.Command{
			Use: "rewrap", Short: "Put every key under the first master key",
			Long: "Put every key under the first of ATLAS_MASTER_KEY, so that the others can be dropped. It may run beside nodes at\n" +
				"work, be stopped and be begun again.",
			Args: noArgs, RunE: onNode(environ, stderr, rewrapKeys),
		},
	)
	return group(parent)
}

func keysStatus(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	all, forgotten, err := n.keys.Status(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MASTER\tROLE\tSUBJECTS\tSECRETS")
	for _, m := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", m.Master, role(m), m.Subjects, m.Secrets)
	}
	fmt.Fprintf(w, "none\tforgotten\t%d\t0\n", forgotten)
	return w.Flush()
}

// role says what a master key is to this process.
func role(m sealing.Wrapped) string {
	switch {
	case m.First:
		return "wraps"
	case m.Given:
		return "unwraps"
	}
	return "missing"
}

func rewrapKeys(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	bar := newProgress(cmd.ErrOrStderr(), "rewrap")
	done, err := n.keys.Rewrap(ctx, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d keys rewrapped\n", done)
	return keysStatus(ctx, n, cmd, nil)
}
