package commands

import (
	"context"

	"github.com/google/uuid"
)

// DropStates empties the memory of folded states. It is called when somebody was forgotten: a state may hold what is
// personal, and to read the log again costs little.
func (h *Handler) DropStates() { h.states.clear() }

// ForgetUser prepares a user for being forgotten: it shuts them out and gives their address free, in one atomic write, so
// that the address can be registered again. It is done while the address can still be read, so before the key of their
// personal data is destroyed; addressID returns the id of an address's stream. By is the user or an admin. Done again,
// it changes nothing. The last admin may be forgotten too: whoever runs the installation makes another.
func (h *Handler) ForgetUser(ctx context.Context, id uuid.UUID, by Actor, addressID func(address string) uuid.UUID) error {
	account, err := h.Account(ctx, id)
	if err != nil {
		return err
	}
	steps := []Step{
		User.On(id, DisableUser{ID: id, By: by}),
		Admins.On(AdminsID, LeaveAdmins{User: id, Anyway: true}),
	}
	if account.Email != "" { // it is empty once the user is forgotten
		steps = append(steps, Email.On(addressID(account.Email), ReleaseEmail{User: id}))
	}
	_, err = h.Handle(ctx, steps...)
	return err
}
