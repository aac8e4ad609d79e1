package relay

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/workers/outbox"
)

// HeaderUUID carries the message's id once more, where watermill-nats looks for it: its subscribers read these messages as
// they are.
const HeaderUUID = "_watermill_message_uuid"

// row is a message as it lies in the outbox.
type row struct {
	Offset   int64
	ID       string
	Payload  []byte
	Metadata []byte
}

// names are what a topic is called on the broker.
type names struct {
	prefix, topic string
}

// stream is the JetStream stream of the topic.
func (n names) stream() string { return n.prefix + "-" + n.topic }

// subjects are all that messages of the topic may have.
func (n names) subjects() string { return n.prefix + "." + n.topic + ".>" }

// tokens is what may be the end of a subject.
var tokens = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// subject is that of a message under a contract: "atlas.users.user.registered.v1".
func (n names) subject(contract string) string {
	if !tokens.MatchString(contract) {
		contract = "message"
	}
	return n.prefix + "." + n.topic + "." + contract
}

// message returns the row as it is published after the stream's message number last, and only then.
func (n names) message(r row, last uint64) (*nats.Msg, error) {
	var metadata map[string]string
	if err := json.Unmarshal(r.Metadata, &metadata); err != nil {
		return nil, fmt.Errorf("metadata of message %s at offset %d: %w", r.ID, r.Offset, err)
	}
	header := make(nats.Header, len(metadata)+4)
	for key, value := range metadata {
		header[key] = []string{value}
	}
	header[HeaderUUID] = []string{r.ID}
	header[jetstream.MsgIDHeader] = []string{r.ID}
	header[jetstream.ExpectedStreamHeader] = []string{n.stream()}
	header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(last, 10)}
	return &nats.Msg{Subject: n.subject(metadata[outbox.MetaContract]), Header: header, Data: r.Payload}, nil
}

// size is about what a row takes in memory, twice.
func (r row) size() int { return 2 * (len(r.Payload) + len(r.Metadata) + 200) }
