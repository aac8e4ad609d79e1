package events

import "encoding/json"

// Message lists what integrations put into the log through a Watermill publisher.
var Message = []Type{
	Define[MessagePublished]("message.published"),
}

// MessagePublished is a message of another system's making. It may lie in streams of any category; what it says is that
// system's business. It must not hold personal data, which could not be forgotten here.
type MessagePublished struct {
	UUID     string            `json:"uuid"`
	Metadata map[string]string `json:"metadata,omitzero"`
	Payload  json.RawMessage   `json:"payload,omitzero"`        // where it is JSON
	Bytes    []byte            `json:"payload_base64,omitzero"` // where it is not
}
