// Package sealing encrypts personal data in the log, so that a person can be forgotten by destroying one key.
//
// Every subject has a key of its own (AES-256), made when the first value about them is sealed. Subject keys lie in the
// database, wrapped by a master key that comes from the environment and is never stored. A value is sealed with
// AES-256-GCM under a random nonce and bound to the event and the part it belongs to: moved elsewhere, it does not open.
//
// # Promises
//
//   - A wrong master key is refused at start: New opens a check value that the first start has left.
//   - Several master keys may be given: the first wraps, all unwrap.
//   - Forgetting is one transaction: it destroys the key, leaves a tombstone, says so in the log (subject.forgotten) and
//     enters it in the erasure ledger. No key is ever made for the subject again, whoever else is making its first one.
//   - What is sealed for a forgotten subject reads as erased, without an error; sealing for it is ErrForgotten.
//   - Within a second this holds on every node that follows the log, caches and the tail's memory included, whatever
//     append is open. Whoever reads in the order of the log opens nothing that lies behind the event, however late a node.
//   - A key is rewrapped under another master key without a reader, a writer or somebody's forgetting noticing.
//
// # Forgetting
//
// Keys in memory are dropped when any reader of the process comes to the event (eventstore.Forgetter), which the tail does
// at once, and beyond the horizon too. A key that was fetched while somebody was being forgotten is used once and not
// kept. Without a tail, or with one that is cut off, a key lives for a minute; a tail that begins anew drops them all.
//
// An append that had its key before the forgetting and commits after it is not refused. Nobody can read what it sealed,
// and it reads as erased; its events name the subject, so no row is made of them.
//
// What was forgotten lives on in backups of the database. The ledger (ExportLedger) is small, names nobody but by id, and
// is to be kept apart from the backups and exported more often. After a restore, ReadLedger and Replay destroy the keys
// again before the database serves anyone.
//
// # Master keys
//
// To change the master key: give every node the new one after the old one, then every node the new one first, then Rewrap,
// and drop the old one when Status finds nothing under it. Nodes stay up throughout.
//
// A master key that leaked alone opens nothing: change it as above, and every copy of the database that is made afterwards
// is out of its reach. A copy that was made before is not, if it leaks as well: rewrapping changes no subject's key, and
// keys cannot be changed under values that are never rewritten. Then all that the copy holds must be taken as known,
// but for those who were forgotten before it was made; and the server's secrets in it too, which outlive master keys.
//
// # Failure
//
// A damaged or moved value, or one whose key is lost without a tombstone, is an error of that value which names the
// subject; it is never silently an erased one, and it keeps no other value from being opened. A key that was wrapped by
// a master key this process was not given is an error for all: opening stops until the configuration is right.
//
// Keys in use are cached, boundedly; the cache holds no plaintext. A lost connection is tried again a few times. A ledger
// that was cut off or changed, or is another database's, is ErrLedger, and nobody is forgotten by it.
package sealing
