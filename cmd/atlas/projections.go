package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/projections/engine"
)

func projectionsCommand(environ []string, stderr io.Writer) *cobra.Command {
	parent := &cobra.Command{Use: "projections", Short: "See, rebuild and verify the read tables"}
	parent.AddCommand(
		&cobra.Command{Use: "list", Short: "Show how far each projection has come, and what is being done to it", Args: noArgs, RunE: onLog(environ, stderr, listProjections)},
		rebuildCommand(environ, stderr),
		rollbackCommand(environ, stderr),
		verifyProjectionCommand(environ, stderr),
		cancelCommand(environ, stderr),
		&cobra.Command{
			Use: "drop-old", Short: "Drop retired generations, and versions that nobody runs", Args: noArgs,
			Long: "Drop the generations that rebuilds have retired, and the versions of read tables that neither this binary has nor any\n" +
				"process that is running; what one runs or reads is kept, and said to be. Then there is nothing to roll back to; an older\n" +
				"binary fills its tables anew. Event types that only binaries know which nobody runs any more are not waited for longer.",
			RunE: onNode(environ, stderr, dropOld),
		},
	)
	parent.AddCommand(parkedCommands(environ, stderr)...)
	return group(parent)
}

func listProjections(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	newest, err := n.store.Newest(ctx)
	if err != nil {
		return err
	}
	all, err := engine.List(ctx, n.pool, newest)
	if err != nil {
		return err
	}
	jobs, err := engine.LastJobs(ctx, n.pool)
	if err != nil {
		return err
	}
	lags, err := engine.Lags(ctx, n.pool)
	if err != nil {
		return err
	}
	late := map[engine.ID]engine.Lag{}
	for _, l := range lags {
		late[l.ID] = l
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVERSION\tGENERATION\tPOSITION\tLAG\tBEHIND\tMOVED\tJOB\tCAUSE")
	for _, s := range all {
		l := late[s.ID]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", s.ID.Name, s.ID.Version, s.Generation, s.Position, s.Lag,
			l.Behind.Round(time.Millisecond), moment(s.MovedAt), jobText(jobs[s.ID]), strings.ReplaceAll(cmp.Or(l.Cause, s.Error), "\n", " "))
	}
	return w.Flush()
}

// jobText says what is being done to a projection; "-" where nothing is.
func jobText(j engine.Job) string {
	switch {
	case j.Number == 0 || j.Ended():
		return "-"
	case j.State == "waiting":
		return string(j.Kind) + ": waits for a process"
	case j.Abandoned:
		return string(j.Kind) + ": stopped, to be gone on with"
	case j.Total <= 0:
		return fmt.Sprintf("%s: %s", j.Kind, cmp.Or(j.Phase, "begins"))
	}
	text := fmt.Sprintf("%s: %s, %d%%", j.Kind, j.Phase, 100*j.Done/j.Total)
	if left, known := j.Left(); known {
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return text
}

func dropOld(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	done, err := n.workshop().DropOld(ctx)
	if err != nil {
		return err
	}
	for _, table := range done.Tables {
		fmt.Fprintln(cmd.OutOrStdout(), "dropped", table)
	}
	for _, kept := range done.Kept {
		fmt.Fprintln(cmd.OutOrStdout(), "kept", kept)
	}
	for _, forgotten := range done.Forgotten {
		fmt.Fprintln(cmd.OutOrStdout(), "nobody waits any more for a binary that knows", forgotten)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d tables dropped\n", len(done.Tables))
	return nil
}

// projection finds one by name.
func (n *node) projection(name string) (engine.Projection, error) {
	var names []string
	for _, p := range n.projections {
		if p.ID().Name == name {
			return p, nil
		}
		names = append(names, p.ID().Name)
	}
	return nil, usageError{fmt.Errorf("there is no projection %q; there are %s", name, strings.Join(names, ", "))}
}
