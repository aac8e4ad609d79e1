package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/commands"
)

// giveCommand gives a subscription whose key was revoked, or has expired, to the key of the worker that goes on.
func giveCommand(environ []string, stderr io.Writer) *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use: "give NAME --key ID", Short: "Give a subscription that is leased over HTTP to another service key",
		Long: "Give a subscription that is leased over HTTP to another service key, as where its own was revoked or has expired. It\n" +
			"keeps its place in the log, and all that waits or is parked; its former key finds it no more. A message that is leased\n" +
			"comes again when its lease ends, unless the worker that has its token answers it with the new key before.",
		Args: oneArg,
	}
	cmd.Flags().StringVar(&key, "key", "", "the key's id, as GET /v1/admin/api-keys lists it; not the key itself")
	cmd.RunE = onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
		to, err := n.workersKey(ctx, key)
		if err != nil {
			return err
		}
		from, err := n.subscriptions().Give(ctx, args[0], to)
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%s was %s's and is %s's\n", args[0], from, to)
		}
		return err
	})
	return cmd
}

// workersKey returns the id of a service key that may work for subscriptions. What is wrong with another one is said without
// its text, since that may be a secret.
func (n *node) workersKey(ctx context.Context, text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil, usageError{errors.New("--key must be the id of a service key, as GET /v1/admin/api-keys lists it, and not the key itself")}
	}
	key, err := commands.NewHandler(n.store).APIKey(ctx, id)
	if errors.Is(err, commands.ErrNotFound) {
		return uuid.Nil, usageError{fmt.Errorf("there is no API key %s", id)}
	}
	if err != nil {
		return uuid.Nil, err
	}
	if why := unfit(key, time.Now()); why != "" {
		return uuid.Nil, usageError{fmt.Errorf("the API key %s %s", id, why)}
	}
	return id, nil
}

// unfit says why a key cannot work for a subscription; "" where it can.
func unfit(key commands.KeyAccount, now time.Time) string {
	const scope = "subscriptions:use"
	switch {
	case key.Owner.ID != uuid.Nil:
		return "is a user's; give the subscription to a service key, which an admin makes"
	case key.Revoked:
		return "was revoked; give the subscription to another one"
	case key.ExpiresAt != nil && !key.ExpiresAt.After(now):
		return "has expired; give the subscription to another one"
	case !slices.Contains(key.Scopes, scope):
		return "lacks the scope " + scope + "; give the subscription to one that has it"
	}
	return ""
}
