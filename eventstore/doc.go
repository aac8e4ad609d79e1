// Package eventstore is the log: every event of Atlas, in one global order, in PostgreSQL.
//
// # Promises
//
//   - Append is atomic over all its streams and lands at the versions it expected, or changes nothing.
//   - The same command twice is carried out once, on whichever nodes, also after a lost connection.
//   - Readers see every event exactly once, in the order of positions, which within a stream is the order of versions.
//     No event is skipped, however long another append takes to commit, and no gap is waited for.
//   - Readers wait for nobody but the oldest append still open; a transaction that does not append, here or in another
//     database, delays them by nothing. Writers never wait for one another unless they share a stream.
//   - What is announced to readers can be read.
//   - The database itself refuses to change or remove what is in the log.
//   - Personal data is stored encrypted (see Sealer); secret fields are opened for commands only. Events of a forgotten
//     subject say so (Recorded.Erased), and all that was personal in them reads as zero. An event in a reader's hands
//     does not change under it; what a reader is given later is erased.
//
// # Why no event is skipped
//
// Positions are drawn from a sequence before the transaction commits, so a lower position may become visible after a
// higher one. A reader that just asked for "position > x" would skip it for ever. Therefore:
//
// A writer reads the sequence's last value S and takes a shared advisory lock whose key is S: its fence. Only then does
// it draw positions, all of which are > S. PostgreSQL releases the lock after it has made the commit visible.
//
// A reader reads, in three statements under READ COMMITTED: the sequence's last value C; then the smallest S among the
// fences that are held; then events up to the horizon, the smaller of the two.
//
// Take any position p ≤ horizon, and the writer that drew it. Since p ≤ C, it had drawn p, and so taken its fence,
// before C was read. When the fences were read, either it still held its fence, with S < p, and the horizon would be at
// most S < p, which it is not. Or it had released its fence: then its outcome was visible before the fences were read,
// and so before the events were. Hence every position up to the horizon is final when the events are read: its event is
// visible, or it was rolled back and never will be.
//
// What the argument needs: the order of the reader's three statements, each with a snapshot of its own; a fence that no
// savepoint can release; a sequence that hands out one value at a time (CACHE 1); and a first value that is burned, so
// that S exists before the first draw. Within a stream, positions follow versions because the stream's row is locked
// before they are drawn; and the fence is taken after that lock, so that a hot stream's queue holds up no reader. A new
// stream has no row yet: its row is made behind the fence, and whoever finds it made by another draws anew.
//
// Nothing keeps a horizon from lying below an earlier one: a writer may read S, then readers C, and only then the writer
// takes its fence. What was final stays final, since that writer draws above C; but a checkpoint must not go back.
//
// All this is held by tests that force the steps of writers and readers into every order (docs/log.md).
//
// # Who waits for whom
//
// An append that stays open holds readers back. Its own statement is bounded by its caller's time, and by the server's: it
// waits for a stream for twelve seconds at most, a transaction of several statements takes fifteen for each and may be
// idle for ten. Whatever is left is bounded by the Watchdog, which any node may run; OldestAppend tells how long readers are
// behind at most. It cannot end a process that the operating system has frozen, nor a prepared transaction.
//
// # How events are found
//
// A page of all events follows the primary key. Each event of a page is weighed by what is stored of it, and what would
// not fit does not leave the server (page.go). A stream's events are looked for in the parts between its first and its
// last position, which its row knows.
//
// Events of a type are found by an index on (type, position). It costs an append one entry in the page where the newest of
// its type are: measured on rows of 700 bytes with eight types, 0 to 3 µs of processor time, of some 57 for a row that is
// inserted in bulk and of 400 for one that is appended alone, and 100 bytes of WAL. In return a rare event among any number
// of others is found at the cost of its own few pages, exactly, up to the last event that is final, with nothing to keep
// up behind the appends. Summaries of blocks of positions, kept by a process in the background, would spare appends that,
// but not the work: somebody has to read every event once more, and readers have to scan what is not summed up yet. BRIN
// cannot help, since all types lie in all ranges.
//
// An index on (category, position) cost three times as much, for its expression and its keys; so there is none. The index
// that guards versions sorts streams by category: it finds a category with no more than 5,000 events in all. Those of
// any other are found by looking, which reads the log at most once from end to end.
//
// # What shares a transaction
//
// Up to eight appends of a process are under way at once, each by itself, which is quickest for its caller. Beyond that
// they wait for one of two runs to end, and all that wait go together: one transaction, in which each is accepted or
// refused for itself. Those to one stream are never in two runs at once.
//
// # Which commands are recorded
//
// The same command twice is carried out once because the first one leaves a record. An append that made its own command
// id, and moves each of its streams on from an exact version, leaves none: nobody else can ask for its id, a second try
// of it loses the race to the first, and by the ids of its events it finds that it did so to itself.
//
// # After a crash of the server
//
// A crash may hand out again positions that only rolled-back transactions had drawn. Checkpoints in this database are
// safe, since what they committed after was flushed before them. What a process remembers is not: the tail notices that
// its server was lost, and finishes every reader with ErrTailReset.
//
// # After a restore
//
// Checkpoints in the database are restored with it. Positions that were given outside are not: after a restore they may
// mean events that were lost, or others. So they carry an epoch (Place). An epoch begins when the log is first read where
// it was not before, in another cluster, timeline, database or table, and says up to which event it is the log before. A
// place up to there is still good; one beyond is ErrLostByRestore; one of an epoch that this log never had is ErrOtherLog.
// Two limits: where a replica takes over that had not everything, and something is appended to it before any node has
// looked, those appends count as the log before; and a data directory that is put back from a copy of files, with the
// server stopped, is told from nothing.
//
// # Failure
//
// A lost race is *ErrVersion. A connection lost during an append is resolved by trying the same command again; if the
// database stays away it is ErrOutcomeUnknown, or ErrUnavailable when nothing can have happened. Events of unknown types
// are read, and fail only for those who decode them; so are events whose sealed values are damaged.
//
// # Limits
//
// One log in a database. The log is read from the primary. An event has up to 16 MiB.
package eventstore
