package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/projections"
)

func usersCommand(environ []string, stderr io.Writer) *cobra.Command {
	parent := &cobra.Command{
		Use: "users", Short: "Make admins, and list, disable and enable users",
		Long: "Make admins, and list, disable and enable users, beside a running server or without one. A user is named by their\n" +
			"address or their id.",
	}
	parent.AddCommand(
		createAdminCommand(environ, stderr),
		&cobra.Command{
			Use: "list", Short: "List the users: personal data!", Args: noArgs, RunE: onLog(environ, stderr, listUsers),
		},
		&cobra.Command{
			Use: "disable USER", Short: "Shut a user out: their tokens and API keys are refused within a second",
			Args: oneArg, RunE: onNode(environ, stderr, onUser("disabled", func(id uuid.UUID) []commands.Step {
				return commands.DisableUser{ID: id, By: theOperator()}.Steps()
			})),
		},
		&cobra.Command{
			Use: "enable USER", Short: "Let a user in again",
			Args: oneArg, RunE: onNode(environ, stderr, onUser("enabled", func(id uuid.UUID) []commands.Step {
				return commands.EnableUser{ID: id, By: theOperator()}.Steps()
			})),
		},
		setRoleCommand(environ, stderr),
	)
	return group(parent)
}

// theOperator is who runs the installation: nobody's account, and above all of them.
func theOperator() commands.Actor { return commands.Actor{Admin: true} }

func createAdminCommand(environ []string, stderr io.Writer) *cobra.Command {
	var email, name string
	cmd := &cobra.Command{
		Use: "create-admin --email ADDRESS", Short: "Make an account that is an admin's",
		Long: "Make an account that is an admin's. The password is asked for, or, where the standard input is no terminal, read\n" +
			"from its first line; it is never an argument, which every process of the machine could see.",
		Args: noArgs,
	}
	cmd.Flags().StringVar(&email, "email", "", "the address to sign in with")
	cmd.Flags().StringVar(&name, "name", "Admin", "what the admin is called")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		address, err := auth.NormalizeEmail(email)
		if err != nil {
			return usageError{errors.New("--email must be an address like name@example.com")}
		}
		password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if err := auth.CheckPassword(password, address, name); err != nil {
			return usageError{fmt.Errorf("the password: %w", sentence(err))}
		}
		return onNode(environ, stderr, func(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
			id, err := n.createAdmin(ctx, address, name, password)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is an admin: user %s\n", address, id)
			}
			return err
		})(cmd, args)
	}
	return cmd
}

// sentence says what is wrong with one field in the words that are meant for it.
func sentence(err error) error {
	if o, _, is := fault.Of(err); is && len(o.Fields()) > 0 {
		return errors.New(o.Fields()[0].Message)
	}
	return err
}

// readPassword asks for it twice at a terminal, without showing it, and else takes the first line.
func readPassword(in io.Reader, prompt io.Writer) (auth.Secret, error) {
	if f, is := in.(*os.File); is && term.IsTerminal(int(f.Fd())) {
		return askPassword(f, prompt)
	}
	line, err := bufio.NewReader(io.LimitReader(in, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usageError{errors.New("give the password on the standard input, or run this at a terminal to be asked for it")}
	}
	return auth.Secret(line), nil
}

func askPassword(f *os.File, prompt io.Writer) (auth.Secret, error) {
	var said [2][]byte
	for i, question := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(prompt, question)
		var err error
		said[i], err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(prompt)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
	}
	if string(said[0]) != string(said[1]) {
		return "", usageError{errors.New("the two passwords differ")}
	}
	return auth.Secret(said[0]), nil
}

// createAdmin makes the account as signing up does, with the address taken as verified: the operator vouches for it.
func (n *node) createAdmin(ctx context.Context, address, name string, password auth.Secret) (uuid.UUID, error) {
	hasher, err := auth.NewHasher(auth.DefaultCost())
	if err != nil {
		return uuid.Nil, err
	}
	hash, err := hasher.Hash(ctx, password)
	if err != nil {
		return uuid.Nil, err
	}
	emailID, err := n.emailID(ctx, address)
	if err != nil {
		return uuid.Nil, err
	}
	id := uuid.Must(uuid.NewV7())
	_, err = commands.NewHandler(n.store).Handle(ctx,
		commands.User.On(id, commands.RegisterUser{ID: id, Email: address, Name: name, PasswordHash: hash, Role: commands.RoleAdmin}),
		commands.Email.On(emailID, commands.ReserveEmail{User: id}),
		commands.Admins.On(commands.AdminsID, commands.JoinAdmins{User: id}))
	if errors.Is(err, commands.ErrEmailTaken) {
		return uuid.Nil, usageError{fmt.Errorf("there is an account with the address %s; to make it an admin's: atlas users set-role %[1]s admin", address)}
	}
	return id, err
}

func (n *node) emailID(ctx context.Context, address string) (uuid.UUID, error) {
	secret, err := n.keys.Secret(ctx, "email")
	if err != nil {
		return uuid.Nil, err
	}
	return auth.EmailKey(secret, address), nil
}

// findUser returns the id of whom an address or an id names.
func (n *node) findUser(ctx context.Context, handler *commands.Handler, named string) (uuid.UUID, error) {
	id, err := uuid.Parse(named)
	if err != nil {
		address, err := auth.NormalizeEmail(named)
		if err != nil {
			return uuid.Nil, usageError{fmt.Errorf("%q is neither an address nor a user's id", named)}
		}
		emailID, err := n.emailID(ctx, address)
		if err != nil {
			return uuid.Nil, err
		}
		if id, err = handler.Holder(ctx, emailID); err != nil {
			return uuid.Nil, err
		}
	}
	_, err = handler.Account(ctx, id)
	if errors.Is(err, commands.ErrNotFound) {
		return uuid.Nil, usageError{fmt.Errorf("there is no user %s", named)}
	}
	return id, err
}

// onUser returns what does something to one user, and says that it is done.
func onUser(done string, steps func(uuid.UUID) []commands.Step) func(context.Context, *node, *cobra.Command, []string) error {
	return func(ctx context.Context, n *node, cmd *cobra.Command, args []string) error {
		handler := commands.NewHandler(n.store)
		id, err := n.findUser(ctx, handler, args[0])
		if err != nil {
			return err
		}
		if _, err := handler.Handle(ctx, steps(id)...); err != nil {
			return fmt.Errorf("user %s: %w", id, err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "user %s is %s\n", id, done)
		return nil
	}
}

func setRoleCommand(environ []string, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "set-role USER user|admin", Short: "Make a user an admin, or no longer one",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := twoArgs(cmd, args); err != nil {
				return err
			}
			if args[1] != commands.RoleUser && args[1] != commands.RoleAdmin {
				return usageError{fmt.Errorf("%q is no role: user or admin", args[1])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			change := onUser("now of the role "+args[1], func(id uuid.UUID) []commands.Step {
				return commands.ChangeUserRole{ID: id, By: theOperator(), Role: args[1]}.Steps()
			})
			return onNode(environ, stderr, change)(cmd, args)
		},
	}
}

// listUsers prints page by page, so that a million users need no memory.
func listUsers(ctx context.Context, n *node, cmd *cobra.Command, _ []string) error {
	const page = 500
	reader := projections.NewReader(n.pool)
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATUS\tROLES\tEMAIL\tNAME")
	for before := uuid.Nil; ; {
		users, err := reader.UserList(ctx, "", "", before, page)
		if missing := (*pgconn.PgError)(nil); errors.As(err, &missing) && missing.Code == "42P01" {
			return errors.New("no process of this release has made its table of users yet: `atlas serve` does")
		}
		if err != nil {
			return err
		}
		for _, u := range users {
			fmt.Fprintf(w, "%s\t%s\t%s\t%q\t%q\n", u.ID, u.Status, strings.Join(u.Roles, ","), u.Email, u.Name)
			before = u.ID
		}
		if err := w.Flush(); err != nil || len(users) < page {
			return err
		}
	}
}
