package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/workers"
)

// signing returns the keys that access tokens are signed with, as the log of the node tells them.
func (n *node) signing(keyring workers.Keyring) *workers.Signing {
	return workers.NewSigning(keyring, n.keys, time.Now, n.log)
}

// addTokens makes the access tokens, and has the one feed over the log keep both up: what is revoked, and which keys sign.
func (a *app) addTokens(ctx context.Context, cfg Config, handler *commands.Handler, waker *eventstore.Waker) (*auth.Tokens, error) {
	given, err := cfg.signingSeeds()
	if err != nil {
		return nil, err
	}
	signing := a.node.signing(handler)
	if err := signing.Adopt(ctx, given); err != nil {
		return nil, err
	}
	keys, err := signing.Load(ctx)
	if err != nil {
		return nil, err
	}
	issuer := cfg.PublicURL
	if issuer == "" {
		issuer = "atlas"
	}
	tokens := auth.NewTokens(keys, issuer, "atlas", time.Now)
	a.revocations = auth.NewRevocations(time.Now)
	// A connection of its own, since revocations must not wait for requests that have all the others.
	guard := eventstore.New(a.node.guardPool, a.node.store.Vocabulary(), a.node.keys)
	feed := workers.NewRevocation(guard, waker, a.revocations, time.Now, a.node.log)
	feed.Follow(workers.SigningTypes(), func(ctx context.Context) error {
		keys, err := signing.Load(ctx)
		if err == nil {
			tokens.Use(keys)
		}
		return err
	})
	a.parts = append(a.parts, feed.Run, signing.Run)
	return tokens, nil
}

// signingCommands see and change the keys that sign access tokens.
func signingCommands(environ []string, stderr io.Writer) []*cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate", Short: "Make a new signing key, which takes the place of the one in use",
		Long: fmt.Sprintf("Make a new signing key and announce it. After %s it signs, and what the key before it has signed is accepted for %s\n"+
			"more. No request fails meanwhile. With --now it signs after %s: for a key that leaked, where nobody but Atlas\n"+
			"verifies tokens, or may fail to for some minutes. Then retire the one that leaked.",
			commands.KeyAnnounced, commands.KeyVerifies, commands.KeyAnnouncedAtLeast),
		Args: noArgs,
	}
	now := rotate.Flags().Bool("now", false, "announce it for seconds only")
	rotate.RunE = onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
		announced := commands.KeyAnnounced
		if *now {
			announced = commands.KeyAnnouncedAtLeast
		}
		key, err := n.signing(commands.NewHandler(n.store)).Rotate(ctx, announced)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "key %s is announced and signs from %s\n", key.ID, key.SignsFrom.UTC().Format(time.RFC3339))
		return nil
	})
	return []*cobra.Command{
		{Use: "list", Short: "Show the keys that sign and verify access tokens", Args: noArgs, RunE: onLog(environ, stderr, listSigningKeys)},
		rotate,
		{
			Use: "retire KEY", Short: "Refuse everything that a signing key has signed, from now on",
			Long: "Refuse everything that a signing key has signed, on every node within a second. Who holds such a token has to refresh\n" +
				"it. The key that signs cannot be retired: rotate first.",
			Args: oneArg, RunE: onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
				err := n.signing(commands.NewHandler(n.store)).Retire(ctx, args[0])
				if errors.Is(err, commands.ErrNotFound) {
					return usageError{fmt.Errorf("there is no key %s; `atlas keys list` shows those there are", args[0])}
				}
				if err != nil {
					return usageError{fmt.Errorf("key %s: %w", args[0], err)}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "key %s is removed\n", args[0])
				return nil
			}),
		},
	}
}

func listSigningKeys(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	all, err := commands.NewHandler(n.store).SigningKeys(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tSTATE\tSINCE\tNEXT")
	for _, k := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.State, k.Since.UTC().Format(time.RFC3339), whatNext(k))
	}
	return w.Flush()
}

// whatNext says what becomes of a key, and when.
func whatNext(k commands.SigningKey) string {
	switch {
	case k.State == commands.Announced && !k.SignsFrom.IsZero():
		return "signs from " + k.SignsFrom.UTC().Format(time.RFC3339)
	case k.State == commands.Retiring:
		return "removed at " + k.Until.UTC().Format(time.RFC3339)
	}
	return "-"
}

// sessionsCommand ends sessions.
func sessionsCommand(environ []string, stderr io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use: "end-all", Short: "Sign everybody out",
		Long: "Refuse every access and refresh token there is, on every node within a second. API keys stay good.",
		Args: noArgs,
	}
	yes := c.Flags().Bool("yes", false, "sign everybody out without being asked again")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !*yes {
			return usageError{errors.New("this ends every session there is; say so with --yes")}
		}
		return onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
			out := commands.Signing.On(commands.SigningID, commands.SignOutEveryone{})
			if _, err := commands.NewHandler(n.store).Handle(ctx, out); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "everybody is signed out")
			return nil
		})(cmd, args)
	}
	parent := &cobra.Command{Use: "sessions", Short: "End sessions"}
	parent.AddCommand(c)
	return group(parent)
}
