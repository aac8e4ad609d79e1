-- +goose Up

-- The queues: groups that no process works for. Their messages are leased one by one, to whoever asks any node, and
-- answered to any node. A queue has one slot, 0, which nobody holds: its position is how far the log was taken in.
CREATE TABLE atlas.subscription_queues (
    subscription text     COLLATE "C" NOT NULL,
    owner        uuid     NOT NULL,
    attempts     integer  NOT NULL,
    retry_first  interval NOT NULL,
    retry_max    interval NOT NULL,
    replays      boolean  NOT NULL,
    CONSTRAINT subscription_queues_pkey PRIMARY KEY (subscription),
    CONSTRAINT subscription_queues_of FOREIGN KEY (subscription) REFERENCES atlas.subscriptions (name) ON DELETE CASCADE
);

CREATE INDEX subscription_queues_owner ON atlas.subscription_queues (owner);

COMMENT ON COLUMN atlas.subscription_queues.attempts IS 'after so many failed tries a message is parked; 0 for never';

-- The streams of a queue that have messages which are not done: its events before position are, and none from there up to
-- seen. At most one message of a stream is leased. A stream without any to come (seen < position) has a parked one that is
-- to be tried again.
CREATE TABLE atlas.subscription_queued (
    subscription text        COLLATE "C" NOT NULL,
    stream       text        COLLATE "C" NOT NULL,
    position     bigint      NOT NULL,
    version      bigint      NOT NULL,
    seen         bigint      NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    error        text        NOT NULL DEFAULT '',
    progress     text        NOT NULL DEFAULT '',
    queued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at       timestamptz NOT NULL DEFAULT '-infinity',
    next_at      timestamptz NOT NULL,
    lease        uuid,
    CONSTRAINT subscription_queued_pkey PRIMARY KEY (subscription, stream),
    CONSTRAINT subscription_queued_of FOREIGN KEY (subscription) REFERENCES atlas.subscription_queues (subscription) ON DELETE CASCADE
);

CREATE INDEX subscription_queued_next ON atlas.subscription_queued (subscription, next_at);

COMMENT ON COLUMN atlas.subscription_queued.due_at IS 'its next message is not handed out before';
COMMENT ON COLUMN atlas.subscription_queued.next_at IS 'when the stream is looked at next; the end of the lease while it is leased';

-- The messages that were handed out, by their tokens. What was answered is kept for a while, so that an answer that comes
-- twice is known.
CREATE TABLE atlas.subscription_leases (
    lease        uuid        NOT NULL,
    subscription text        COLLATE "C" NOT NULL,
    stream       text        COLLATE "C" NOT NULL,
    position     bigint      NOT NULL,
    version      bigint      NOT NULL,
    event        uuid        NOT NULL,
    type         text        NOT NULL,
    redo         boolean     NOT NULL,
    expires_at   timestamptz NOT NULL,
    answer       text,
    CONSTRAINT subscription_leases_pkey PRIMARY KEY (lease),
    CONSTRAINT subscription_leases_of FOREIGN KEY (subscription) REFERENCES atlas.subscription_queues (subscription) ON DELETE CASCADE
);

CREATE INDEX subscription_leases_end ON atlas.subscription_leases (subscription, expires_at);

CREATE INDEX subscription_parked_retry ON atlas.subscription_parked (subscription, stream, position) WHERE retry_at IS NOT NULL;
