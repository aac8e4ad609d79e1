package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// version is set when the binary is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := command(environ, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "atlas:", err)
	if isMistake(err) {
		return 2
	}
	return 1
}

// isMistake says whether an error is of whoever called: an argument or a setting that cannot be, a name of nothing that is there,
// what another process has taken, or a program that is not installed. Nothing has been changed then.
func isMistake(err error) bool {
	if errors.As(err, new(usageError)) || errors.Is(err, postgres.ErrNotInstalled) || errors.Is(err, postgres.ErrInUse) {
		return true
	}
	_, f, is := fault.Of(err)
	return is && slices.Contains([]fault.Kind{fault.BadRequest, fault.NotFound, fault.Invalid}, f.Kind())
}

// usageError is a mistake of whoever called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// command returns the tree of commands.
func command(environ []string, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "atlas",
		Short: "The event-sourced backend a SaaS product starts on",
		Long: "Atlas is the event-sourced backend a SaaS product starts on. All settings come from the environment (README.md lists them).\n" +
			"Commands work on the database of ATLAS_DATABASE_URL, or on the private server in ATLAS_DATA_DIR, beside a running\n" +
			"`atlas serve` or without one.\n\n" +
			"A command exits with 0 when it is done, with 2 for a mistake of the caller's (an argument, a setting, something that is not\n" +
			"there, not installed or taken by another process), and with 1 when something failed, or is not as it should be.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		serveCommand(environ, stderr),
		projectionsCommand(environ, stderr),
		subscriptionsCommand(environ, stderr),
		outboxCommand(environ, stderr),
		relayCommand(environ, stderr),
		subjectsCommand(environ, stderr),
		keysCommand(environ, stderr),
		sessionsCommand(environ, stderr),
		eventsCommand(environ, stderr),
		usersCommand(environ, stderr),
		migrateCommand(environ, stderr),
		benchCommand(environ, stderr),
		followCommand(),
		healthcheckCommand(environ),
	)
	return group(root)
}

// group makes a command that only holds others: alone it shows its help, and a name it does not hold is the caller's
// mistake.
func group(c *cobra.Command) *cobra.Command {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return usageError{fmt.Errorf("there is no command %q in %s; see %[2]s --help", args[0], c.CommandPath())}
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	return c
}
