package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/http"
	"strings"

	"github.com/atlas-platform/atlas/internal/fault"
)

// Idempotency is what a retry is recognised by: the caller's key, and what the request asked for.
type Idempotency struct {
	Key         string   // of this caller; another caller's same key is another key
	Fingerprint [32]byte // over method, path, If-Match and body
}

type idempotencyKey struct{}

// IdempotencyFrom returns the request's idempotency; ok is false when it carried no key, or when the operation is open
// to anyone or declared NoReplay.
func IdempotencyFrom(ctx context.Context) (i Idempotency, ok bool) {
	i, ok = ctx.Value(idempotencyKey{}).(Idempotency)
	return i, ok
}

// withIdempotency reads the Idempotency-Key, if there is one, into the request's context.
func withIdempotency(r *http.Request, body []byte) (*http.Request, error) {
	sent := r.Header.Values("Idempotency-Key")
	if len(sent) == 0 {
		return r, nil
	}
	if len(sent) > 1 || !validIdempotencyKey(sent[0]) {
		return nil, ErrInvalidParameter.At(fault.Field{
			Pointer: "Idempotency-Key", Code: codeInvalidFormat, Message: "must be 1 to 255 visible ASCII characters",
		})
	}
	i := Idempotency{Key: sent[0], Fingerprint: fingerprint(r, body)}
	return r.WithContext(context.WithValue(r.Context(), idempotencyKey{}, i)), nil
}

func validIdempotencyKey(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 255
}

// fingerprint hashes what the request asked for. Each part is preceded by its length, so that no two requests can be
// cut into the same bytes. The query is left out: it asks for how to answer.
func fingerprint(r *http.Request, body []byte) [32]byte {
	h := sha256.New()
	hashPart(h, []byte(r.Method))
	hashPart(h, []byte(r.URL.EscapedPath()))
	hashPart(h, []byte(strings.Join(r.Header.Values("If-Match"), ", ")))
	hashPart(h, body)
	return [32]byte(h.Sum(nil))
}

func hashPart(h hash.Hash, part []byte) {
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
	h.Write(part)
}
