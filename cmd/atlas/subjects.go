package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/auth"
)

func subjectsCommand(environ []string, stderr io.Writer) *cobra.Command {
	forget := &cobra.Command{
		Use: "forget USER_ID", Short: "Erase a user's personal data for good",
		Long: "Shut a user out, give their address free, and destroy the key of their personal data. What is sealed in the log\n" +
			"reads as erased from then on, on every node within a second, and the read tables drop the user's rows. Nothing\n" +
			"brings it back but a backup: keep the ledger (atlas subjects ledger export) apart from those.",
		Args: oneArg,
	}
	yes := forget.Flags().Bool("yes", false, "forget without being asked again")
	forget.RunE = func(cmd *cobra.Command, args []string) error {
		user, err := uuid.Parse(args[0])
		if err != nil {
			return usageError{fmt.Errorf("%q is no user's id", args[0])}
		}
		if !*yes {
			return usageError{fmt.Errorf("this erases all personal data of user %s for good; say so with --yes", user)}
		}
		return onNode(environ, stderr, forgetUser)(cmd, []string{user.String()})
	}
	ledger := &cobra.Command{Use: "ledger", Short: "Export and replay the ledger of who was forgotten"}
	ledger.AddCommand(
		&cobra.Command{
			Use: "export", Short: "Write the erasure ledger to the standard output, as signed JSON lines",
			Args: noArgs, RunE: onKeys(environ, stderr, exportLedger),
		},
		&cobra.Command{
			Use: "replay FILE", Short: "Forget everyone in an exported ledger again, after a restore from a backup",
			Long: "Forget everyone in an exported ledger again. A backup brings back those who were forgotten after it was made:\n" +
				"replay the newest ledger before anything else is done with the restored database. Doing it twice is harmless.",
			Args: oneArg, RunE: onNode(environ, stderr, replayLedger),
		},
	)
	parent := &cobra.Command{Use: "subjects", Short: "Forget people, and keep it so after a restore"}
	parent.AddCommand(forget, group(ledger))
	return group(parent)
}

func forgetUser(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	user, err := uuid.Parse(args[0])
	if err != nil {
		return err
	}
	err = n.prepareForgetting(ctx, user)
	if errors.Is(err, commands.ErrNotFound) {
		return usageError{fmt.Errorf("there is no user %s", user)}
	}
	if err != nil {
		return err
	}
	e, err := n.keys.Forget(ctx, n.store, user)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "user %s is forgotten, at position %d\n", user, e.Position)
	return nil
}

// prepareForgetting does what the domain wants done while a user's address can still be read.
func (n *node) prepareForgetting(ctx context.Context, user uuid.UUID) error {
	secret, err := n.keys.Secret(ctx, "email")
	if err != nil {
		return err
	}
	addressID := func(address string) uuid.UUID { return auth.EmailKey(secret, address) }
	err = commands.NewHandler(n.store).ForgetUser(ctx, user, commands.Actor{Admin: true}, addressID)
	if err != nil {
		return fmt.Errorf("user %s: %w", user, err)
	}
	return nil
}

func exportLedger(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	_, err := n.keys.ExportLedger(ctx, cmd.OutOrStdout())
	return err
}

// replayLedger reads the whole ledger before it forgets anyone, and holds the database against it in the end.
func replayLedger(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	file, err := os.Open(args[0])
	if err != nil {
		return usageError{err}
	}
	defer file.Close()
	ledger, err := n.keys.ReadLedger(ctx, file)
	if errors.Is(err, sealing.ErrLedger) {
		return usageError{fmt.Errorf("%s: %w", args[0], err)}
	}
	if err != nil {
		return err
	}
	back, err := n.keys.Remaining(ctx, ledger)
	if err != nil {
		return err
	}
	bar := newProgress(cmd.ErrOrStderr(), "replay")
	defer bar.clear()
	for i, e := range ledger {
		if err := n.replay(ctx, e); err != nil {
			return err
		}
		bar.show(int64(i+1), int64(len(ledger)))
	}
	left, err := n.keys.Remaining(ctx, ledger)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%d of %d subjects are still not forgotten, %s among them", len(left), len(ledger), left[0])
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d subjects in the ledger, all forgotten; %d of them had come back\n", len(ledger), len(back))
	return nil
}

// replay forgets one subject of a ledger again. Not every subject is a user of this database: one who registered after the
// backup was made is known to the ledger alone.
func (n *node) replay(ctx context.Context, e sealing.Erasure) error {
	if err := n.prepareForgetting(ctx, e.Subject); err != nil && !errors.Is(err, commands.ErrNotFound) {
		return err
	}
	_, err := n.keys.Replay(ctx, n.store, e)
	return err
}
