package mail

import (
	"bytes"
	"context"
	"fmt"
	netmail "net/mail"
	"os"
	"path/filepath"
)

// Dir writes each message into a file of its own, <ID>.eml, that mail programs can open. Only the user who runs Atlas
// may read it: the links in mails sign people in.
type Dir struct {
	path string
	from *netmail.Address
}

// Send writes the message's file, whole or not at all; the same id again replaces it.
func (d *Dir) Send(ctx context.Context, m Message) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write mail: %w", err)
	}
	msg, err := compose(d.from, m)
	if err != nil {
		return fmt.Errorf("write mail: %w", err)
	}
	id, err := safeID(m.ID)
	if err != nil {
		return fmt.Errorf("write mail: %w", err)
	}
	var text bytes.Buffer
	if _, err := msg.WriteTo(&text); err != nil {
		return fmt.Errorf("write mail %s: %w", id, err)
	}
	if err := d.write(id+".eml", text.Bytes()); err != nil {
		return fmt.Errorf("write mail %s: %w", id, err)
	}
	return nil
}

// write goes through a temporary file, so that no reader ever sees half a mail.
func (d *Dir) write(name string, content []byte) error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(d.path, ".mail-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails, and should, once it is renamed
	if _, err := file.Write(content); err != nil {
		_ = file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), filepath.Join(d.path, name))
}
