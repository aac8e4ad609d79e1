// Package transfer takes the log out of a database and brings it into another: reading and following it as an operator
// does, exporting it to a file and importing such a file.
//
// # The file
//
// NDJSON: one JSON object per line. The first is {"header":{…}}: the format and its version, what part of the log
// follows, and when it was taken. Then, where asked for, {"server_secret":{…}} and {"subject_key":{…}} lines: keys as
// the database holds them, wrapped by the master key and useless without it. Then the events in the order of the log,
// each with the fields of Event; ciphertext stays ciphertext. The last line is {"trailer":{…}}: how many lines of each
// kind there were, and the SHA-256 of all bytes before it, so that a file that was cut off or changed is recognised.
//
// # Promises of an export
//
//   - It holds every event of its range, up to the horizon read when it began, each as it is stored.
//   - Keys are read after that horizon, so those of all its events are among them.
//   - One that was cut off goes on where it ended, and ends as it would have.
//
// # Promises of an import
//
//   - The whole file is checked before anything is written. What is wrong is named with its line.
//   - Events keep their ids, streams, versions, times, metadata and ciphertext, and their order.
//   - Into an empty log they keep their positions too, so checkpoints and cursors stay valid.
//   - It commits by chunks; one that was killed goes on after the last chunk, given the same file again. No chunk is ever
//     written in part.
//   - Readers may follow the log meanwhile: they see the events in order and miss none.
//   - The log's chain of hashes begins anew with it, so that the break is on record (see eventstore/chain).
//
// # Why readers miss nothing
//
// With new positions, a chunk is an append like any other: stream rows first, then the fence, then positions are drawn
// (see eventstore).
//
// With kept positions, nothing is drawn. A chunk's rows lie above those of the chunks before it, and appear all at once
// when it commits. Readers come to events only, and never to a position that has none, so none has come further than the
// chunks before. The sequence follows each chunk after its commit, and readers with it: what a chunk holds beyond the
// sequence's value lies beyond their horizon until then. This needs that nobody else draws positions meanwhile: a trigger
// refuses all other appends from the import's first moment to its last, killed or not; it is switched on under a lock
// that waits for open appends.
//
// # Limits
//
// The ids of commands are not part of the log and are not carried over: a request that was sent before an export and is
// repeated after the import is carried out again. Checkpoints, sessions' counters and parked messages are not either. An
// import into a log that has events does not compare event ids with those that are there. Checking takes memory: about
// 20 bytes per event and 200 per stream.
package transfer
