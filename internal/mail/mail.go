package mail

import (
	"context"
	"errors"
	netmail "net/mail"
)

// Message is one mail.
type Message struct {
	ID      string // the same on every attempt; names the file and the Message-ID
	To      string // a plain address
	Subject string // one line
	Text    string
}

// Sender sends mail. When it returns nil, the message is out of our hands.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

var (
	// ErrInvalidMessage refuses a message that would be another one on the wire. Sending it again never helps.
	ErrInvalidMessage = errors.New("invalid message")

	// ErrRejected is a message that the mail server refuses for good. Sending it again does not help.
	ErrRejected = errors.New("rejected by the mail server")
)

// Open returns the sender for a server's URL (smtp://user:password@host:port, smtps://…), or, where the URL is empty, one that writes into dir.
// Messages come from the address from, which may have a name: "Atlas <no-reply@example.com>".
func Open(url, dir, from string) (Sender, error) {
	sender, err := netmail.ParseAddress(from)
	if err != nil {
		return nil, errors.New("mail: the address to send from is not valid")
	}
	if url != "" {
		return openSMTP(url, sender)
	}
	if dir == "" {
		return nil, errors.New("mail: neither a server nor a directory is given")
	}
	return &Dir{path: dir, from: sender}, nil
}
