package fault

import (
	"errors"
	"time"
)

// Kind is the sort of a failure: what the caller may do about it.
type Kind int

// The kinds, in the order of the statuses they become.
const (
	BadRequest      Kind = iota + 1 // the request cannot be understood
	Unauthenticated                 // nobody is signed in, or not validly
	Forbidden                       // signed in, but not allowed
	NotFound                        // it does not exist, or not for this caller
	MethodUnknown                   // the path exists, the method does not
	NotAcceptable                   // no media type the caller accepts can be produced
	Conflict                        // the state forbids it now
	Gone                            // it existed and never will again
	Stale                           // the version the caller named is not the current one
	TooLarge                        // the body is over the limit
	WrongMedia                      // the content type is not accepted
	Invalid                         // understood, but a field breaks a rule
	TooMany                         // the caller is over a limit
	Internal                        // our fault
	Unavailable                     // not now; trying again later may help
)

// Fault is a declared failure. Declare it with New; compare with errors.Is.
type Fault struct {
	kind     Kind
	code     string
	sentence string
}

// New declares a fault. Call it for package-level variables only.
func New(kind Kind, code, sentence string) *Fault {
	return &Fault{kind: kind, code: code, sentence: sentence}
}

// Error returns the sentence.
func (f *Fault) Error() string { return f.sentence }

// Kind returns the sort of the failure.
func (f *Fault) Kind() Kind { return f.kind }

// Code returns the stable, snake_case code.
func (f *Fault) Code() string { return f.code }

// Sentence returns what the declaration says to the person who meets the fault.
func (f *Fault) Sentence() string { return f.sentence }

// Field is one part of the input that broke a rule.
type Field struct {
	Pointer string // JSON pointer into the body ("/title"), or a parameter's name ("limit", "If-Match")
	Code    string // stable, snake_case: "required", "too_long", …
	Message string // a sentence; never the value sent
}

// At returns an error that is f and names the fields that broke its rule.
func (f *Fault) At(fields ...Field) error { return &Occurrence{fault: f, fields: fields} }

// Because returns an error that is f with a sentence of its own in place of the declared one.
func (f *Fault) Because(sentence string) error { return &Occurrence{fault: f, detail: sentence} }

// RetryAfter returns an error that is f and says when it is worth trying again.
func (f *Fault) RetryAfter(d time.Duration) error { return &Occurrence{fault: f, retryAfter: d} }

// Occurrence is one occurrence of a declared fault, with what is particular to it.
type Occurrence struct {
	fault      *Fault
	detail     string
	fields     []Field
	retryAfter time.Duration
}

// Error returns the detail, or the declared sentence where there is none.
func (o *Occurrence) Error() string {
	if o.detail != "" {
		return o.detail
	}
	return o.fault.sentence
}

// Unwrap returns the declared fault.
func (o *Occurrence) Unwrap() error { return o.fault }

// Fields returns the parts of the input that broke the rule, possibly none.
func (o *Occurrence) Fields() []Field { return o.fields }

// RetryAfter returns when trying again is worth it; zero says nothing.
func (o *Occurrence) RetryAfter() time.Duration { return o.retryAfter }

// Of returns the occurrence in err's tree. An error that holds none is not a fault: ok is false, and its text must not
// reach the caller.
func Of(err error) (o *Occurrence, f *Fault, ok bool) {
	if errors.As(err, &o) {
		return o, o.fault, true
	}
	if errors.As(err, &f) {
		return &Occurrence{fault: f}, f, true
	}
	return nil, nil, false
}
