package commands

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/logtest"
)

// TestAForgottenUsersAddressCanBeTakenAgain forgets as the command line does, on a node beside the one that serves.
func TestAForgottenUsersAddressCanBeTakenAgain(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	other := l.Node(t)
	serving := NewHandler(l.Store)
	l.Keys.OnForgotten(serving.DropStates)
	address := uuid.New()
	addressID := func(string) uuid.UUID { return address }
	register := func(id uuid.UUID) error {
		_, err := serving.Handle(t.Context(),
			User.On(id, RegisterUser{ID: id, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash"}),
			Email.On(address, ReserveEmail{User: id}))
		return err
	}
	if err := register(ann); err != nil {
		t.Fatal(err)
	}
	operator := NewHandler(other.Store)
	if err := operator.ForgetUser(t.Context(), ann, Actor{User: bob}, addressID); !errors.Is(err, ErrNotFound) {
		t.Errorf("by a stranger: got %v, want ErrNotFound", err)
	}
	for range 2 { // done again, it changes nothing
		if err := operator.ForgetUser(t.Context(), ann, Actor{Admin: true}, addressID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Keys.Forget(t.Context(), other.Store, ann); err != nil {
		t.Fatal(err)
	}
	if err := operator.ForgetUser(t.Context(), ann, Actor{Admin: true}, addressID); err != nil {
		t.Errorf("once forgotten: %v", err)
	}
	if err := register(bob); err != nil {
		t.Errorf("the address is not free: %v", err)
	}
	if err := register(uuid.New()); !errors.Is(err, ErrEmailTaken) {
		t.Errorf("and then it is taken: got %v", err)
	}
	if found, err := operator.Account(t.Context(), ann); err != nil || found.Email != "" || found.PasswordHash != "" || !found.Disabled {
		t.Errorf("the forgotten account: %+v, %v", found, err)
	}
}

func TestNoFoldedStateOutlivesAForgetting(t *testing.T) {
	s := newStates(stateBytes)
	s.put(User.On(ann, nil).stream, user{email: "ann@example.com"}, 1)
	s.clear()
	if _, _, found := s.find(User.On(ann, nil).stream); found || s.bytes != 0 || s.recent.Len() != 0 {
		t.Error("a state is left")
	}
}
