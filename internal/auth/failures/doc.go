// Package failures counts sign-ins that failed, by the address that was typed and the hour.
//
// They are operational state and no history: anybody can cause any number of them, so the log does not hold them one by
// one. An address is kept as the id of its reservation stream, a keyed hash, whether or not it has an account. Each
// failure is one statement, which waits only for another failure of the same address; Prune removes what is old, and any
// number of nodes may run Pruner.
package failures
