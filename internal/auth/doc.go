// Package auth holds who is signed in: passwords, access and refresh tokens, their keys, and what has been revoked.
//
// It knows neither HTTP nor events. The write side calls Hasher, Tokens.Issue and RefreshStore where its commands need
// them; the HTTP layer calls Authenticator on each request; a feed over the log calls Revocations.
//
// # Passwords
//
// A Hasher computes argon2id for as many callers at once as there are processors, lets a few wait, and turns the rest
// away with ErrBusy: a flood of sign-ins costs waiting, never memory. An unknown account costs what a known one costs
// (VerifyNobody), except for a stored hash of another cost, which Verify says should be replaced.
//
// CheckPassword refuses new passwords by length, by a list of the 30,000 most common ones and the usual ways to dress
// them up, and where they are little more than the words of the account. common.txt holds hashes of the list's entries,
// so that a good password is taken for a common one once in 36 million. It was made of the password list of zxcvbn 4.4.2
// (lib/frequency_lists.js; Copyright (c) 2012-2016 Dan Wheeler and Dropbox, Inc.; MIT licence), one per line, by
//
//	go test ./internal/auth -run TestMakeCommon -common FILE
//
// There is no pepper: the stored hash is sealed under the user's own key, which the master key wraps, so whoever has the
// database alone has no hash to try passwords on.
//
// # Whose address it is
//
// Verifications makes the tokens that are mailed to an address: an HMAC, good for an hour, of which nothing is stored.
// Random ones with their hash at rest would be as good, but a mail that has to be sent twice could not hold the same.
// Devices makes the cookie by which a device is known from which somebody signed in, so that strangers who keep failing
// cannot make its owner wait. It is no credential.
//
// # Access tokens
//
// An access token is a JWT of one exact shape that is verified without a database, on any node that holds the keys.
// Whatever deviates is ErrTokenInvalid: another algorithm, header, issuer, audience or spelling, or a life longer than
// AccessTTL. The same keys never sign anything else.
//
// # Revocation
//
// A token dies everywhere as soon as each node has read the event that revokes it. Revocations keeps the cut-offs in
// memory for as long as a token they refuse could live: of a user, a session, an API key, and of everyone. Each is an
// integer epoch, counted by a stream, that a credential has to reach; of several the strictest wins. Times are never
// compared, since two events share a second.
//
// It fails closed: before it is loaded, and when the log has not been read for five seconds, Revocations refuses every
// token with ErrRevocationsUnknown. The Authenticator then asks the log itself, and if that cannot be reached either, the
// caller gets 503. What is dangerous asks the log in any case, and wants a sign-in of the last ten minutes (StepUp).
//
// # Refresh tokens
//
// A refresh token names its session and how often that was rotated; one counter per session says which is current. The
// current token is replaced when it is presented. The one before it is answered alike for 30 seconds, because requests
// cross, and once in 24 hours after that, because answers get lost; any other one is Reused, which means theft, and the
// caller ends the session. A thief and an owner who both use a session are thus found out the second time within a day
// that one of them comes after the other.
//
// The counters are operational state in a table of this package (Migrations): high-churn and worthless as history. They
// are restored with the database; a session whose counter is lost looks reused and has to sign in again.
//
// # Secrets
//
// A Secret prints as "[redacted]" and keys print as addresses, whatever prints them. Errors never repeat what was sent.
package auth
