// Package outbox hands what happens in Atlas to the outside: a projection that turns events into integration messages
// and writes them into watermill-sql's topic tables.
//
// A message is a public contract, named and versioned ("user.registered.v1"). Its payload is a struct of this package
// that carries ids, times and plain facts, and never personal data. What a contract promises is a JSON Schema made of that
// struct, kept in contracts/ as it was released; a test refuses what would break its readers, and `make golden` does not write it. A
// new shape is a new version beside the old one. Who checked a message against an older schema can do so against a newer
// one, and the other way round: that is why a field that is new is never required.
//
// # Promises
//
//   - Every event that has a contract becomes its message exactly once: the message is written in the transaction that
//     moves the projection's checkpoint. A batch that fails leaves nothing, and a process or a server that is killed
//     leaves what it had committed.
//   - A topic holds its messages in the order of the log.
//   - A message's id is a hash of its event and its contract. A replay (a new version of the projection, after a new
//     contract was added) makes the same ids: what a topic still holds is not written again.
//   - No message holds personal data: a contract sees the event with its sealed and secret fields emptied.
//   - Payload and metadata are JSON. The metadata names where the message comes from: see the Meta constants.
//
// # Adding
//
// A contract is a payload struct and a line in the list of its aggregate's file. A topic is a migration of one line (outbox.make_topic), and its list a line in
// Catalog. Events that happened before get their messages by a backfill; raising Version would look at all contracts and all
// events anew.
//
// # Reading
//
// NewSubscriber reads a topic for one consumer group; package workers builds on it. It is watermill-sql's subscriber with
// two statements of its own, possible because here one writer at a time makes offsets follow commits: it reads by offset
// alone, so no transaction elsewhere in the cluster delays it and offsets survive a dump and restore; and it takes the
// group's lock only when there is something to deliver, so idle polls write nothing.
//
// Stock watermill-sql subscribers can read the tables as well, told where they are:
//
//	GenerateMessagesTableName:        func(topic string) string { return `"outbox"."` + topic + `"` }
//	GenerateMessagesOffsetsTableName: func(topic string) string { return `"outbox"."` + topic + `_offsets"` }
//
// They come with that library's limits: any transaction anywhere in the cluster that has written and is still open
// delays them, and after a logical restore into another cluster their positions are worthless, until Settle has put all down as
// of one transaction. Those that run before that wait, and miss nothing.
//
// # Failure
//
// An event that cannot be turned into its message stops the projection where it is; see package engine. A replay writes
// messages that were pruned again, with the same ids: a consumer that must not act twice keeps ids, or acts by commands
// (workers.Command).
//
// # Backfilling
//
// A Backfiller writes messages of contracts for events that are past. Topics are only ever appended to, so the order of
// a contract's messages can only be kept by keeping the live ones back: while a backfill is open (outbox.backfills) the
// projection leaves its contracts out, for the events the backfill is of, and the backfill follows the projection's
// checkpoint. Who writes has the turn, and reads with it what is left to whom; so when a backfill finds, with the turn,
// that it has come to the checkpoint, every event up to there has its message, and the projection makes all that follow.
// One that is cancelled jumps to the first message that it owes: that it took out at its start, or that the projection has
// left to it since. Leaving those out too would lose them.
// Order between different contracts of a stream is not kept across a backfill: older messages of one come after newer
// ones of another that were there.
//
// # Pruning
//
// A Keeper prunes what every group of a topic has read, a while later. A group is a row in outbox.<topic>_offsets, whoever
// writes it: watermill-sql's subscribers, or the relay under the name "atlas.relay". A row whose transaction is '0' is one
// that reads by offsets alone. Pruning takes the topic from its head and stops at the first message that is needed, so
// that what is left is always the end of the topic.
//
// Whether a group lives is judged by looking at it again and again (outbox.observed_groups), not by the age of what it has
// not read: that may have been written a moment ago by a backfill, or lie there since before the group was made. Time
// counts as idle only as far as somebody looked. A subscriber holds its group's row locked while it has a message in hand,
// which a look sees without waiting; so a group that hangs on a message it nacks for ever lives, and holds up its topic
// until somebody acts on the alarm.
//
// watermill.go is all that knows watermill-sql; another version of it is a change to that file.
package outbox
