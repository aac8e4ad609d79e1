// Package relay forwards the outbox's messages to NATS JetStream: each topic to a stream of its own.
//
// # Promises
//
//   - A topic's stream holds the topic's messages, each once, in the topic's order. So it stays through crashes and outages of
//     the relay, the broker and the database, turns of leases, and processes that were stopped and go on. It does not lean on
//     the broker's memory of message ids, which is bounded in time.
//   - A message is published when it is in the outbox, and its row is not pruned before it was forwarded: the relay is the
//     consumer group "atlas.relay" of the topic. While a process runs that would forward, the group counts as living, whatever
//     that one waits for.
//   - A topic is forwarded by one process at a time. Another one goes on within a second after a clean stop, within two after a
//     kill, and within ten after the network cut it off or somebody stopped it in its tracks.
//   - Where the broker does not take messages, they wait in the outbox: nothing is dropped on either side.
//   - What goes wrong is said once in the log, and where operators look (List), in a sentence that says what to do. The relay
//     tries again by itself, and whatever else the process does goes on. The URL, which holds a password, is in no message.
//
// # One writer
//
// Every message is published with the condition that the stream's last message be the one that the relay published before it
// (Nats-Expected-Last-Sequence). The broker checks this under the lock, or by the leader, that orders the stream. So a publisher
// must know which row of the outbox belongs to the sequence that the stream ends with; whoever knows that publishes the next
// row or nothing:
//
//   - Publishing is pipelined, up to 1,000 messages. When one is not stored, all behind it are refused: order holds and nothing
//     is left out, without a look at each acknowledgement before the next message.
//   - A zombie's messages are refused, but for those that are the very next ones: all relays know the same row for a sequence.
//   - A message whose acknowledgement was lost is not published again: the stream is asked first.
//
// Hence the lease is there to keep processes from getting in one another's way, and is not what keeps messages from being doubled;
// its clock does not matter. It is the engine's (engine.Presence), as a third kind of lease was not needed.
//
// Somebody else who publishes to a topic's subjects takes sequences away, and a message may be refused while the one behind it is
// not. That costs the order, and no message: what a stream got since the last place is always looked at message by message.
// Nats-Expected-Last-Msg-Id would keep the order even then; but NATS (2.15, by its source) has every server of a cluster check it
// by itself, against a memory that one which caught up from another does not have. A condition per subject would let subjects of
// one topic overtake one another. Nats-Msg-Id is sent for what the condition does not cover: an outbox that is replayed within
// the broker's window.
//
// # Where a topic is
//
// A place is a fact: "when the stream that was made then ended with this sequence, this offset had been forwarded". It is recorded
// a few times a second, and is as true when it is old. So after a crash the relay compares the stream's end with the place
// (forwarder.locate): what the stream got since is skipped by its ids, and what is gone from the stream again is counted, as
// nobody else should write there. A stream that has lost its end (a broker that lost power and does not write
// through to disk, or was restored) is told again from there. A stream that was made anew gets all that the outbox holds. A database
// that was set back finds the messages that it still has, and skips them.
//
// # Why not watermill-nats
//
// Its publisher waits for each message to be acknowledged before the next (we measured 4,700 messages a second, where 10,000 are
// asked for), and it cannot put a condition on a message: zombies and lost acknowledgements would be left to the window for ids.
// Its JetStream package sends no ids at all. So the relay uses nats.go, which watermill-nats uses too, and the messages carry the
// header by which its subscribers know a message's id.
//
// # Failure
//
// A message that the broker cannot take (larger than max_payload) holds up its topic: skipping it would lose it. Where no
// relay ran for so long that the topic's group was abandoned, what it had not forwarded is pruned; the relay that comes back
// stands still and says so (ErrMissed), until an operator has looked and resumes. Nothing more is pruned meanwhile. It does
// not begin a backfill by itself: whether old messages are wanted behind newer ones is not for it to say. Rows that a replay
// of the outbox writes anew are forwarded anew, with the ids they had.
package relay
