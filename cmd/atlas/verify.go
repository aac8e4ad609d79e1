package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/eventstore/sealing"
)

// errTampered says that the log is not what was sealed. What is wrong has been said before.
var errTampered = errors.New("the log is not what was sealed")

// verification is `atlas events verify` with its flags.
type verification struct {
	cfg   Config
	heads string
	keys  []string
	from  int64
}

func verifyCommand(environ []string, stderr io.Writer) *cobra.Command {
	var v verification
	cmd := &cobra.Command{
		Use: "verify", Short: "Hold the log against its chain, and both against exported heads; exit 1 if they differ",
		Long: "Recompute the chain over the log, and name the first event that was changed, removed or inserted after it was sealed.\n" +
			"With --heads, also tell whether history was rewritten together with its chain: the file holds what `atlas events heads`\n" +
			"wrote, or a server's log. The database is only read, and nobody is held up.",
		Args: noArgs,
		RunE: onLog(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) (err error) {
			if v.cfg, err = loadConfig(environ); err != nil {
				return err
			}
			return v.run(ctx, n, cmd.OutOrStdout(), stderr)
		}),
	}
	cmd.Flags().StringVar(&v.heads, "heads", "", "file of exported heads")
	cmd.Flags().StringSliceVar(&v.keys, "key", nil, "public keys that exported heads may be signed with (default: this log's)")
	cmd.Flags().Int64Var(&v.from, "from", 1, "first block to verify; those before it are believed")
	return cmd
}

func (v verification) run(ctx context.Context, n *node, stdout, stderr io.Writer) error {
	var exported *os.File
	var trusted []ed25519.PublicKey
	if v.heads != "" {
		var err error
		if exported, err = os.Open(v.heads); err != nil {
			return usageError{err}
		}
		defer exported.Close()
		if trusted, err = v.trusted(ctx, n); err != nil {
			return err
		}
	}
	report, err := chain.Verify(ctx, n.pool, chain.Options{From: v.from, Progress: bar(stderr)})
	if err != nil {
		return err
	}
	if exported != nil {
		if err := report.VerifyHeads(ctx, n.pool, bufio.NewReader(exported), trusted...); err != nil {
			return err
		}
	}
	printReport(stdout, report)
	if report.Found > 0 {
		return errTampered
	}
	return nil
}

// trusted returns the keys that exported heads may be signed with: those given, or the one of this log, which takes
// the master key.
func (v verification) trusted(ctx context.Context, n *node) (all []ed25519.PublicKey, err error) {
	for _, text := range v.keys {
		key, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, usageError{fmt.Errorf("--key %s is no Ed25519 key in base64url without padding", text)}
		}
		all = append(all, key)
	}
	if len(all) > 0 {
		return all, nil
	}
	master, err := v.cfg.masterKey()
	if err != nil {
		return nil, err
	}
	keys, err := sealing.Existing(ctx, n.pool, master)
	if err != nil {
		return nil, err
	}
	signer, err := chainSigner(ctx, keys)
	if err != nil {
		return nil, err
	}
	return append(all, signer.Public()), nil
}

func printReport(w io.Writer, r *chain.Report) {
	for _, c := range r.Chains {
		fmt.Fprintf(w, "chain %s since %s: %d blocks verified (%s)\n", c.ID, c.Since, c.Blocks, c.Reason)
	}
	fmt.Fprintf(w, "%d events in %d blocks verified, sealed up to position %d\n", r.Events, r.Blocks, r.Sealed)
	if u := r.Unsealed; u.Events > 0 {
		fmt.Fprintf(w, "%d events are not sealed yet, at positions %d to %d\n", u.Events, u.First, u.Last)
	}
	for _, m := range r.Unattached {
		fmt.Fprintf(w, "%d sealed events could not be verified: no part of the log is attached for %s\n", m.Events, m)
	}
	if r.Heads > 0 {
		fmt.Fprintf(w, "%d exported heads held against the chain\n", r.Heads)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w, f)
	}
	if more := r.Found - int64(len(r.Findings)); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}

// bar returns what shows progress, on a terminal; nil elsewhere.
func bar(w io.Writer) func(done, total int64) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	const width = 40
	started, shown := time.Now(), time.Time{}
	return func(done, total int64) {
		if total == 0 || done < total && time.Since(shown) < 100*time.Millisecond {
			return
		}
		shown = time.Now()
		full := int(min(done, total) * width / total)
		rate := float64(done) / max(time.Since(started).Seconds(), 0.001)
		fmt.Fprintf(f, "\r[%s%s] %d of %d events, %.0f/s ", strings.Repeat("#", full), strings.Repeat(".", width-full), done, total, rate)
		if done >= total {
			fmt.Fprintln(f)
		}
	}
}
