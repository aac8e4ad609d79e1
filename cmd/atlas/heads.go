package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/eventstore/sealing"
)

func headsCommand(environ []string, stderr io.Writer) *cobra.Command {
	var since int64
	cmd := &cobra.Command{
		Use: "heads", Short: "Write the heads of the log's chain, signed, as NDJSON",
		Long: "Write the heads of the log's chain, signed, one JSON object per line. Keep them where nobody who administers the\n" +
			"database can change them, and give them to `atlas events verify --heads`: only they tell of a history that was\n" +
			"rewritten together with its chain. The last head vouches for all before it.",
		Args: noArgs,
		RunE: onKeys(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
			signer, err := chainSigner(ctx, n.keys)
			if errors.Is(err, sealing.ErrNoSecret) {
				return nil // nobody has sealed anything
			}
			if err != nil {
				return err
			}
			out := json.NewEncoder(cmd.OutOrStdout())
			return chain.Heads(ctx, n.pool, signer, since, func(h chain.Head) error { return out.Encode(h) })
		}),
	}
	cmd.Flags().Int64Var(&since, "since", 0, "only heads of blocks after this one")
	return cmd
}

func newChainCommand(environ []string, stderr io.Writer) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "new-chain", Short: "Begin a new chain, as after a restore",
		Long: "Begin a new chain, which vouches for all that is not sealed yet and all that comes. The reason stays on record.",
		Args: noArgs,
		RunE: onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
			if reason == "" {
				return usageError{fmt.Errorf("--reason must say why")}
			}
			id, err := chain.Start(ctx, n.pool, reason)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "chain", id, "has begun")
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever verifies the log later")
	return cmd
}
