// Package projections holds the read tables: one file per table, with its row, its DDL, its folds and its queries.
//
// A table is disposable: all that it holds comes from the log, and a rebuild gives the same rows. It may lag behind the
// log by milliseconds; who needs what was just written waits for its position (engine.Waiter).
//
// Every binary reads the table of the version it was compiled for. Raise a view's version when its rows or folds change:
// the new table is filled beside the old one, which older binaries keep reading.
//
// Queries take who is asking and answer ErrNotFound for what is not theirs, as if it did not exist.
package projections
