package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/cmd/atlas/bench"
	"github.com/atlas-platform/atlas/internal/measure"
)

// benchPairs is how many pairs of samples a figure is the median of.
const benchPairs = 9

// benchmark is `atlas bench` with its flags.
type benchmark struct {
	clients []int
	length  time.Duration
	events  int64
	rate    int
	json    bool
}

func benchCommand(environ []string, stderr io.Writer) *cobra.Command {
	var b benchmark
	var names []string
	about := "Measure a part of Atlas beside the bare minimum that does the same on the same PostgreSQL, in nine pairs of samples that\n" +
		"take turns; the ratio is the median over the pairs. Without ATLAS_DATABASE_URL it runs on a private server of its own, as\n" +
		"durable as in production; with it, in databases that it makes there and drops again.\n\nCases:\n"
	for _, c := range bench.Catalog() {
		names = append(names, c.Name)
		about += fmt.Sprintf("  %-12s %s\n", c.Name, c.About)
	}
	cmd := &cobra.Command{
		Use: "bench CASE", Short: "Measure Atlas beside the bare minimum", Long: about, ValidArgs: names,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(names, args[0]) {
				return usageError{fmt.Errorf("name one case to measure: %s", strings.Join(names, ", "))}
			}
			return b.check()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c := bench.Catalog()[slices.Index(names, args[0])]
			return b.run(cmd.Context(), c, environ, cmd.OutOrStdout(), stderr)
		},
	}
	cmd.Flags().IntSliceVar(&b.clients, "clients", nil, "how many at once, one measurement each (default: those of the case)")
	cmd.Flags().DurationVar(&b.length, "duration", 3*time.Second, "how long a sample takes")
	cmd.Flags().Int64Var(&b.events, "events", 0, "how many events the log has in the case fill (default 100000), and in rebuild (default: by --duration)")
	cmd.Flags().IntVar(&b.rate, "rate", 1000, "how many events a second the case lag appends")
	cmd.Flags().BoolVar(&b.json, "json", false, "print one line of JSON per measurement")
	return cmd
}

// followCommand is for processes that a case starts.
func followCommand() *cobra.Command {
	return &cobra.Command{
		Use: bench.Follow, Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.RunFollower(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func (b *benchmark) check() error {
	if b.events != 0 && b.events < 10_000 {
		return usageError{errors.New("--events must be 10000 or more")}
	}
	if b.rate < 1 || b.rate > 100_000 {
		return usageError{errors.New("--rate must be from 1 to 100000")}
	}
	if b.length <= 0 || slices.ContainsFunc(b.clients, func(n int) bool { return n < 1 || n > 10_000 }) {
		return usageError{errors.New("--duration must be above 0, and --clients from 1 to 10000")}
	}
	return nil
}

func (b *benchmark) run(ctx context.Context, c bench.Case, environ []string, stdout, stderr io.Writer) (err error) {
	// Nothing of a production's is opened: its keys and mail are not asked for.
	cfg, err := loadConfig(append(slices.Clone(environ), "ATLAS_DEV=true"))
	if err != nil {
		return err
	}
	room, err := measure.Open(ctx, cfg.DatabaseURL.Reveal(), cfg.PostgresBin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Close(ctx)) }()
	if len(b.clients) == 0 {
		b.clients = c.Clients
	}
	var all []measure.Figure
	for _, clients := range b.clients {
		bar := newProgress(stderr, fmt.Sprintf("%s, %d clients, sample", c.Name, clients))
		figures, err := c.Measure(ctx, bench.Setting{
			Room: room, NATS: cfg.NATSURL.Reveal(), Clients: clients, Length: b.length, Events: b.events, Rate: b.rate,
		}, benchPairs,
			func(done, total int) { bar.show(int64(done), int64(total)) })
		bar.clear()
		if err != nil {
			return err
		}
		if b.json {
			if err := measure.WriteJSON(stdout, figures); err != nil {
				return err
			}
		}
		all = append(all, figures...)
	}
	if b.json {
		return nil
	}
	return measure.WriteTable(stdout, all)
}
