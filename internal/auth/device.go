package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// DeviceLifetime is how long a device stays known after somebody signed in from it.
const DeviceLifetime = 180 * 24 * time.Hour

// Devices tells devices from which somebody has signed in before, by a cookie that names nobody: an HMAC over the address
// they signed in with. Such a device is not slowed down by what strangers try; it is no credential.
type Devices struct{ secret sealed[[]byte] }

// NewDevices returns what knows devices by a secret, the same on every node.
func NewDevices(secret []byte) *Devices { return &Devices{seal(secret)} }

// deviceSize is that of a cookie: a random id, a time, and the MAC over both and the account.
const deviceSize = 16 + 8 + sha256.Size

// Mint returns the cookie of a new device of an account.
func (d *Devices) Mint(account uuid.UUID, now time.Time) string {
	head := binary.BigEndian.AppendUint64(random(16), uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(head, d.mac(account, head)...))
}

// Known returns the id of the device whose cookie this is, if it is one of the account's and not too old.
func (d *Devices) Known(cookie string, account uuid.UUID, now time.Time) (id uuid.UUID, known bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil || len(raw) != deviceSize || !hmac.Equal(raw[24:], d.mac(account, raw[:24])) {
		return uuid.Nil, false
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(raw[16:24])), 0)
	return uuid.UUID(raw[:16]), now.Sub(made) < DeviceLifetime
}

func (d *Devices) mac(account uuid.UUID, head []byte) []byte {
	mac := hmac.New(sha256.New, d.secret())
	mac.Write([]byte("atlas known device\x00"))
	mac.Write(account[:])
	mac.Write(head)
	return mac.Sum(nil)
}
