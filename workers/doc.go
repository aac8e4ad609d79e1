// Package workers holds what reacts to events: the router of background workers, and the workers of Atlas.
//
// # Promises of the router
//
//   - A worker gets every message of its topic (package outbox) in order, at least once, on whichever of the nodes that
//     run it; one message at a time. Its name is its consumer group: a new name starts with the oldest message there is.
//   - A message is done when its handler returns nil. After an error it is tried again, five times within about three
//     seconds; then it is given back and comes again, for as long as it takes. Nothing is lost, and meanwhile the worker
//     waits: what will never succeed, a handler has to recognise, say so in the log, and return nil.
//   - A panic is an error, without the quick tries.
//   - The context of a message carries where it comes from, so that commands given with it are recorded as consequences:
//     the same correlation, the event as their cause. It ends after outbox.AckDeadline, and not when Run is told to stop.
//   - When Run's context ends, no message is delivered any more, those in hand are finished and acknowledged, and only
//     then are connections closed. What takes longer than ten seconds is cut off, and comes again.
//   - A database that is away is waited for.
//
// # Acting once
//
// A message comes again when a process is killed between handling it and saying so. A worker that acts by a command
// gives it with the context that Command returns: then it is carried out once. One that acts on the outside passes the
// message's UUID on as an idempotency key, as Welcome does with the id of its mail.
//
// # Limits
//
// This is watermill-sql: per worker it holds a connection of its own, and a transaction while a handler runs, which is
// meant for handlers of milliseconds. A worker does not scale beyond one message at a time. Subscriptions on the log
// itself, which hold no transaction and run streams beside one another, are to take its place behind the same Handle.
//
// # Revocation
//
// Revocation is no consumer of the outbox, since it must not wait for anything: on every node that checks tokens it reads
// the log itself, beyond the horizon, for every event that is events.Revoking. A revoked token is refused everywhere
// within a second of the commit, whatever else is open on the log. When the log cannot be read, auth.Revocations fails
// closed by itself.
package workers
