// Package watermillsql lets plain watermill-sql v3 subscribers read the log: two adapters, and nothing of their own that
// runs. It is for programs that use watermill-sql already, or have a transaction of their own per message (sql.TxFromContext);
// for everything else package subscription is the better reader.
//
//	subscriber, err := sql.NewSubscriber(db, sql.SubscriberConfig{
//		ConsumerGroup:  "search",
//		SchemaAdapter:  watermillsql.Schema{},
//		OffsetsAdapter: watermillsql.Offsets{},
//	}, logger)
//	messages, err := subscriber.Subscribe(ctx, "document") // a category of streams
//
// # Promises
//
//   - A group gets every event of its topic at least once, in the order of the log, so also in order within a stream.
//     Nothing is skipped, whatever commits late or is rolled back: the gate is the log's horizon, not the cluster's
//     oldest transaction.
//   - So no transaction but an open append delays a group: not one elsewhere in the cluster, and not another group's
//     handler. A handler's own transaction takes no transaction id until it writes.
//   - A group's place is a position of the log, which a dump and restore, or a copy of the log, keeps.
//   - Of many subscribers of a group, one has messages in hand; the others stand by, and hold nothing meanwhile.
//   - A message is the one that package subscription would give: same id, payload and metadata. What is personal is not in
//     it. What came through subscription.Publisher comes out as it went in.
//   - A group whose topic is rare does not look at the same stretch of the log again and again: its place moves on.
//
// # Order of statements
//
// A query must read the horizon before it takes the snapshot in which it reads events (eventstore/doc.go), and watermill-sql
// asks with one statement. atlas.read_topic is a VOLATILE function, so each of its statements has a snapshot of its own:
// the group's lock, its place, the horizon, the events. The transaction must be READ COMMITTED, which Schema asks for; with
// another isolation the function refuses.
//
// The lock of a group is an advisory one that is tried and not waited for. A row lock, as watermill-sql's own adapter takes,
// would give the subscriber's transaction an id, and hold up stock subscribers of other topics in all of the cluster while
// a handler runs.
//
// # Limits
//
// They are watermill-sql's (v3.1.0). The first two are held by a test here; the others are what its source says:
//
//   - One message of a group is in hand at a time, over all streams and processes.
//   - A nacked message comes again for ever, a ResendInterval apart, and all of the group waits behind it. Nothing counts
//     attempts, nothing parks.
//   - A transaction is open, and a connection taken, from the first message of a batch to the ack of its last; vacuum
//     removes nothing meanwhile that died since, and idle_in_transaction_session_timeout ends it.
//   - A message that is not acked within AckDeadline (30 s) comes again while the first handler may still be at it.
//   - A process that is killed or closed before the batch is committed gets all of the batch again, what it acked included:
//     up to Schema.BatchSize messages.
//   - Nothing wakes a subscriber: it polls every PollInterval (1 s).
//
// # Failure
//
// A part of the log that is detached is not skipped: the query fails until it is attached again. A lost database is waited for
// by watermill-sql. A batch is held in memory whole: with events near the limit of a megabyte, make batches small.
package watermillsql
