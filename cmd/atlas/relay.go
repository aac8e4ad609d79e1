package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/workers/relay"
)

func relayCommand(environ []string, stderr io.Writer) *cobra.Command {
	parent := &cobra.Command{
		Use: "relay", Short: "Set up and watch the way of the outbox's messages to NATS",
		Long: "Set up and watch the way of the outbox's messages to NATS JetStream. `atlas serve` with the role relay and ATLAS_NATS_URL\n" +
			"forwards each topic to a stream of its own.",
	}
	parent.AddCommand(relaySetupCommand(environ, stderr), relayStatusCommand(environ, stderr), &cobra.Command{
		Use: "resume TOPIC", Short: "Go on with a topic some of whose messages were pruned before they were forwarded",
		Long: "Go on with a topic some of whose messages were pruned before they were forwarded, since no relay ran for too long. Have them\n" +
			"written again first, by `atlas outbox backfill`, if they are wanted: they come after those that are there.",
		Args: oneArg, RunE: onNode(environ, stderr, resumeRelay),
	})
	return group(parent)
}

// relaySetupCommand works on the broker alone.
func relaySetupCommand(environ []string, stderr io.Writer) *cobra.Command {
	var replicas int
	var age, duplicates time.Duration
	var bytes, messages int64
	d := relay.DefaultLimits()
	cmd := &cobra.Command{
		Use: "setup", Short: "Make the topics' streams, or change their limits",
		Long: "Make the stream of each topic, or change the one that is there: only what a flag names is changed. It may be repeated.\n" +
			"It refuses what would lose messages: a limit below what a stream holds, and a stream of that name that is made for\n" +
			"something else, which it does not touch. A full stream takes no more, and drops nothing.",
		Args: noArgs,
	}
	flags := cmd.Flags()
	flags.IntVar(&replicas, "replicas", d.Replicas, "servers that keep each message, 1 to 5; 3 survive the loss of one")
	flags.DurationVar(&age, "max-age", d.MaxAge, "how long messages stay; 0 is for ever")
	flags.Int64Var(&bytes, "max-bytes", d.MaxBytes, "how large each stream may grow; 0 is as large as the server lets it")
	flags.Int64Var(&messages, "max-messages", d.MaxMsgs, "how many messages each stream may hold; 0 is any number")
	flags.DurationVar(&duplicates, "duplicates", d.Duplicates, "for how long the broker knows ids by itself")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w := relay.Wish{}
		wish(cmd, "replicas", &w.Replicas, &replicas)
		wish(cmd, "max-age", &w.MaxAge, &age)
		wish(cmd, "max-bytes", &w.MaxBytes, &bytes)
		wish(cmd, "max-messages", &w.MaxMsgs, &messages)
		wish(cmd, "duplicates", &w.Duplicates, &duplicates)
		if err := w.Check(); err != nil {
			return usageError{err}
		}
		return setUpStreams(cmd, environ, stderr, w)
	}
	return cmd
}

// wish takes a flag that was given.
func wish[T any](cmd *cobra.Command, flag string, to **T, value *T) {
	if cmd.Flags().Changed(flag) {
		*to = value
	}
}

// setUpStreams does what can be done: one stream that is refused leaves the others be.
func setUpStreams(cmd *cobra.Command, environ []string, stderr io.Writer, w relay.Wish) error {
	cfg, log, err := settings(environ, stderr)
	if err != nil {
		return err
	}
	if cfg.NATSURL == "" {
		return usageError{errors.New("ATLAS_NATS_URL must say where NATS is")}
	}
	js, closed, err := relay.Dial(cfg.NATSURL.Reveal(), log)
	if err != nil {
		return err
	}
	defer closed()
	var faults []error
	for _, topic := range outboxTopics() {
		done, err := relay.Setup(cmd.Context(), js, cfg.NATSPrefix, topic, w)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "stream %s-%s: %s\n", cfg.NATSPrefix, topic, done)
	}
	return errors.Join(faults...)
}

func relayStatusCommand(environ []string, stderr io.Writer) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show how far each topic was forwarded, by whom, and what the broker has", Args: noArgs,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON per topic")
	cmd.RunE = onLog(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(environ)
		if err != nil {
			return err
		}
		all, err := relayStatus(ctx, n, cfg)
		if err != nil {
			return err
		}
		if asJSON {
			out := json.NewEncoder(cmd.OutOrStdout())
			for _, s := range all {
				if err := out.Encode(s); err != nil {
					return err
				}
			}
			return nil
		}
		return printRelay(cmd.OutOrStdout(), all)
	})
	return cmd
}

func resumeRelay(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	if err := knownTopic(args[0]); err != nil {
		return err
	}
	missed, err := relay.Resume(ctx, n.pool, args[0])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "topic %s goes on without %d messages\n", args[0], missed)
	return err
}

// relayTopic is a topic in the database and on the broker.
type relayTopic struct {
	relay.Status
	Broker      *relay.Broker `json:"broker"` // nil where it does not tell
	BrokerError string        `json:"broker_error"`
}

// relayStatus tells what the database knows also when the broker is away.
func relayStatus(ctx context.Context, n *node, cfg Config) ([]relayTopic, error) {
	stored, err := relay.List(ctx, n.pool, outboxTopics())
	if err != nil {
		return nil, err
	}
	var js jetstream.JetStream
	broken := errors.New("ATLAS_NATS_URL is not set")
	if cfg.NATSURL != "" {
		var closed func()
		if js, closed, broken = relay.Dial(cfg.NATSURL.Reveal(), n.log); broken == nil {
			defer closed()
		}
	}
	var all []relayTopic
	for _, s := range stored {
		t := relayTopic{Status: s}
		err := broken
		if err == nil {
			var b relay.Broker
			if b, err = relay.Ask(ctx, js, cfg.NATSPrefix, s.Topic); err == nil {
				t.Broker = &b
			}
		}
		if err != nil {
			t.BrokerError = err.Error()
		}
		all = append(all, t)
	}
	return all, nil
}

func printRelay(out io.Writer, all []relayTopic) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tFORWARDED BY\tEPOCH\tOFFSET\tLAG\tBEHIND\tSTREAM\tLAST\tLAST ID\tNOTE")
	for _, t := range all {
		b, holder := relay.Broker{Stream: "-", LastID: "-"}, t.Holder
		if t.Broker != nil {
			b = *t.Broker
		}
		if holder == "" {
			holder = "-"
		}
		behind := time.Duration(t.LagSeconds * float64(time.Second)).Round(time.Second)
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%d\t%s\t%s\n",
			t.Topic, holder, t.Epoch, t.Offset, t.Lag, behind, b.Stream, b.Last, b.LastID, line(relayNote(t)))
	}
	return w.Flush()
}

// relayNote says what an operator should know first.
func relayNote(t relayTopic) string {
	switch {
	case t.Error != "":
		return t.Error
	case t.BrokerError != "":
		return t.BrokerError
	case t.Holder == "":
		return "nobody forwards it: is there a process with the role relay and ATLAS_NATS_URL?"
	}
	return ""
}
