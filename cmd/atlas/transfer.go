package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/atlas-platform/atlas/eventstore/transfer"
)

func exportCommand(environ []string, stderr io.Writer) *cobra.Command {
	var x transfer.Export
	var resume bool
	cmd := &cobra.Command{
		Use:   "export [FILE|-]",
		Short: "Write the log to a file",
		Long: "Write the log to a file, or to standard output: NDJSON between a header and a trailer with a checksum. What is sealed\n" +
			"stays encrypted. With --with-keys the wrapped keys go along, without which another database cannot open it; they\n" +
			"are of use only with the same master key.",
		Args: atMostOneArg,
	}
	cmd.Flags().Int64Var(&x.From, "from", 1, "first position")
	cmd.Flags().Int64Var(&x.To, "to", 0, "last position; 0 for the end of the log")
	cmd.Flags().BoolVar(&x.WithKeys, "with-keys", false, "also write the wrapped keys of personal data")
	cmd.Flags().BoolVar(&resume, "resume", false, "go on with a FILE that was cut off")
	cmd.RunE = onKeys(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
		bar := newProgress(stderr, "export")
		x.Log, x.Keys, x.Progress = n.transfer(), n.keys, bar.show
		written, err := exportTo(ctx, x, fileName(args), resume, cmd.OutOrStdout())
		bar.clear()
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "exported %d events, %d subject keys and %d server secrets\n", written.Events, written.Keys, written.Secrets)
		return nil
	})
	return cmd
}

// exportTo writes to a new file that only its owner may read, goes on with an old one, or writes to standard output.
func exportTo(ctx context.Context, x transfer.Export, name string, resume bool, stdout io.Writer) (transfer.Trailer, error) {
	if name == "-" {
		if resume {
			return transfer.Trailer{}, usageError{errors.New("--resume needs a FILE")}
		}
		return x.Write(ctx, stdout)
	}
	flags := os.O_RDWR
	if !resume {
		flags |= os.O_CREATE | os.O_EXCL
	}
	file, err := os.OpenFile(name, flags, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return transfer.Trailer{}, usageError{fmt.Errorf("%s is there already; choose another name, or go on with it by --resume", name)}
	}
	if err != nil {
		return transfer.Trailer{}, usageError{err}
	}
	defer file.Close()
	write := func() (transfer.Trailer, error) { return x.Write(ctx, file) }
	if resume {
		write = func() (transfer.Trailer, error) { return x.Resume(ctx, file) }
	}
	written, err := write()
	if err == nil {
		err = errors.Join(file.Sync(), file.Close())
	}
	if err != nil {
		if info, none := os.Stat(name); none == nil && info.Size() == 0 {
			os.Remove(name) // nothing to go on with
		}
		return written, fmt.Errorf("export to %s: %w", name, err)
	}
	return written, nil
}

func importCommand(environ []string, stderr io.Writer) *cobra.Command {
	var im transfer.Import
	var abandon bool
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Bring an exported log into an empty one",
		Long: "Bring an exported log into an empty one. The whole file is checked before anything is written. Events keep their ids,\n" +
			"order and positions; until the import ends nothing else can be appended. One that was stopped goes on when the\n" +
			"same command is given again. With --append the log may have events, and those imported get new positions.",
		Args: atMostOneArg,
	}
	cmd.Flags().BoolVar(&im.Append, "append", false, "into a log that has events; draw new positions")
	cmd.Flags().IntVar(&im.Chunk, "chunk", 5000, "events per transaction")
	cmd.Flags().BoolVar(&abandon, "abandon", false, "give an unfinished import up and open the log; what it brought stays")
	cmd.RunE = onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
		if abandon {
			digest, err := transfer.Abandon(ctx, n.pool)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "abandoned the import of the file with SHA-256 %s\n", digest)
			}
			return err
		}
		file, err := openImport(cmd, args)
		if err != nil {
			return err
		}
		defer file.Close()
		bar := newProgress(stderr, "import")
		im.Pool, im.Keys, im.Progress = n.pool, n.keys, bar.show
		got, err := im.Run(ctx, file)
		bar.clear()
		if err != nil {
			return fmt.Errorf("import %s: %w", fileName(args), err)
		}
		return sayImported(cmd.OutOrStdout(), got)
	})
	return cmd
}

func sayImported(out io.Writer, got transfer.Imported) error {
	if !got.Before.IsZero() {
		_, err := fmt.Fprintf(out, "nothing to do: this file was imported on %s\n", got.Before.Format("2006-01-02 15:04:05 UTC"))
		return err
	}
	text := fmt.Sprintf("imported %d events, the last at position %d", got.Events, got.Last)
	if got.Resumed > 0 {
		text += fmt.Sprintf(" (%d were imported before)", got.Resumed)
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// openImport opens the file, or keeps standard input in one, since an import reads it twice.
func openImport(cmd *cobra.Command, args []string) (*os.File, error) {
	if len(args) == 0 {
		return nil, usageError{errors.New("name the FILE to import, or - for standard input")}
	}
	if args[0] != "-" {
		file, err := os.Open(args[0])
		if err != nil {
			return nil, usageError{err}
		}
		return file, nil
	}
	file, err := os.CreateTemp("", "atlas-import-*") // 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil { // it goes with the process, however that ends
		return nil, errors.Join(err, file.Close())
	}
	if _, err := io.Copy(file, cmd.InOrStdin()); err != nil {
		return nil, errors.Join(fmt.Errorf("keep standard input: %w", err), file.Close())
	}
	return file, nil
}

func fileName(args []string) string {
	if len(args) == 0 {
		return "-"
	}
	return args[0]
}
