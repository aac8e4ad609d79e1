package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/transfer"
	"github.com/atlas-platform/atlas/eventstore/watermillsql"
)

func eventsCommand(environ []string, stderr io.Writer) *cobra.Command {
	parent := &cobra.Command{
		Use:   "events",
		Short: "Read, follow, export, import and verify the log",
		Long: "Read, follow, export, import and verify the log. Events are printed as NDJSON, one per line, with the fields position, stream,\n" +
			"version, id, type, schema_version, recorded_at, subject, data, metadata and sealed. What is sealed is personal data: it\n" +
			"stays encrypted (base64) unless --unseal adds it as sealed_data. Secret fields are never printed.",
	}
	parent.AddCommand(
		readCommand(environ, stderr),
		tailCommand(environ, stderr),
		exportCommand(environ, stderr),
		importCommand(environ, stderr),
		&cobra.Command{Use: "parts", Short: "List the parts of the log", Args: noArgs, RunE: onLog(environ, stderr, listParts)},
		&cobra.Command{
			Use: "detach NUMBER", Short: "Detach a part of the log, to be dumped and dropped",
			Long: "Detach a part of the log, which becomes a table of its own, to be dumped and dropped. Until it is attached again,\n" +
				"whoever would read over it is refused: rebuilds, exports, and consumers that are behind it.",
			Args: oneArg, RunE: onNode(environ, stderr, detachPart),
		},
		&cobra.Command{Use: "attach NUMBER", Short: "Attach a part of the log again", Args: oneArg, RunE: onNode(environ, stderr, attachPart)},
		&cobra.Command{
			Use: "readers", Short: "Show how far plain watermill-sql subscribers have read the log",
			Long: "Show how far plain watermill-sql subscribers have read the log, by topic and consumer group, and by how many positions they\n" +
				"are behind its end. One whose topic has nothing new may be up to a thousand behind, and have read all there is for it.",
			Args: noArgs, RunE: onLog(environ, stderr, listReaders),
		},
		verifyCommand(environ, stderr),
		headsCommand(environ, stderr),
		newChainCommand(environ, stderr),
	)
	return group(parent)
}

// eventFlags are the flags of the commands that print events.
type eventFlags struct {
	query  transfer.Query
	stream string
	from   string
}

func (f *eventFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.query.Filter.Categories, "category", nil, "only streams of these categories")
	cmd.Flags().StringSliceVar(&f.query.Filter.Types, "type", nil, "only events of these types")
	cmd.Flags().BoolVar(&f.query.Unseal, "unseal", false, "open sealed fields into sealed_data (personal data!)")
}

// runs has cmd do something on the log, with the keys of personal data only where it is to open any.
func (f *eventFlags) runs(cmd *cobra.Command, environ []string, stderr io.Writer, do func(context.Context, *node, *cobra.Command, []string) error) {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.query.Unseal {
			return onKeys(environ, stderr, do)(cmd, args)
		}
		return onLog(environ, stderr, do)(cmd, args)
	}
}

func readCommand(environ []string, stderr io.Writer) *cobra.Command {
	var f eventFlags
	cmd := &cobra.Command{Use: "read", Short: "Print events, up to the end of the log", Args: noArgs}
	cmd.Flags().StringVar(&f.stream, "stream", "", "only this stream (category-uuid), by version")
	cmd.Flags().Int64Var(&f.query.From, "from", 1, "first position")
	cmd.Flags().Int64Var(&f.query.To, "to", 0, "last position; 0 for the end of the log")
	cmd.Flags().Int64Var(&f.query.Limit, "limit", 0, "print at most so many; 0 for all")
	f.add(cmd)
	f.runs(cmd, environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
		if q := f.query; q.From < 0 || q.To < 0 || q.Limit < 0 || q.To > 0 && q.To < q.From {
			return usageError{errors.New("--from, --to and --limit must not be below 0, nor --to below --from")}
		}
		if f.stream != "" {
			stream, err := eventstore.ParseStream(f.stream)
			if err != nil {
				return usageError{err}
			}
			f.query.Stream = &stream
		}
		return n.transfer().Read(ctx, cmd.OutOrStdout(), f.query)
	})
	return cmd
}

func tailCommand(environ []string, stderr io.Writer) *cobra.Command {
	var f eventFlags
	cmd := &cobra.Command{Use: "tail", Short: "Print events as they are recorded, until interrupted", Args: noArgs}
	cmd.Flags().StringVar(&f.from, "from", "now", `first position, or "now"`)
	f.add(cmd)
	f.runs(cmd, environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) (err error) {
		if f.from == "now" {
			f.query.From, err = n.store.Horizon(ctx)
			f.query.From++
		} else if f.query.From, err = strconv.ParseInt(f.from, 10, 64); err != nil {
			err = usageError{fmt.Errorf(`--from must be a position or "now", not %q`, f.from)}
		}
		if err != nil {
			return err
		}
		return n.transfer().Follow(ctx, cmd.OutOrStdout(), f.query)
	})
	return cmd
}

// transfer is the log as the commands above work on it.
func (n *node) transfer() *transfer.Log {
	return &transfer.Log{Pool: n.pool, Store: n.store, Sealer: n.keys}
}

func listParts(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	parts, err := n.store.Parts(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NUMBER\tTABLE\tFIRST\tLAST\tEVENTS\tSIZE\tSTATE")
	for _, p := range parts {
		fmt.Fprintf(w, "%d\tatlas.%s\t%d\t%d\t~%d\t%s\t%s\n", p.Number, p.Name, p.First, p.Last, p.Events, mebibytes(p.Bytes), partState(p))
	}
	return w.Flush()
}

func partState(p eventstore.Part) string {
	switch {
	case p.Attached:
		return "attached"
	case p.Here:
		return "detached"
	}
	return "detached, not in this database"
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func listReaders(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	readers, err := watermillsql.Readers(ctx, n.pool)
	if err != nil {
		return err
	}
	last, err := n.store.Last(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tGROUP\tPOSITION\tBEHIND\tMOVED")
	for _, r := range readers {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", line(r.Topic), line(r.Group), r.Position, max(last-r.Position, 0), stamp(r.MovedAt))
	}
	return w.Flush()
}

func detachPart(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	number, err := partNumber(args[0])
	if err != nil {
		return err
	}
	if err := n.store.DetachPart(ctx, number); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "detached: the part is the table atlas.events_%d\n", number)
	return nil
}

func attachPart(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
	number, err := partNumber(args[0])
	if err != nil {
		return err
	}
	if err := n.store.AttachPart(ctx, number); err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), "attached")
	return nil
}

func partNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, usageError{fmt.Errorf("%q is not the number of a part; atlas events parts lists them", text)}
	}
	return n, nil
}
