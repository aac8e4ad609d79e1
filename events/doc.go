// Package events is the vocabulary of Atlas: every fact the log may hold, declared once.
//
// A type has a stored name that never changes ("document.created"), a Go struct of today's shape, and the upcasts that
// lift what older binaries stored to that shape. Its schema version is one more than the number of its upcasts. Names
// are never derived from Go names, so that a rename in the code loses no event.
//
// # Adding and changing
//
//   - A new aggregate: a file with its events and their list, and one line in Catalog.
//   - A new field whose zero value is right for old events: just the field.
//   - Any other change of shape: an upcast, appended to the ones that are there. Upcasts are never edited or removed.
//
// One stored sample per name and schema version stays in testdata for ever; a test decodes all of them.
//
// # Personal data
//
// Struct tags say which fields are personal:
//
//	OwnerID uuid.UUID `json:"owner_id" pii:"subject"` // whose key seals the others
//	Title   string    `json:"title"    pii:"seal"`    // encrypted; reads as the zero value once the subject is forgotten
//	Hash    string    `json:"hash"     pii:"secret"`  // encrypted; only commands ever see it
//	Digest  string    `json:"digest"   pii:"inside"`  // nobody's, and stored in the clear, but left out of what leaves Atlas
//
// An event that is about a person names them as its subject even where none of its fields is sealed: so that whoever keeps
// rows about them can tell whose they are, and drop them when the person is forgotten (SubjectForgotten).
//
// A type with sealed or secret fields and no subject is refused when the vocabulary is made. Encode splits an event
// into the plain part, the sealed part and the secret part; the log encrypts the last two before it stores them.
//
// The package knows neither the log nor the database.
package events
