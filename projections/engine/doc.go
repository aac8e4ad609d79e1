// Package engine builds read tables from the log.
//
// A View is declared by a row struct, the DDL of its table, and pure folds: one function per event type that changes one
// row. The engine does all SQL: it loads the rows a batch of events touches in one query, folds in memory, writes them
// back in one statement each for what stays and what goes, and moves the checkpoint in the same transaction, by
// compare-and-set. A batch is bounded in bytes, and folded in parts where the rows it touches are large. A Batch
// projection is for what a fold cannot say: it handles events with SQL of its own, under the same checkpoint.
//
// # Promises
//
//   - Every event reaches a projection exactly once and in the order of the log, on however many nodes it runs.
//   - A read table equals the fold of the log up to its checkpoint; rebuilding it gives the same rows.
//   - Folds see only the row and the event: no clock, no database, so the same fold serves live updates, rebuilds,
//     tests, and reads as of an earlier position (View.Fold).
//   - A view whose rows say whose they are (a column tagged row:"subject") drops a person's rows when the log says that they
//     are forgotten, after what came before it and before what comes after; rows that were given to somebody else
//     stay. No event of a forgotten person makes a row of theirs, in a rebuild or when it comes late; so an event that
//     touches such a view should name its subject, even if it seals nothing.
//   - A rebuild goes unnoticed by readers: they see the table that is live, kept up, until another that has come as far takes
//     its place in one transaction. What they have prepared stays good.
//   - Each projection is folded by one node, whichever holds its lease; the others neither read nor fold for it. Another
//     takes it within a second of a clean stop, within two of the death of a process, and within ten where the network
//     has cut the node off.
//
// # Rows begin and end
//
// Create makes a row, Change changes one that is there, Delete removes it. What happens to something that is gone, or was
// never made, changes nothing: a Change or a Delete that finds no row passes by, and neither parks anything nor makes a
// row of zero values. Whether an event may follow a deletion is for the deciders to say; what the table then holds is said
// here, once, where every fold passes, so that live updates, catching up, rebuilds, verification and reads as of an earlier
// position agree. It is not an error, since a fold cannot tell it from what is in order: rows of the forgotten are gone
// too, and events about them still come. A Create after a Delete makes the row anew; one that finds a row begins it anew, so
// that what a Create makes depends on its event alone. On does both, and is for rows that any of several events may begin; a
// deleted row, too, begins again with the next of them.
//
// An event that gives a row to another person should set all of it, by On: where the one before is forgotten and the log is
// folded anew, it finds no row.
//
// # How it runs
//
// The projections of a process that have caught up form a convoy: what the tail brings is folded into all of them in one
// transaction, in the order of their names. Where nothing goes wrong that takes two round trips, however many there are
// (quick.go); else each goes behind a savepoint. One that is behind, or fails, goes by itself until it has caught up.
// Batches grow while there is more to do. Rows are found by their key's index whatever PostgreSQL makes of the table's
// size. A Batch projection is always by itself, since its effects must outlive a crash of the server, and rows need not.
//
// A process has a row among the nodes, renewed on a connection kept for that. It vouches for all that the process holds
// while its session lives and for ten seconds at most. Whoever takes a projection adds one to its epoch; a checkpoint
// moves only from the position, and at the epoch, that the mover knows. So a node that lost its turn without knowing can
// fold nothing any more, however late it wakes. Behind a pooler the session that is seen is the pooler's, and the death of
// a process shows when its time is up.
//
// # Reading one's own writes
//
// A Waiter lets readers wait until projections have taken every event up to a position. However many wait, a process looks
// at the checkpoints for all of them, every ten milliseconds at most. It does not matter who folds: when that node dies, the
// wait is over when another has come so far, and during a rebuild both generations have. Where positions were drawn and
// rolled back, nobody waits for them: when the log is final up to there, its last event is what counts. What takes longer
// than the reader's time is ErrLagging, and never an older row.
//
// # Releases
//
// Two releases may run side by side for as long as a deployment takes. Each keeps and reads the versions it was compiled for,
// and is not ready before these have caught up. A version that both have is one table, moved by a process of either.
//
// An older binary stops in front of an event that it cannot fold as the newer one would: one of a newer shape of a type that
// it handles, and one of a type that it does not know and that the newer binary folds into the same version. What comes before
// is done, the reason is kept beside the checkpoint, and the projection is given back for a newer process to take; if none does,
// the older one looks again every five seconds. Other types that it does not know reach nobody, since nobody can have a rule
// for them.
//
// For that, every binary says which types it folds into its versions (atlas.projections.handles) when it starts, before it can
// append any event: see Register. Types that this binary knows and has no rule for do not stop it, whoever else may have one:
// that is its own declaration, and who adds a rule to a view for events that are in the log already must raise its version.
//
// Since its folds lack something, an older binary does not rebuild, roll back or verify such a version either (ErrForeign): a
// process of the newer release does, also where the older one was asked. All of it lasts until DropOld is told that nobody
// runs the newer one any more.
//
// # Poison
//
// An event that cannot be folded into a row, because the fold panics, the event cannot be read or the table refuses the
// row, parks that row's key: the row stays as it was, the positions of all later events of the key are kept in order, and
// every other key goes on. Which event and row it is, in a batch that fails, is found by folding rows apart and batches in
// halves. Parked keys are listed with their error, their attempts and their first and last failure (ListParked). They are
// tried again by Retry, by whoever takes the projection, and by the runner itself after ten seconds and then less and less
// often, down to once an hour. A key that heals has been folded in order, as if nothing had been.
//
// A thousand keys may be parked; then the fault is not the events', and the projection stands still.
//
// # Generations
//
// A version's rows are in a table that is one of its generations (read.documents_v1_g2); readers read a view of the
// version's name (read.documents_v1). A rebuild makes the next generation and fills it in bulk: events are decoded and
// folded in parallel by key, rows are held in memory up to a bound and written by COPY, and what was written is committed
// with the generation's checkpoint, so that a rebuild that was killed goes on there. It catches up with the log on its own;
// then whoever runs the projection moves both in lockstep. To swap, it takes both checkpoints, so that nobody moves either,
// folds what one has and the other has not, turns the view and retires the other, all in one transaction. It waits for a
// reader that takes long without making others wait behind it. The newest retired generation stays for a rollback, which is
// the same on the way back.
//
// A key whose events cannot be folded is parked in the new generation too. A rebuild compares a sample of its rows with the
// log before it swaps, by another way: one stream at a time. A verification compares the live table so, or all of it with a
// generation of its own that it then drops. Both read table and checkpoint in one snapshot, and leave parked keys out.
//
// Memory: the rows held (DefaultMemory), and while they are written the text of one row; beside them some four pages of
// events, of eight megabytes each at most as they are stored, and their decoded values.
//
// # Failure
//
// A projection stands still, without skipping anything, where no key can be told: a key function that fails, a table that
// is missing, a batch that fails. Of a batch, the events before the one that fails are done. It tries again with growing
// pauses, its error is kept beside its checkpoint (atlas projections list), and the other projections go on. One
// that stays where it is for some seconds for any other reason is told of in the log, with the cause (Lags). A lost
// database is waited for. A node that freezes in a batch is put out of it after ten seconds. A declaration that cannot work
// (a column the table does not have, another primary key, a handler for an unknown event) fails at start with a sentence.
//
// What an older binary does with events of a newer one is said under Releases.
//
// Rows of read tables are committed without waiting for the disk. A crash of the server may lose the last of them
// together with their checkpoint, and they are folded again.
package engine
