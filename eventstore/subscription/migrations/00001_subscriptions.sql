-- +goose Up

-- The groups that read the log. The filter is fixed when a group is made: its slots stand at positions of what it lets
-- through. The generation grows whenever somebody joins, leaves or resets, so that members need look at little else.
CREATE TABLE atlas.subscriptions (
    name       text        COLLATE "C" NOT NULL,
    categories text[]      NOT NULL,
    types      text[]      NOT NULL,
    generation bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    reset_at   timestamptz,
    CONSTRAINT subscriptions_pkey PRIMARY KEY (name)
) WITH (fillfactor = 50);

-- Who runs a group now. A member is alive until expires_at, by the database's clock.
CREATE TABLE atlas.subscription_members (
    subscription text        COLLATE "C" NOT NULL,
    member       uuid        NOT NULL,
    label        text        NOT NULL,
    lease        interval    NOT NULL,
    paused       text        NOT NULL DEFAULT '',
    joined_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL,
    CONSTRAINT subscription_members_pkey PRIMARY KEY (subscription, member),
    CONSTRAINT subscription_members_of FOREIGN KEY (subscription) REFERENCES atlas.subscriptions (name) ON DELETE CASCADE
) WITH (fillfactor = 50);

-- A group's 256 slots. Whoever has leased a slot owns the streams that hash into it; the epoch grows with each lease, and
-- only the holder of the newest may write here. Every event of the slot up to position is done, but for the streams that
-- are held and what is parked; acked lists what is done above it.
CREATE TABLE atlas.subscription_slots (
    subscription text        COLLATE "C" NOT NULL,
    slot         smallint    NOT NULL,
    epoch        bigint      NOT NULL DEFAULT 0,
    member       uuid,
    position     bigint      NOT NULL,
    acked        bigint[]    NOT NULL DEFAULT '{}',
    moved_at     timestamptz NOT NULL DEFAULT now(),
    replay_upto  bigint      NOT NULL DEFAULT 0,
    replay_acked bigint[]    NOT NULL DEFAULT '{}',
    CONSTRAINT subscription_slots_pkey PRIMARY KEY (subscription, slot),
    CONSTRAINT subscription_slots_of FOREIGN KEY (subscription) REFERENCES atlas.subscriptions (name) ON DELETE CASCADE,
    CONSTRAINT subscription_slots_range CHECK (slot BETWEEN 0 AND 255)
) WITH (fillfactor = 50);

COMMENT ON COLUMN atlas.subscription_slots.replay_upto IS 'what was done before the last reset: up to here, and replay_acked';

-- The streams that are set aside: one of their messages failed, takes long, or they have fallen behind. Their events
-- before position are done, and none from there on, however far the slot has come.
CREATE TABLE atlas.subscription_held (
    subscription text        COLLATE "C" NOT NULL,
    stream       text        COLLATE "C" NOT NULL,
    slot         smallint    NOT NULL,
    position     bigint      NOT NULL,
    version      bigint      NOT NULL,
    attempts     integer     NOT NULL,
    error        text        NOT NULL,
    progress     text        NOT NULL,
    held_at      timestamptz NOT NULL,
    next_at      timestamptz,
    CONSTRAINT subscription_held_pkey PRIMARY KEY (subscription, stream),
    CONSTRAINT subscription_held_of FOREIGN KEY (subscription) REFERENCES atlas.subscriptions (name) ON DELETE CASCADE
) WITH (fillfactor = 50);

CREATE INDEX subscription_held_slot ON atlas.subscription_held (subscription, slot);

COMMENT ON COLUMN atlas.subscription_held.next_at IS 'when it is tried again; null where nothing is waited for but the worker';

-- The dead letters. One that has retry_at is to be tried once more.
CREATE TABLE atlas.subscription_parked (
    subscription text        COLLATE "C" NOT NULL,
    position     bigint      NOT NULL,
    slot         smallint    NOT NULL,
    stream       text        COLLATE "C" NOT NULL,
    version      bigint      NOT NULL,
    event        uuid        NOT NULL,
    type         text        NOT NULL,
    attempts     integer     NOT NULL,
    error        text        NOT NULL,
    parked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry_at     timestamptz,
    CONSTRAINT subscription_parked_pkey PRIMARY KEY (subscription, position),
    CONSTRAINT subscription_parked_of FOREIGN KEY (subscription) REFERENCES atlas.subscriptions (name) ON DELETE CASCADE
);

-- What a reset found held: these streams' events from position on were never done, so that having them now is no replay.
CREATE TABLE atlas.subscription_undone (
    subscription text     COLLATE "C" NOT NULL,
    stream       text     COLLATE "C" NOT NULL,
    slot         smallint NOT NULL,
    position     bigint   NOT NULL,
    CONSTRAINT subscription_undone_pkey PRIMARY KEY (subscription, stream),
    CONSTRAINT subscription_undone_of FOREIGN KEY (subscription) REFERENCES atlas.subscriptions (name) ON DELETE CASCADE
);

-- The effects that handlers had in this database, each in the transaction that had it.
CREATE TABLE atlas.subscription_effects (
    subscription text        COLLATE "C" NOT NULL,
    event        uuid        NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT subscription_effects_pkey PRIMARY KEY (subscription, event)
);
