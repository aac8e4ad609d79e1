package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/workers/outbox"
)

func outboxCommand(environ []string, stderr io.Writer) *cobra.Command {
	parent := &cobra.Command{
		Use: "outbox", Short: "See the messages for the outside, and who reads them",
		Long: "See the messages for the outside, and who reads them. What every consumer group of a topic has read is pruned; a group\n" +
			"that stands still for too long is abandoned, and holds up nothing any more.",
	}
	parent.AddCommand(
		outboxStatusCommand(environ, stderr),
		&cobra.Command{
			Use: "contracts [NAME]", Short: "List the contracts of messages, or print the JSON Schema of one",
			Args: atMostOneArg, RunE: printContracts,
		},
		&cobra.Command{
			Use: "drop-group TOPIC GROUP", Short: "Remove a consumer group from a topic",
			Long: "Remove a consumer group from a topic: it holds up no pruning any more, so what it had not read may be pruned. If it comes\n" +
				"back it begins with the oldest message there is, as a new group does.",
			Args: twoArgs, RunE: onNode(environ, stderr, dropGroup),
		},
		backfillCommand(environ, stderr),
		&cobra.Command{
			Use: "restored", Short: "Rewrite offsets after a restore that Atlas did not notice",
			Long: "Rewrite the offsets of all topics, so that watermill-sql's stock subscribers see what is new. Atlas does so by itself where it\n" +
				"can tell that the database comes from another cluster. No message is left out; some may come again.",
			Args: noArgs, RunE: onNode(environ, stderr, settleOutbox),
		},
	)
	return group(parent)
}

// outboxTopics are the topics of this binary.
func outboxTopics() []string { return outbox.Topics(outbox.Catalog()) }

func outboxStatusCommand(environ []string, stderr io.Writer) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "status", Short: "Show topics, their consumer groups and how far behind these are", Args: noArgs}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, times in seconds")
	cmd.RunE = onLog(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
		all, err := outbox.Status(ctx, n.pool, outboxTopics())
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"topics": all})
		}
		return printTopics(cmd.OutOrStdout(), all)
	})
	return cmd
}

func printTopics(out io.Writer, all []outbox.TopicStatus) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tMESSAGES\tOLDEST\tOFFSETS\tPRUNED UP TO")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\t%d-%d\t%d\n", s.Topic, s.Messages, s.Oldest.Round(time.Second), s.First, s.Last, s.Pruned)
	}
	for _, s := range all {
		if f := s.Backfill; f != nil && f.DoneAt == nil {
			fmt.Fprintf(w, "\nbackfill of %s: %d messages written, at position %d\n", s.Topic, f.Written, f.Position)
		}
	}
	fmt.Fprintln(w, "\nTOPIC\tGROUP\tOFFSET\tLAG\tBEHIND\tIDLE\tNOTE")
	for _, s := range all {
		for _, g := range s.Groups {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", s.Topic, line(g.Group), g.Offset, g.Lag, g.LagTime.Round(time.Second),
				g.Idle.Round(time.Second), groupNote(g))
		}
	}
	return w.Flush()
}

// groupNote says what an operator should know first.
func groupNote(g outbox.GroupStatus) string {
	var notes []string
	if g.Abandoned != nil {
		notes = append(notes, "abandoned "+stamp(*g.Abandoned))
	}
	if g.Missed > 0 {
		notes = append(notes, fmt.Sprintf("%d messages were pruned unread", g.Missed))
	}
	return strings.Join(notes, "; ")
}

func printContracts(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "CONTRACT\tTOPIC")
		for _, c := range outbox.Catalog() {
			fmt.Fprintf(w, "%s\t%s\n", c.Name(), c.Topic())
		}
		return w.Flush()
	}
	for _, c := range outbox.Catalog() {
		if c.Name() != args[0] {
			continue
		}
		schema, err := c.Schema()
		if err != nil {
			return err
		}
		raw, err := json.MarshalIndent(schema, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", raw)
		return err
	}
	return usageError{fmt.Errorf("there is no contract %q; `atlas outbox contracts` lists them", args[0])}
}

func dropGroup(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	if err := knownTopic(args[0]); err != nil {
		return err
	}
	if err := outbox.DropGroup(ctx, n.pool, args[0], args[1]); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "group %s of topic %s is gone\n", args[1], args[0])
	return nil
}

func settleOutbox(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	if _, err := outbox.Settle(ctx, n.pool, outboxTopics(), true); err != nil {
		return err
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), "offsets rewritten")
	return err
}

// knownTopic refuses what is no topic of this binary.
func knownTopic(name string) error {
	if topics := outboxTopics(); !slices.Contains(topics, name) {
		return usageError{fmt.Errorf("there is no topic %q; there are %s", name, strings.Join(topics, ", "))}
	}
	return nil
}
