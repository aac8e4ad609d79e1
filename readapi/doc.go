// Package readapi is the query side of the REST API: it answers from the read tables, and from the log itself where the
// past is asked for.
//
// Read tables lag behind the log by milliseconds. A request that carries Atlas-Min-Position is answered from data at
// least as new, or, when that takes too long, with projection_lagging; it never gets older data.
//
// What belongs to somebody else is answered as if it did not exist.
package readapi
