// Package subscription lets workers follow the log: named, durable consumer groups whose handlers may be slow, fail, and
// run on any number of processes.
//
// It stands beside the log's core and not in it, since the core knows nothing of who reads it: hence
// subscription.NewSubscriber and subscription.NewPublisher for Watermill, and Log.Consume for a plain function.
//
// # Promises
//
//   - Every event that the group's filter lets through comes at least once. Within a stream the next one comes when the
//     one before is done, so they come in order; streams come beside one another.
//   - Of a stream, no two handlers run at once in processes that live, if handlers end when their context does.
//   - No transaction and no connection is held while a handler runs.
//   - A message that fails or takes long holds up its own stream and no other. After the last try it is parked as a dead
//     letter, and its stream goes on; a retried one comes before anything else of its stream.
//   - What was done is recorded within about 100 ms. A process that is killed has redelivered what it had in hand and what
//     was not recorded, and nothing else; one that stops in good order leaves nothing to be redelivered.
//   - Processes share a group by themselves. Others go on at once after one that stops (they look five times a second), and
//     within five seconds after one that is killed. What one says that has lost its turn counts for nothing.
//
// # Slots
//
// The streams of a group fall into 256 slots by a hash that never changes (SlotOf). A member, one process's part in one
// group, leases slots; each lease gives the slot a new epoch. Members renew their leases five times in a lease's time,
// under the lock of the group's row, one at a time: so nobody is judged dead by a statement that does not see it renew.
// With the renewal a member learns its fair share (256 divided by the living, the rest to the first of them by id), takes
// slots that are free or whose member is dead, and gives back what is too much, idle slots first. A slot changes hands only
// when nothing of it is in hand and all is recorded. A generation number on the group tells members to look sooner: it
// grows when somebody joins, leaves, resets or retries. After a restart of the server members have a lease's time to come
// back before they count as dead.
//
// The lease is fenced twice. Before a message is handed out the process looks at its clock: its own count began before it
// asked, and ends a tenth sooner, so it ends before anybody else may take the slot; the contexts of what is in hand end with
// it. A process that was stopped finds its time over when it is continued. And every record is made by one statement that
// locks the slots' rows and compares member and epoch: a record of an old lease changes nothing.
//
// # What is recorded
//
//   - subscription_slots.position: every event of the slot up to here is done, but for those of held streams and dead letters.
//   - subscription_slots.acked: what is done above it.
//   - subscription_held: a stream that is set aside. Its events before position are done, and none from there on.
//   - subscription_parked: a dead letter, which is done as far as its stream is concerned.
//
// What is of one slot changes together, in one transaction; where thousands of streams have failed, slots are recorded a
// few at a time, so that a slow database has each part done within a lease. At any time, then, an event is exactly one of: done (not above the slot's
// position, or in acked; and not held), held, or to come. Whoever takes the slot needs nothing else: it reads the log from
// the position, leaves out acked, and goes on with held streams by themselves. An event is lost only if it is recorded as
// done before it was: it is noted as done in memory after its handler returned nil, and nothing else notes it.
//
// # A stream in memory
//
//	            read                 answer nil
//	(unknown) ───────→ queued ─→ in hand ─→ done ─→ (next one, or unknown when there is none)
//	                     ↑          │  takes a second: held, in hand
//	                     │          ├─ fails: held, waits ─→ read again ─┐
//	                     └──────────┴─ last try: parked, done            │
//	                     └───────────────────────────────────────────────┘
//
// One reader per member reads the log, from the slot that stands furthest back, by way of the process's tail; a slot skips
// what it has seen. Of one stream 64 messages are kept in memory; of one that has more, and of one that waits for another
// try, the rest is read by itself when its turn comes, in batches of many streams. Both are "held": the slot's position
// passes them, and a row says where they are. A held stream has healed when it has come to what the reader saw last of it.
// Memory is bounded by Options.Window and by bytes, and what waits in rows by Options.MaxHeld, beyond which the group reads
// no further and says so.
//
// # Where a group starts, and resets
//
// At the beginning, at the horizon, or behind any position. Reset does the same to a group that runs: in one transaction
// all epochs grow, and what was held or parked is cleared. A slot stays with its member, which takes it anew when its old
// handlers have ended, so that they do not run beside the new ones. What was done before a reset is remembered (the
// position and acked of each slot, but for held streams): having it again is a replay, which only workers that declare
// Options.Replays are handed. So a reset never sends a mail twice, unless it is told to (effects). After an import a group
// is set to Now before its workers start.
//
// # Queues
//
// A queue is a group that no process of Atlas works for: its messages are leased one by one, over HTTP, by workers in any
// language, to any node. A group is the one or the other, for ever: Create refuses the name of a queue, and Lease that of
// any other group. The promises are the same; what differs is who keeps the books.
//
// A member keeps its slots in memory, which is what makes it fast, and answers must come to the member that handed the
// message out. Behind a load balancer they come to any node, and the one that handed it out may be gone. To have each
// node be a member for its callers would need a way from node to node, which Atlas has not, and would hand out again, after
// each restart of a node, everything its callers had in hand. So what a queue knows is all in the database, and nodes
// are alike:
//
//   - subscription_slots: one slot, 0, which nobody holds. Its position is how far the log was taken in. There is one since
//     nothing is divided among members; the number of streams at work is bounded by leases and nothing else.
//   - subscription_queued: the streams taken in that have messages which are not done. Each is what subscription_held is to a
//     member: events before position are done, and none from there on. So again an event is either done, or queued, or to
//     come, and a reset remembers what was done in the same way.
//   - subscription_leases: the messages that are out, by their tokens, and the answers of the last minutes.
//
// A feeder in each process takes the log in, from the process's tail, while somebody waits there: no further than is asked
// for, and at most 20,000 streams. Of several feeders the first to record a stretch counts, by compare-and-set of position
// and epoch; epochs of a queue that is made anew are others than those of its forerunner. A lease picks the streams that have
// waited longest and skips those that another picks at the moment, marks each with a token and a near deadline, reads their
// next messages, and records those as out, until the deadline that was asked for: three statements for a batch, and no
// transaction between them. Once the deadline has passed the stream is handed out anew, which counts as a failed try: a message that
// kills its workers is parked in the end. An answer counts while the stream bears its token, and is recorded in the
// transaction that moves the stream on. One that comes late counts if nobody has the message by then: to have it done
// twice would help nobody. Whose token was replaced, or taken away by a reset, learns that its lease is over. An answer
// that comes twice counts twice, for ten minutes beyond the lease. So a worker may lease at one node, answer at another,
// and repeat what it is unsure of; a node that is killed between the two takes nothing with it, and one that is killed
// before the message was out delays it by 15 seconds, however long leases are.
//
// What is asked of one node at the same time goes together (rounds): a lease or an answer begins at once where fewer than two
// of its kind are under way for the queue, and those that come meanwhile are the next statement's. So a queue takes four
// connections of a node's pool for leases and answers, however many workers ask, and leaves the rest to others. Whose caller
// hangs up while streams are leased for it has them go to the next caller, or back.
//
// Everything locks in one order: the slot (leases and answers by a key lock, a feeder as it moves it, a reset alone), then
// streams by name, then parked messages. Only picking goes by age, and waits for nobody.
//
// # Effects
//
// Effects of a zombie cannot be refused: it may have been stopped in the middle of a handler. An effect in this database is
// had once by Once, in the transaction that has it; an effect by a command, by a command id made of the event's; for any
// other, the event's id is the idempotency key. Live tells a handler late that its lease is over.
//
// What Once notes is forgotten three days later at the earliest, and not before every slot of the group has passed the
// event, no stream is held from before it, and it is not parked: so for as long as the event may come again by itself, or by
// a retry. Each note bears the newest position of its moment, since the id alone does not tell where the event lies; a group
// that stands still, or holds a stream for ever, keeps all notes from there on. Nothing is forgotten under a name that is no
// group's. The days are for zombies. A replay is none of this: it comes since somebody set the group back, and Once is false
// for it whether its note is there or not. Whoever wants effects again resets with effects, which makes nothing a replay.
//
// # Failure
//
// Without the database nothing is handed out once the lease is over, and everything goes on where it was when it is back;
// what was done meanwhile is recorded then, if nobody else took the slot. A handler that does not end when its context does
// keeps its stream, and at a stop its slot until the lease ends. An event of a newer shape than the process knows
// (events.ErrNewer), or of a type that it does not know and whose handler wants to know it (events.ErrUnknown), waits with its
// stream for a newer process and is never parked: one has it when it is given the slot, at the latest when the older process
// stops. A pool whose connections are all taken by handlers
// delays the renewal of leases: leave some.
//
// # Watermill
//
// A Subscriber passes Watermill's conformance suite. The number of messages it hands out at once is Options.Concurrency;
// one in hand is one that was received and neither acked nor nacked. Message contexts outlive the subscribe context by the
// drain, so that a stop does not cut off what is in hand.
package subscription
