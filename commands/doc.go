// Package commands holds every rule of the domain: one file per aggregate, with its state, commands and errors.
//
// An aggregate is a Decider: Decide takes what has happened so far and a command, and returns the new events or the
// fault that forbids them; Evolve folds an event into the state, has no rules and cannot fail. Both are pure: no I/O, no
// clock, no randomness. Times and new ids arrive in the command. Who may do what is decided here too, in Decide.
//
// # Handling
//
// Handler loads the streams of its steps, decides, and appends all events in one atomic write at the versions it
// decided on. If another command was faster, it decides again on what is there now; after too many lost races it gives
// up with ErrContended and nothing is written. HandleAt serves If-Match: it fails with ErrVersionMismatch instead.
//
// A command whose id was given (eventstore.WithCommand) and that was carried out before is not decided again: the
// first outcome is returned. It is looked up before deciding, and again when deciding fails: two tries of one command may
// both find that nothing has happened, and the slower one must not be refused for what the faster one did. A command that
// decides on nothing is a success.
//
// A stream with an event that a newer release wrote, and that this one cannot read, is decided on by neither guessing nor
// skipping: it is fault.ErrNewer, for a node of that release to answer.
//
// Uniqueness is a reservation: what must be unique has a stream of its own (see Email), and the step that takes it is
// handled together with the step that needs it.
//
// A user is forgotten in two acts, since the second cannot be undone: ForgetUser shuts them out and releases their address
// while it can still be read; then the key of their personal data is destroyed (package sealing). Stopped in between, it
// is done again from the start.
//
// Commands read streams, never read tables, so each sees every command before it.
package commands
