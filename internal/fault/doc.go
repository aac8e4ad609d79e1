// Package fault is the vocabulary of failures a caller can act on.
//
// A fault is declared once, beside the rule that raises it, with a kind, a stable code and a sentence:
//
//	var ErrDocumentArchived = fault.New(fault.Conflict, "document_archived", "the document is archived")
//
// The code is API: it never changes its meaning. The sentence tells the person who reads it what to do and never
// repeats a value that was sent. The kind says what sort of failure it is; the HTTP layer alone turns kinds into
// statuses. Every other error is an internal one: its text is for the operator's log, never for the caller.
//
// A declared fault is compared with errors.Is. What one occurrence adds (which field, when to come back) is attached
// with Because, At and RetryAfter, which return a new error that still is the declared fault.
package fault
