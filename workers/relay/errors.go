package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/internal/fault"
)

// What may be wrong with the broker. A relay that meets one of them stands still, says so, and tries again by itself.
var (
	ErrNoStream    = errors.New("the stream is missing: run `atlas relay setup`")
	ErrUnfit       = errors.New("the stream is unfit")
	ErrFull        = errors.New("the stream is full, and nothing is dropped to make room: raise its limits by `atlas relay setup`, or let consumers get on")
	ErrNoRoom      = errors.New("nats has no room for it: ask for less, or give JetStream more (max_file_store, or the account's limits)")
	ErrRefused     = errors.New("nats refuses the credentials of ATLAS_NATS_URL")
	ErrNoBroker    = errors.New("nats is away")
	ErrNoJetStream = errors.New("this nats server has no JetStream for the account: start it with -js, or enable it for the account")
	ErrMissed      = errors.New("pruned before they were forwarded, as no relay ran for too long: have them written again by `atlas outbox backfill`, or let them be; then go on by")
	ErrTooLarge    = errors.New("a message is larger than nats takes: raise max_payload of the server")
)

// ErrNoCluster says that more than one replica was asked of a server that stands alone.
var ErrNoCluster = fault.New(fault.Invalid, "relay_no_cluster", "this nats server is in no cluster, and can keep one replica only: give --replicas 1")

// errMoved says that the stream is not where the relay thought: it looks anew.
var errMoved = errors.New("somebody else wrote to the stream")

const (
	codeStoreFailed    jetstream.ErrorCode = 10077 // the reason is in the description alone
	codeResources      jetstream.ErrorCode = 10023
	codeStorage        jetstream.ErrorCode = 10047
	codeNoCluster      jetstream.ErrorCode = 10074
	codeStreamMismatch jetstream.ErrorCode = 10060
)

// explain puts what NATS reports into the words of the errors above.
func explain(err error) error {
	var api *jetstream.APIError
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return nil
	case is(nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired):
		return fmt.Errorf("%w (%v)", ErrRefused, err)
	case is(jetstream.ErrStreamNotFound):
		return ErrNoStream
	case is(jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w (%v)", ErrNoJetStream, err)
	case is(nats.ErrMaxPayload, jetstream.ErrStreamMessageExceedsMaximum):
		return fmt.Errorf("%w (%v)", ErrTooLarge, err)
	case is(nats.ErrNoServers, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrDisconnected,
		nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse, jetstream.ErrAsyncPublishTimeout, context.DeadlineExceeded):
		return fmt.Errorf("%w (%v)", ErrNoBroker, err)
	case errors.As(err, &api):
		return explainAPI(api)
	}
	return err
}

func explainAPI(err *jetstream.APIError) error {
	switch err.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return fmt.Errorf("%w (%v)", errMoved, err)
	case codeStoreFailed:
		return fmt.Errorf("%w (%v)", ErrFull, err)
	case codeResources, codeStorage:
		return fmt.Errorf("%w (%v)", ErrNoRoom, err)
	case codeNoCluster:
		return fmt.Errorf("%w (%v)", ErrNoCluster, err)
	case codeStreamMismatch:
		return fmt.Errorf("%w: its subjects belong to another stream (%v)", ErrUnfit, err)
	}
	return err
}
