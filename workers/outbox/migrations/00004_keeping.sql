-- +goose Up

-- What is known of the consumer groups of the topics, beyond how far they have come: which is where watermill-sql wants it, in
-- outbox.<topic>_offsets. Whoever keeps the topics writes here, one process at a time; a group that is not in its topic's
-- offsets is not here either.
CREATE TABLE outbox.observed_groups (
    topic          text         COLLATE "C" NOT NULL,
    consumer_group varchar(255) COLLATE "C" NOT NULL,
    offset_acked   bigint       NOT NULL,
    observed_at    timestamptz  NOT NULL,
    idle           interval     NOT NULL DEFAULT '0',
    abandoned_at   timestamptz,
    missed         bigint       NOT NULL DEFAULT 0,
    CONSTRAINT observed_groups_pkey PRIMARY KEY (topic, consumer_group)
);

COMMENT ON COLUMN outbox.observed_groups.idle IS 'for how long it was seen with messages to read and did not move';
COMMENT ON COLUMN outbox.observed_groups.missed IS 'messages that it had not read when they were pruned';

-- Up to which offset a topic was pruned: looking for what is next begins there, not in front of what is gone.
CREATE TABLE outbox.pruned_topics (
    topic  text   COLLATE "C" NOT NULL,
    upto   bigint NOT NULL,
    CONSTRAINT pruned_topics_pkey PRIMARY KEY (topic)
);

-- Refuses a group that would skip, without knowing, what was pruned while it was away.
-- +goose StatementBegin
CREATE FUNCTION outbox.require_group(of_topic text, of_group text) RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    lost bigint;
BEGIN
    SELECT g.missed INTO lost FROM outbox.observed_groups g
    WHERE g.topic = of_topic AND g.consumer_group = of_group AND g.missed > 0;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'AT007', MESSAGE = format(
            'the group %s of the topic %s was abandoned, and %s messages that it had not read were pruned: '
            'let it begin anew by `atlas outbox drop-group %s %s`', of_group, of_topic, lost, of_topic, of_group);
    END IF;
END
$$;
-- +goose StatementEnd
