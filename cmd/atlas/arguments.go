package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// noArgs, oneArg, twoArgs and atMostOneArg are how many arguments a command takes.
func noArgs(cmd *cobra.Command, args []string) error       { return counted(cmd, args, 0, 0) }
func oneArg(cmd *cobra.Command, args []string) error       { return counted(cmd, args, 1, 1) }
func twoArgs(cmd *cobra.Command, args []string) error      { return counted(cmd, args, 2, 2) }
func atMostOneArg(cmd *cobra.Command, args []string) error { return counted(cmd, args, 0, 1) }

// counted refuses another number of arguments, as the caller's mistake, and says how the command is used.
func counted(cmd *cobra.Command, args []string, least, most int) error {
	switch {
	case len(args) < least:
		return usageError{fmt.Errorf("an argument is missing; usage: %s", cmd.UseLine())}
	case len(args) > most:
		return usageError{fmt.Errorf("%q is one argument too many; usage: %s", args[most], cmd.UseLine())}
	}
	return nil
}

// exclusive has a command refuse two flags together, as the caller's mistake.
func exclusive(cmd *cobra.Command, one, other string) {
	cmd.MarkFlagsMutuallyExclusive(one, other)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := cmd.ValidateFlagGroups(); err != nil {
			return usageError{err}
		}
		return nil
	}
}
