// Package workers holds what reacts to events: the router of background workers, and the workers of Atlas.
//
// # Promises of the router
//
//   - A worker is a subscription (package eventstore/subscription) under its name, and has its promises: every event it
//     chose at least once, in order within a stream, streams beside one another, on whichever of the nodes that run it.
//   - An event is done when its handler returns nil. After an error it is tried twice more within half a second, then its
//     stream is set aside and tried with growing pauses, about an hour; then it is parked. Nothing is lost.
//   - What became of an event is told outside of the quick tries; a panic is an error, without the quick tries.
//   - The context of a message carries where it comes from, so that commands given with it are recorded as consequences:
//     the same correlation, the event as their cause. It ends after a minute unless it is extended, and ten seconds after
//     Run is told to stop.
//   - When Run's context ends, nothing is handed out any more, what is in hand is finished, and what takes longer is cut
//     off, and comes again.
//   - A database that is away is waited for.
//   - A worker that does not say otherwise (Replays) takes no part in replays: what it did once it is not handed again,
//     wherever its subscription is set, unless an operator asks for the effects.
//
// # Acting once
//
// An event comes again when a process is killed between handling it and recording so. A worker that acts by a command
// gives it with the context that Command returns: then it is carried out once. One that writes to the same database asks
// Once. One that acts on the outside passes the message's UUID, the event's id, on as an idempotency key, as Welcome does
// with the id of its mail.
//
// # Revocation
//
// Revocation is no consumer of the outbox, since it must not wait for anything: on every node that checks tokens it reads
// the log itself, beyond the horizon, for every event that is events.Revoking. A revoked token is refused everywhere
// within a second of the commit, whatever else is open on the log. When the log cannot be read, auth.Revocations fails
// closed by itself.
package workers
