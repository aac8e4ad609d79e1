// Package measure compares what Atlas does with the bare minimum that does the same on the same PostgreSQL.
//
// What a machine can do changes from one second to the next, so figures of two runs say little about each other.
// Compare therefore takes samples in pairs, one of Atlas and one of the bare minimum directly after each other, in
// alternating order, and its ratio is the median over the pairs' ratios. One slow moment spoils one pair.
//
// A figure counts only if the work was done: each side says how much it has done in all samples, and is then asked how
// much is there. If the two differ, Compare returns an error and no figure.
//
// Room is where the cases run: databases of their own, on a private server with durable settings, or on the server they
// are given. They are dropped when the room is closed; nothing else on that server is touched.
//
// The package knows nothing of what is measured. It shares its processors with the server, as a process of Atlas on a
// small machine does.
package measure
