package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func eventsCommand(environ []string, stderr io.Writer) *cobra.Command {
	parent := &cobra.Command{Use: "events", Short: "Verify the log, and export what proves it"}
	parent.AddCommand(
		verifyCommand(environ, stderr),
		headsCommand(environ, stderr),
		newChainCommand(environ, stderr),
	)
	return group(parent)
}

// onNode carries out a command on the log, beside a server or without one.
func onNode(environ []string, stderr io.Writer, do func(context.Context, *node, *cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cfg, log, err := settings(environ, stderr)
		if err != nil {
			return err
		}
		n, err := openNode(cmd.Context(), cfg, log, true)
		if err != nil {
			return err
		}
		defer n.close()
		return do(cmd.Context(), n, cmd, args)
	}
}
