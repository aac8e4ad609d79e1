// Package chain makes tampering with the log visible: it seals committed events into a chain of hashes, signs the
// chain's heads for keeping elsewhere, and verifies the log against both.
//
// # Promises
//
//   - Everything final in the log is sealed, in the order of positions, by a sealer in the background. Appends do not know
//     of it, wait for it, or fail with it.
//   - Any number of nodes may run a sealer and make one chain: one works at a time, under a lock that ends with its
//     transaction, and a block is added only as the next one. A sealer that is killed leaves nothing half done.
//   - While sealing keeps up, an event is sealed at most 1.25 seconds after it became final: a block is due when 1,024
//     events wait, or a second after the last block, and each node looks four times a second.
//   - Verify names the first event that was changed, removed or put in between after it was sealed, and says what of it
//     differs. It needs no key, holds up nobody, and takes a few MB, however long the log is.
//   - Erasing a person breaks nothing: digests are over ciphertext, and forgetting destroys a key, not an event. Neither
//     do burned positions, a dump and restore, or another version of PostgreSQL.
//   - Parts of the log that are not attached are reported, not called tampering.
//
// # What is hashed
//
// Integers are eight bytes, big-endian; times are microseconds since 2000-01-01 00:00 UTC; text is UTF-8. A field is its
// length as such an integer, then its bytes; NULL is the length 2⁶⁴-1 and nothing.
//
// An event's digest is SHA-256 over "atlas event 1\x00" and the fields, in this order: position, stream, version, id (16
// bytes), type, schema version, recorded_at, subject (16 bytes), data, metadata, sealed, secret. Data and metadata
// are the text that PostgreSQL gives for jsonb: it orders the keys and sets the spaces itself, and does so alike in all
// versions. Sealed and secret are the ciphertext.
//
// A block's entries are, for each of its events: position and version as integers, the stream as a field, the digest,
// and for each field from id to secret without stream and version the first two bytes of its SHA-256 (length included).
// The latter only tell what differs; the digest proves. A block's head is
//
//	SHA-256(previous ‖ "atlas block 1\x00" ‖ chain ‖ number ‖ after ‖ last ‖ events ‖ sealed at ‖ SHA-256(entries))
//
// where previous is the head of the block before. It vouches for the positions after the one, up to the other: the
// events it lists, and no others. It ends with an event that was seen, since positions above that nobody holds may be
// handed out again after a crash of the server. The first block of a chain follows, in place of a head,
//
//	SHA-256("atlas chain 1\x00" ‖ id ‖ number ‖ after ‖ started at ‖ field(head before) ‖ field(reason))
//
// A log has one chain until somebody calls Start, for an import or after a restore: the new one goes on where the last block
// ended, and binds that block's head and the reason. So every event is in one block, and a break is on record.
//
// # Heads
//
// Heads leave the database as NDJSON (Head), each signed with Ed25519 over
//
//	"atlas chain head 1\x00" ‖ chain ‖ block ‖ after ‖ last ‖ events ‖ sealed at ‖ head
//
// by a key that is derived from one of the secrets which all nodes share. That secret lies in the database wrapped by
// the master key: there is nothing more to configure or rotate, and who has the database alone can neither read it nor
// put one of his own in its place that a node would take. Who has both database and master key can sign what he likes,
// and a lost secret row means another key from then on. So a signature protects heads on their way and in their archive;
// that they cannot be changed later comes from where they are kept. An operator ships them, as they appear, to a place
// that nobody who administers the database or Atlas may write over (a log archive, an object store with a retention
// lock, a colleague's mailbox), and pins the public key. One head vouches for the whole log up to it.
//
// # Threats
//
// What somebody can do to a sealed event, unnoticed by Verify and Verify with exported heads:
//
//   - A caller of the API: nothing.
//   - The application's role, with all of its code in an attacker's hands: nothing. It may not write to these tables
//     but through functions that append. It can append events that nobody meant, with versions and times that the
//     functions take from their caller, and add a block that is not true or begin a chain, which Verify reports.
//   - The owner of the tables, or a superuser: nothing unless the chain is rewritten too. A chain rewritten to its end
//     passes Verify, as does one that was cut off together with its events. Neither passes against heads that were
//     exported before. A process that runs meanwhile also says so (ErrRewritten).
//   - Whoever can also write to where the heads are kept, and has the master key: everything.
//
// Nobody is kept from what happens before an event is sealed, that is for a second or so: then its bytes are
// vouched for as they are found. The same holds for all that a log held when its first chain began. Detaching a part hides
// its events from Verify, which says which; put it back to verify it. What a verification says is worth as much as the
// binary that says it: run it from a machine that is not the attacker's.
//
// A restored backup ends before heads that were exported after it was made. That looks like a log that was cut off,
// because it is one: verify against the heads up to the backup, call Start, and keep the rest as the record of
// what was lost.
//
// # Cost
//
// A block takes 119 bytes an event for streams named like "document-<uuid>". On two busy cores, with 1 KiB of ciphertext an
// event and PostgreSQL on the same machine, one sealer did 29,000 events a second and Verify 51,000 (BenchmarkSealAndVerify);
// with one node or three, idle or at a thousand appends a second, an event was sealed within 0.6 s at the median and
// 1.24 s at most. A log that trickles makes a block a second, one that is idle none.
//
// # Failure
//
// A sealer that cannot seal says so and tries again; the log grows meanwhile, and Report.Unsealed with it. Verify fails
// only where it could not read.
package chain
