// Package mail sends plain-text mail: to an SMTP server, or into a directory while developing.
//
// A Message has an id that stays the same however often it is sent. Sending is at least once: after a failure the
// caller sends again. A directory then holds one file; a mail server may deliver twice, and the Message-ID, made from
// the id, lets the recipient's software see that it is one message.
//
// Three failures are told apart. A message that must not be sent (a line break in its subject, an address that is more
// than an address) is ErrInvalidMessage. One that the server refuses for good is ErrRejected. Everything else may
// succeed later. No error holds the recipient, the text, or the server's password: a mail server's answers repeat
// addresses, so of an answer only its code is kept.
package mail
