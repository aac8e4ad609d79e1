package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/workers/outbox"
)

func backfillCommand(environ []string, stderr io.Writer) *cobra.Command {
	var from string
	var contracts []string
	var cancel bool
	cmd := &cobra.Command{
		Use: "backfill TOPIC", Short: "Write the messages of past events that a topic lacks",
		Long: "Write the messages of past events that a topic lacks: those of a contract that is new, or that were pruned. Live messages go\n" +
			"on meanwhile, and those of the same contracts come after, in the order of the log. What is there is not written twice. If the\n" +
			"command ends before it is done, nodes with the role projector go on; --cancel ends one. What was written stays then, and live\n" +
			"messages that were left to it are still written.",
		Args: oneArg,
	}
	cmd.Flags().StringVar(&from, "from", "", `"start", or a position: messages of the events after it are written`)
	cmd.Flags().StringSliceVar(&contracts, "contract", nil, "only of these contracts; all of the topic if not given")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "end the backfill that is running")
	exclusive(cmd, "cancel", "from")
	exclusive(cmd, "cancel", "contract")
	cmd.RunE = onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
		if err := knownTopic(args[0]); err != nil {
			return err
		}
		b := outbox.NewBackfiller(n.pool, n.store, outbox.Catalog(), n.log)
		if cancel {
			if err := b.Cancel(ctx, args[0]); err != nil {
				return err
			}
			return finishBackfill(ctx, n, b, cmd.OutOrStdout(), args[0])
		}
		since, err := parseFrom(from)
		if err != nil {
			return err
		}
		if err := b.Start(ctx, args[0], contracts, since); err != nil {
			return err
		}
		return finishBackfill(ctx, n, b, cmd.OutOrStdout(), args[0])
	})
	return cmd
}

// parseFrom reads where a backfill begins.
func parseFrom(from string) (int64, error) {
	if from == "start" {
		return 0, nil
	}
	position, err := strconv.ParseInt(from, 10, 64)
	if err != nil || position < 0 {
		return 0, usageError{fmt.Errorf(`--from must be "start" or a position, not %q`, from)}
	}
	return position, nil
}

// finishBackfill works on a topic's backfill until that is done, or says who goes on with it where the command is ended before.
func finishBackfill(ctx context.Context, n *node, b *outbox.Backfiller, out io.Writer, topic string) error {
	err := workOnBackfill(ctx, n, b, out, topic)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("left to the nodes with the role projector; to end it: atlas outbox backfill %s --cancel", topic)
	}
	return err
}

// workOnBackfill does so beside nodes that do too, and tells how far it is every few seconds.
func workOnBackfill(ctx context.Context, n *node, b *outbox.Backfiller, out io.Writer, topic string) error {
	told := time.Now()
	for {
		if _, err := b.Step(ctx); err != nil {
			return err
		}
		f, err := outbox.LastBackfill(ctx, n.pool, topic)
		if err != nil {
			return err
		}
		switch {
		case f == nil:
			return errors.New("the backfill is gone: was the database put in the place of another?")
		case f.DoneAt != nil:
			_, err := fmt.Fprintf(out, "%s: %d messages written, up to position %d; %d that nobody had read came again in their place\n",
				topic, f.Written, f.Position, f.Moved)
			return err
		case time.Since(told) > 5*time.Second:
			told = time.Now()
			fmt.Fprintf(out, "%s: %d messages written, at position %d\n", topic, f.Written, f.Position)
		}
	}
}
