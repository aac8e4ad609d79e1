// Package bench holds the cases of `atlas bench`: each is a piece of Atlas beside the bare minimum that does the same on
// the same PostgreSQL. internal/measure compares the two; a case says what they do, and how to count what they did.
//
// A case fails, and gives no figures, where either side did other than it said. It works in databases of its own.
package bench
