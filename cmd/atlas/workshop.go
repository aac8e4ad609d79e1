package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/projections/engine"
)

// workFlags are the flags of the commands that fold the log anew.
type workFlags struct {
	load   int
	memory int64
	sample int
	all    bool
	repair bool
}

func (f *workFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.load, "max-load", 100, "work so many per cent of the time, and rest for the others")
	cmd.Flags().Int64Var(&f.memory, "memory", engine.DefaultMemory>>20, "hold so many MiB of rows in memory at once")
	cmd.Flags().IntVar(&f.sample, "sample", engine.DefaultSample, "compare about so many rows with the log")
}

func (f *workFlags) options() (o engine.Options, err error) {
	if f.load < 1 || f.load > 100 || f.memory < 1 || f.sample < 1 {
		return o, usageError{errors.New("--max-load goes from 1 to 100; --memory and --sample must be above 0")}
	}
	o = engine.Options{MaxLoad: f.load, Memory: f.memory << 20, Sample: f.sample, Repair: f.repair}
	if f.all {
		o.Sample = -1
	}
	return o, nil
}

func rebuildCommand(environ []string, stderr io.Writer) *cobra.Command {
	var f workFlags
	cmd := &cobra.Command{
		Use: "rebuild NAME", Short: "Fold the whole log into a read table anew, beside the one that is read", Args: oneArg,
		Long: "Fold the whole log into a new generation of a read table, beside the one that is read and kept up meanwhile. When it\n" +
			"has caught up and a sample of its rows agrees with the log, it takes the other's place in one transaction; the other\n" +
			"stays for `rollback`. Stopped or killed, the rebuild goes on where it was when the command is given again;\n" +
			"`cancel` throws it away. Given while a rebuild is going on, the command changes its --max-load and --memory.",
		RunE: onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
			return n.work(ctx, cmd, engine.KindRebuild, args[0], &f, func(w io.Writer, j worked) error {
				fmt.Fprintf(w, "%s rebuilt in %s from %d events; a sample of %d rows agrees with the log; meanwhile the live table lagged by %s at most\n",
					j.ID.Name, j.took, j.Events, rowsOf(j.Job), short(j.lag))
				return nil
			})
		}),
	}
	f.add(cmd)
	return cmd
}

func rollbackCommand(environ []string, stderr io.Writer) *cobra.Command {
	var f workFlags
	cmd := &cobra.Command{
		Use: "rollback NAME", Short: "Take the last rebuild of a read table back", Args: oneArg,
		Long: "Bring the generation that was read before the last rebuild up to date, and let it be read again. The other stays: to\n" +
			"roll back once more is to undo it.",
		RunE: onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
			return n.work(ctx, cmd, engine.KindRollback, args[0], &f, func(w io.Writer, j worked) error {
				fmt.Fprintf(w, "%s rolled back to generation %d in %s\n", j.ID.Name, j.Generation, j.took)
				return nil
			})
		}),
	}
	f.add(cmd)
	cmd.Flags().Lookup("sample").Hidden = true
	return cmd
}

// errDiffers is what verifying comes to where rows are not what the log says.
var errDiffers = errors.New("the table is not what the log says")

func verifyProjectionCommand(environ []string, stderr io.Writer) *cobra.Command {
	var f workFlags
	cmd := &cobra.Command{
		Use: "verify NAME", Short: "Compare a read table with a fold of the log", Args: oneArg,
		Long: "Compare rows of a read table with a fold of the log up to where the table is, while it is kept up and read. Rows that\n" +
			"differ are named, with the columns that do; their values are not printed. It exits 1 where any differ.\n\n" +
			"A sample takes half of its rows from the table and half from the log, so that missing ones are found too. --all folds the\n" +
			"whole log into a table of its own and compares the two. --repair makes the rows that differ what the log says.",
		RunE: onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
			return n.work(ctx, cmd, engine.KindVerify, args[0], &f, printVerification)
		}),
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.all, "all", false, "compare every row")
	cmd.Flags().BoolVar(&f.repair, "repair", false, "make the rows that differ what the log says")
	exclusive(cmd, "sample", "all")
	return cmd
}

func printVerification(w io.Writer, j worked) error {
	var found engine.Verification
	if err := json.Unmarshal(j.Result, &found); err != nil {
		return err
	}
	for _, d := range found.Differences {
		fmt.Fprintln(w, d)
	}
	fmt.Fprintf(w, "%s: %d rows compared up to position %d in %s, %d differ", j.ID.Name, found.Rows, found.Position, j.took, found.Different)
	if found.Repaired > 0 {
		fmt.Fprintf(w, ", %d repaired\n", found.Repaired)
		return nil
	}
	fmt.Fprintln(w)
	if found.Different > 0 {
		return errDiffers
	}
	return nil
}

func cancelCommand(environ []string, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "cancel NAME", Short: "Cancel what is being done to a read table", Args: oneArg,
		Long: "Cancel a rebuild, a rollback or a verification that has not ended, wherever it runs. What it has built is thrown away;\n" +
			"what is read stays as it is.",
		RunE: onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
			p, err := n.projection(args[0])
			if err != nil {
				return err
			}
			if err := n.workshop().Cancel(ctx, p.ID()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: cancelled\n", p.ID().Name)
			return nil
		}),
	}
}

// workshop returns what works on this node's projections.
func (n *node) workshop() *engine.Workshop {
	return engine.NewWorkshop(n.store, n.pool, n.log, buildOf, n.projections)
}

// buildOf returns what tells this binary from another.
func buildOf() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// work does a job with a bar that shows how it goes, and prints what came of it.
func (n *node) work(ctx context.Context, cmd *cobra.Command, kind engine.Kind, name string, f *workFlags, print func(io.Writer, worked) error) error {
	p, err := n.projection(name)
	if err != nil {
		return err
	}
	options, err := f.options()
	if err != nil {
		return err
	}
	bar := newProgress(cmd.ErrOrStderr(), fmt.Sprintf("%s %s", kind, name))
	lag := liveLag{node: n, id: p.ID()}
	started := time.Now()
	j, err := n.workshop().Do(ctx, kind, p.ID(), options, func(j engine.Job) {
		lag.look(ctx)
		bar.phase(fmt.Sprintf("%s %s: %s", kind, name, j.Phase))
		bar.note, bar.endless = ", live lag "+short(lag.now), j.Outrun()
		bar.show(j.Done, j.Total)
	})
	bar.clear()
	if ctx.Err() != nil {
		return fmt.Errorf("stopped; the same command goes on from there, and `atlas projections cancel %s` throws it away", name)
	}
	if err != nil {
		return err
	}
	return print(cmd.OutOrStdout(), worked{j, time.Since(started).Round(time.Millisecond), lag.most})
}

// worked is a job that has been done.
type worked struct {
	engine.Job
	took time.Duration
	lag  time.Duration // the most that the table that is read was seen to be behind meanwhile
}

// liveLag is how far the table that is read lags behind, while something else is done to it.
type liveLag struct {
	node      *node
	id        engine.ID
	looked    time.Time
	now, most time.Duration
}

// lagLook is the least time between two looks.
const lagLook = 250 * time.Millisecond

// look looks now and then. What cannot be seen is left out: the work itself will say why.
func (l *liveLag) look(ctx context.Context) {
	if time.Since(l.looked) < lagLook {
		return
	}
	l.looked = time.Now()
	if behind, err := engine.Behind(ctx, l.node.pool, l.id); err == nil {
		l.now, l.most = behind, max(l.most, behind)
	}
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }

// rowsOf returns how many rows a job has compared.
func rowsOf(j engine.Job) int64 {
	var found engine.Verification
	if json.Unmarshal(j.Result, &found) != nil {
		return 0
	}
	return found.Rows
}
