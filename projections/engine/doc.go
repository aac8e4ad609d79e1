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
//   - Readers of a table that is being rebuilt see its old rows until the new ones are complete.
//
// # Failure
//
// A projection whose fold panics or whose SQL fails stops where it is: nothing is skipped. It tries again with growing
// pauses, its error is kept beside its checkpoint (atlas projections list), and the other projections go on. A lost
// database is waited for. A node that freezes in a batch is put out of it after ten seconds, and another takes the turn.
// A declaration that cannot work (a column the table does not have, another primary key, a handler for an unknown event)
// fails at start with a sentence.
//
// An event type this binary does not know reaches nobody, since nobody can have a rule for it. A newer shape of one it
// knows stops those who handle it, until a newer node takes their turn.
//
// An event that comes after its row was deleted makes the row anew, from its key and zero values: what may follow a
// deletion is for the deciders to say.
//
// Rows of read tables are committed without waiting for the disk. A crash of the server may lose the last of them
// together with their checkpoint, and they are folded again.
package engine
