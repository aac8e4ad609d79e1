// Package httpapi is how Atlas speaks HTTP: operations are declared once, and everything that is the same for all of
// them happens here.
//
// # Operations
//
// Register takes a declaration and a handler of values: parsed input in, output or error out. A declaration says who may
// call (Access, Scope, StepUp); one that does not, or asks for the impossible, is refused at registration, as are an ID, a
// route or an error code used twice. Whose something is, no declaration checks: the command and the query decide that. The input's
// fields tagged path, query and header are parameters, its Body the JSON body; the output's fields tagged header are
// headers. Huma reads the tags, makes the schemas and writes the OpenAPI document. A field is required unless its json
// tag says omitempty or omitzero; a *uuid.UUID needs nullable:"true", a slice that may not be null nullable:"false".
//
// A stream is an output whose Body is a func(huma.Context), with Produces set. Writers flush through http.Flusher or
// http.ResponseController. Streams and long polls are declared Held: the context of such a request ends within a quarter of
// a second after its credential was refused on this node (revoked, expired, or not to be told from a revoked one), and at
// once when the node drains. Ended says which; a handler that returns the context's error is answered with it.
//
// A request passes these steps in this order: credential, Accept, parameters nobody declared, body (cap, encoding, JSON,
// schema), Idempotency-Key, declared parameters, handler. A stranger is therefore refused before a byte of a body is
// read.
//
// # Failures
//
// Everything that fails answers application/problem+json (RFC 9457) by one encoder: operations, plain routes, unknown
// paths and methods, panics. A handler returns a fault for what the caller can act on; one map turns kinds into statuses.
// Any other error is "internal" (or "timeout", if the deadline passed): its text goes to the log and never to the caller.
// A failure after the first byte of an answer cuts the connection.
//
// Values that were sent are never repeated, in no member. Names are, since an error must say which field it means: a name
// that the caller made up is cut at 64 characters and stripped of what is not printable. The instance is the request's
// path without its query.
//
// # Bodies
//
// A body is exactly one JSON value in UTF-8, uncompressed, as application/json, within the operation's cap (1 MiB unless
// declared). Refused as malformed_json: no name twice in one object, at most 32 levels, numbers of at most 64 characters.
// Refused as validation_failed, all at once (the first 64): unknown fields, names in another case, null where it was not
// declared nullable, what breaks a rule of the schema, and text that PostgreSQL cannot hold (NUL and half surrogate
// pairs). Lengths count Unicode code points. Whole numbers are written as digits: 1.0 and 1e3 are not.
//
// An operation without a body takes none, or {}. The body of a GET is not read.
//
// Query parameters that are not declared, or given twice, are refused too: a misspelt filter must not return everything.
//
// # What is mended in Huma
//
// Huma v2 repeats sent values in its errors, accepts duplicate and differently cased names and any or no content type,
// has no code per field, negotiates types it was not asked for, counts a body of exactly the cap as too large, and leaves
// a read deadline behind that later cancels a stream. It also has package variables that all APIs of a process share
// (NewError and others). None of them is touched: Huma's error model is caught by this API's own transformer, which
// records the fault; what Huma writes after that is dropped, and the edge writes the problem.
//
// # Ids and logs
//
// X-Request-ID is taken over if it is 8 to 64 characters of [A-Za-z0-9._-], else made (UUIDv7); traceparent likewise, if
// it is valid. Both are echoed and are in every record logged with the request's context. Each request is one log line:
// method, route template, status, duration, bytes, user, error code, and for 5xx the internal error. It holds no path,
// query, body, header or address. An Observer is told the same for metrics.
//
// # Caching
//
// Under /v1 answers carry Cache-Control: no-store unless the output sets another. A GET that sets ETag is answered 304
// when If-None-Match holds the tag.
package httpapi
