package httpapi

import (
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/google/uuid"
)

// requestID returns the id the caller sent if it is harmless in a log, else a new one.
func requestID(sent string) string {
	if validRequestID(sent) {
		return sent
	}
	return uuid.Must(uuid.NewV7()).String()
}

func validRequestID(s string) bool {
	if len(s) < 8 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// traceparent returns the W3C traceparent the caller sent if it is valid, else that of a new trace. A new one is marked
// as sampled: whoever samples further on would otherwise take the mark's absence for a decision already made.
func traceparent(sent string) string {
	if validTraceparent(sent) {
		return sent
	}
	var id [24]byte
	rand.Read(id[:])
	return "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + "-01"
}

// validTraceparent accepts version 00 exactly, and of later versions only what version 00 could read: a longer field
// would have to be passed on without being understood.
func validTraceparent(s string) bool {
	if len(s) != 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:]
	if !isLowerHex(version + trace + parent + flags) {
		return false
	}
	return version != "ff" && strings.Trim(trace, "0") != "" && strings.Trim(parent, "0") != ""
}

func isLowerHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
