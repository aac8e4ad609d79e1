package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Bounds on what a stored hash may ask for. Ours stay far below; a damaged or planted one must not be able to take
// the machine's memory or hold a processor for long.
const (
	maxMemory = 128 << 10 // KiB
	maxPasses = 10
	maxLanes  = 8
	maxPHC    = 256 // bytes of text
)

var errPHC = errors.New("stored password hash is not a valid argon2id string")

// Cost is what one argon2id hash takes.
type Cost struct {
	Memory uint32 // KiB
	Passes uint32
	Lanes  uint8
}

// DefaultCost is OWASP's first choice: 19 MiB, two passes, one lane.
func DefaultCost() Cost { return Cost{Memory: 19 << 10, Passes: 2, Lanes: 1} }

func (c Cost) valid() bool {
	return c.Lanes >= 1 && c.Lanes <= maxLanes &&
		c.Passes >= 1 && c.Passes <= maxPasses &&
		c.Memory >= 8*uint32(c.Lanes) && c.Memory <= maxMemory
}

// phc is a hash in the PHC string format: $argon2id$v=19$m=19456,t=2,p=1$salt$key.
type phc struct {
	cost Cost
	salt []byte
	key  []byte
}

func (h phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.cost.Memory, h.cost.Passes, h.cost.Lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

// parsePHC accepts only what String writes, within bounds. Its error never repeats the hash.
func parsePHC(s string) (phc, error) {
	if len(s) > maxPHC {
		return phc{}, errPHC
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return phc{}, errPHC
	}
	cost, ok := parseCost(parts[3])
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	h := phc{cost: cost, salt: salt, key: key}
	if !ok || saltErr != nil || keyErr != nil || !h.bounded() {
		return phc{}, errPHC
	}
	// One hash has one spelling: this refuses other algorithms and versions, leading zeros and stray bits in one go.
	if h.String() != s {
		return phc{}, errPHC
	}
	return h, nil
}

func (h phc) bounded() bool {
	return h.cost.valid() && len(h.salt) >= 8 && len(h.salt) <= 64 && len(h.key) >= 16 && len(h.key) <= 64
}

// parseCost reads "m=19456,t=2,p=1".
func parseCost(s string) (Cost, bool) {
	fields := strings.Split(s, ",")
	if len(fields) != 3 {
		return Cost{}, false
	}
	memory, okM := parseNumber(fields[0], "m=", 32)
	passes, okT := parseNumber(fields[1], "t=", 32)
	lanes, okP := parseNumber(fields[2], "p=", 8)
	return Cost{Memory: uint32(memory), Passes: uint32(passes), Lanes: uint8(lanes)}, okM && okT && okP
}

func parseNumber(field, prefix string, bits int) (uint64, bool) {
	digits, ok := strings.CutPrefix(field, prefix)
	n, err := strconv.ParseUint(digits, 10, bits)
	return n, ok && err == nil
}
