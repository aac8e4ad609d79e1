package events

import "time"

// SigningEvent is the closed set of facts about what access tokens are signed with. They have one stream for all of Atlas.
type SigningEvent interface{ signing() }

// Signing lists the signing events in the order they happen to a key. The log holds public keys alone.
var Signing = []Type{
	Define[SigningKeyAnnounced]("signing.key_announced"),
	Define[SigningKeyScheduled]("signing.key_scheduled"),
	Define[SigningKeyActivated]("signing.key_activated"),
	Define[SigningKeyRetired]("signing.key_retired"),
	Define[SigningKeyRemoved]("signing.key_removed"),
	Define[EveryoneSignedOut]("signing.everyone_signed_out"),
}

// SigningKeyAnnounced publishes a key before it signs, so that whoever keeps a copy of the key set has it by then.
type SigningKeyAnnounced struct {
	KeyID       string    `json:"key_id"`     // RFC 7638 thumbprint
	PublicKey   string    `json:"public_key"` // Ed25519, as x of a JWK: base64url without padding
	AnnouncedAt time.Time `json:"announced_at"`
}

// SigningKeyScheduled says from when an announced key is to sign.
type SigningKeyScheduled struct {
	KeyID     string    `json:"key_id"`
	SignsFrom time.Time `json:"signs_from"`
}

// SigningKeyActivated makes the key the one that signs.
type SigningKeyActivated struct {
	KeyID       string    `json:"key_id"`
	ActivatedAt time.Time `json:"activated_at"`
}

// SigningKeyRetired says that the key signs no more. What it has signed is good for as long as it lives.
type SigningKeyRetired struct {
	KeyID         string    `json:"key_id"`
	RetiredAt     time.Time `json:"retired_at"`
	VerifiesUntil time.Time `json:"verifies_until"`
}

// SigningKeyRemoved makes everything worthless that the key has signed.
type SigningKeyRemoved struct {
	KeyID     string    `json:"key_id"`
	RemovedAt time.Time `json:"removed_at"`
}

// EveryoneSignedOut ends every session there is.
type EveryoneSignedOut struct {
	Epoch int64 `json:"epoch"` // tokens and sessions of earlier shared epochs are refused
}

func (SigningKeyAnnounced) signing() {}
func (SigningKeyScheduled) signing() {}
func (SigningKeyActivated) signing() {}
func (SigningKeyRetired) signing()   {}
func (SigningKeyRemoved) signing()   {}
func (EveryoneSignedOut) signing()   {}

// CutOff implements Revoking.
func (e EveryoneSignedOut) CutOff() CutOff { return CutOff{Of: OfEveryone, Epoch: e.Epoch} }
