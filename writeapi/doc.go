// Package writeapi is the command side of the REST API: it turns a request into a command and the outcome into an answer.
//
// An endpoint reads its input, gives a command, and tells what came of it: the resource's id, version and position. It
// holds no rule: what is allowed is decided in commands. A request with an Idempotency-Key is a command whose id is a
// hash of the caller and the key, so that a retry on any node gets the first answer.
//
// Signing up answers alike, after the same work, whether or not an address has an account: it does not look. Signing in
// fails alike, after the same work, for every reason: see docs/identity.md, which names the tests that count.
package writeapi
