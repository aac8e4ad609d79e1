package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/workers"
)

// listed is how many held streams and dead letters are printed at most.
const listed = 100

func subscriptionsCommand(environ []string, stderr io.Writer) *cobra.Command {
	parent := &cobra.Command{
		Use: "subscriptions", Short: "See and steer the workers' places in the log",
		Long: "See and steer the workers' places in the log. A subscription's position is how far it has come; streams whose message\n" +
			"failed or takes long are held, and messages that failed for good are parked, while it goes on.",
	}
	parent.AddCommand(
		&cobra.Command{Use: "list", Short: "Show how far each subscription has come", Args: noArgs, RunE: onLog(environ, stderr, listSubscriptions)},
		&cobra.Command{Use: "show NAME", Short: "Show who works for a subscription, and the streams it holds", Args: oneArg, RunE: onLog(environ, stderr, showSubscription)},
		&cobra.Command{Use: "parked NAME", Short: "List the messages that failed for good", Args: oneArg, RunE: onLog(environ, stderr, listDeadLetters)},
		deadLettersCommand(environ, stderr, "retry", "Try parked messages once more", "to be tried again", (*subscription.Log).Retry),
		deadLettersCommand(environ, stderr, "discard", "Drop parked messages for good", "discarded", (*subscription.Log).Discard),
		resetCommand(environ, stderr),
		giveCommand(environ, stderr),
	)
	return group(parent)
}

// subscriptions are the subscriptions as the commands work on them.
func (n *node) subscriptions() *subscription.Log {
	return subscription.New(n.pool, n.store, nil, n.log)
}

func listSubscriptions(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	all, err := n.subscriptions().List(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tPOSITION\tLAG\tBEHIND\tPROCESSES\tHELD\tFAILING\tPARKED\tNOTE")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%s\n", s.Name, s.Position, s.Lag, s.LagTime.Round(time.Second),
			len(s.Members), s.Held, s.Failing, s.Parked, note(s))
	}
	return w.Flush()
}

// note says what an operator should know first.
func note(s subscription.Status) string {
	for _, m := range s.Members {
		if m.Paused != "" {
			return "paused: " + m.Paused
		}
	}
	if s.Full {
		return "paused: as many streams wait as may; the log is read on when some are done"
	}
	if s.Owner != nil {
		return fmt.Sprintf("leased over HTTP, %d messages out", s.Leased)
	}
	if len(s.Members) == 0 {
		return "nobody works for it"
	}
	return ""
}

func showSubscription(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	s, err := n.subscriptions().Show(ctx, args[0])
	if err != nil {
		return err
	}
	held, err := n.subscriptions().Held(ctx, s.Name, listed)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s: position %d, %d behind (%s); %d streams held, %d of them failing; %d messages parked\n",
		s.Name, s.Position, s.Lag, s.LagTime.Round(time.Second), s.Held, s.Failing, s.Parked)
	fmt.Fprintf(out, "categories: %s; types: %s\n", orAll(s.Filter.Categories), orAll(s.Filter.Types))
	if s.Owner != nil {
		fmt.Fprintf(out, "leased over HTTP, %d messages out; it is %s's\n", s.Leased, *s.Owner)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\nPROCESS\tSLOTS\tSINCE\tLEASE ENDS\tPAUSED")
	for _, m := range s.Members {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", m.Label, m.Slots, stamp(m.JoinedAt), stamp(m.ExpiresAt), m.Paused)
	}
	fmt.Fprintln(w, "\nHELD STREAM\tPOSITION\tATTEMPTS\tSINCE\tNEXT TRY\tPROGRESS\tERROR")
	for _, h := range held {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", h.Stream, h.Position, h.Attempts, stamp(h.Since), optionalStamp(h.NextAt), line(h.Progress), line(h.Error))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if s.Held > len(held) {
		fmt.Fprintf(out, "… and %d more\n", s.Held-len(held))
	}
	return nil
}

func orAll(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, ", ")
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func optionalStamp(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return stamp(*at)
}

// line puts a text on one line.
func line(text string) string { return strings.ReplaceAll(text, "\n", " ") }

func listDeadLetters(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	if _, err := n.subscriptions().Show(ctx, args[0]); err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "POSITION\tSTREAM\tVERSION\tTYPE\tATTEMPTS\tPARKED\tERROR")
	for after := int64(0); ; {
		page, err := n.subscriptions().Parked(ctx, args[0], after, listed)
		if err != nil {
			return err
		}
		for _, p := range page {
			fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%d\t%s\t%s\n", p.Position, p.Stream, p.Version, p.Type, p.Attempts, stamp(p.ParkedAt), line(p.Error))
			after = p.Position
		}
		if len(page) < listed {
			return w.Flush()
		}
	}
}

// deadLettersCommand is a command on the parked messages that its flags choose.
func deadLettersCommand(environ []string, stderr io.Writer, use, short, done string,
	act func(*subscription.Log, context.Context, string, subscription.Which) (int64, error),
) *cobra.Command {
	var which subscription.Which
	var all bool
	cmd := &cobra.Command{Use: use + " NAME", Short: short, Args: oneArg}
	cmd.Flags().Int64Var(&which.Position, "position", 0, "the one at this position")
	cmd.Flags().StringVar(&which.Error, "error", "", "those whose error contains this text")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.RunE = onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
		if all == (which != subscription.Which{}) {
			return usageError{errors.New("say which: --position, --error, or --all")}
		}
		count, err := act(n.subscriptions(), ctx, args[0], which)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d %s\n", count, done)
		return nil
	})
	return cmd
}

func resetCommand(environ []string, stderr io.Writer) *cobra.Command {
	var to string
	var effects bool
	cmd := &cobra.Command{
		Use: "reset NAME", Short: "Set a subscription back or forward",
		Long: "Set a subscription to another place in the log, also while its workers run. What it holds or has parked is cleared.\n" +
			"Workers whose effects cannot be taken back (a mail) leave out what they did before, unless --replay-effects is given.",
		Args: oneArg,
	}
	cmd.Flags().StringVar(&to, "to", "", `"beginning", "now", or a position: what lies behind it comes next`)
	cmd.Flags().BoolVar(&effects, "replay-effects", false, "have every effect happen again (mails are sent again!)")
	cmd.RunE = onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
		start, err := parseStart(to)
		if err != nil {
			return err
		}
		// A worker that has never run has a place too: after an import it is set forward before it first does.
		router := workers.New(n.subscriptions(), n.log)
		workers.Catalog(router, workers.Tools{Log: n.log})
		if err := router.Prepare(ctx); err != nil {
			return err
		}
		before, err := n.subscriptions().Show(ctx, args[0])
		if err != nil {
			return err
		}
		if err := n.subscriptions().Reset(ctx, args[0], start, effects); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s was at %d and goes on after %s; %d held streams and %d parked messages were cleared\n",
			before.Name, before.Position, to, before.Held, before.Parked)
		return nil
	})
	return cmd
}

func parseStart(to string) (subscription.Start, error) {
	switch to {
	case "beginning":
		return subscription.Beginning(), nil
	case "now":
		return subscription.Now(), nil
	}
	position, err := strconv.ParseInt(to, 10, 64)
	if err != nil || position < 0 {
		return subscription.Start{}, usageError{fmt.Errorf(`--to must be "beginning", "now" or a position, not %q`, to)}
	}
	return subscription.After(position), nil
}
