package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

// onNode returns what runs a command beside whatever else uses the database.
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
