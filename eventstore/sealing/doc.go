// Package sealing encrypts personal data in the log, so that a person can be forgotten by destroying one key.
//
// Every subject has a key of its own (AES-256), made when the first value about them is sealed. Subject keys lie in the
// database, wrapped by a master key that comes from the environment and is never stored. A value is sealed with
// AES-256-GCM under a random nonce and bound to the event and the part it belongs to: moved elsewhere, it does not open.
//
// # Promises
//
//   - A wrong master key is refused at start: New opens a check value that the first start has left.
//   - A subject that was forgotten leaves a tombstone. Opening its values gives nothing, without an error; sealing for
//     it is ErrForgotten. No key is ever made for it again.
//   - Several master keys may be given: the first wraps, all unwrap.
//
// # Failure
//
// A damaged or moved value, or one whose key is lost without a tombstone, is an error of that value which names the
// subject; it is never silently an erased one, and it keeps no other value from being opened. A key that was wrapped by
// a master key this process was not given is an error for all: opening stops until the configuration is right.
//
// Keys in use are cached, boundedly; the cache holds no plaintext.
package sealing
