-- +goose Up

-- How many times the holder of the slot's lease had spoken when it said what is recorded here.
ALTER TABLE atlas.subscription_slots ADD COLUMN turn bigint NOT NULL DEFAULT 0, ADD COLUMN turn_epoch bigint NOT NULL DEFAULT 0;

-- Records what a member has done, slot by slot, where it still holds the slot with the epoch it names, and returns those
-- slots. A slot that was leased to another since, or reset, is left alone with everything that belongs to it: what a
-- zombie says counts for nothing. The rows of the slots stay locked to the end, so nobody takes one in between.
--
-- A member counts how often it speaks, in turn. What it said earlier and arrives late, because its connection was given up
-- while the server was still busy with it, counts for nothing either: it would set the slot back.
--
-- {"turn": n, "slots": [{slot, epoch, position, acked}], "held": [{slot, stream, position, version, attempts, error, progress, held_ms, next_ms}],
--  "healed": [{slot, stream}], "parked": [{slot, position, stream, version, event, type, attempts, error}],
--  "retried": [{slot, position, error}]}; times are milliseconds from now.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION atlas.flush_subscription(of text, by uuid, change jsonb) RETURNS smallint[] LANGUAGE plpgsql AS $$
DECLARE
    mine smallint[];
BEGIN
    SELECT coalesce(array_agg(locked.slot), '{}') INTO mine
    FROM (
        SELECT s.slot
        FROM atlas.subscription_slots s
        JOIN jsonb_to_recordset(change->'slots') AS c (slot smallint, epoch bigint) USING (slot)
        WHERE s.subscription = of AND s.member = by AND s.epoch = c.epoch
            AND (s.turn_epoch <> c.epoch OR s.turn < (change->>'turn')::bigint)
        ORDER BY s.slot
        FOR UPDATE OF s
    ) locked;
    UPDATE atlas.subscription_slots s
    SET position = c.position, acked = c.acked, moved_at = clock_timestamp(), turn = (change->>'turn')::bigint, turn_epoch = s.epoch
    FROM jsonb_to_recordset(change->'slots') AS c (slot smallint, position bigint, acked bigint[])
    WHERE s.subscription = of AND s.slot = c.slot AND c.slot = ANY (mine);

    IF change ? 'healed' THEN
        DELETE FROM atlas.subscription_held h
        USING jsonb_to_recordset(change->'healed') AS c (slot smallint, stream text)
        WHERE h.subscription = of AND h.stream = c.stream AND c.slot = ANY (mine);
    END IF;
    IF change ? 'held' THEN
        INSERT INTO atlas.subscription_held AS h
            (subscription, stream, slot, position, version, attempts, error, progress, held_at, next_at)
        SELECT of, c.stream, c.slot, c.position, c.version, c.attempts, c.error, c.progress,
            clock_timestamp() - c.held_ms * interval '1 millisecond', clock_timestamp() + c.next_ms * interval '1 millisecond'
        FROM jsonb_to_recordset(change->'held') AS c (slot smallint, stream text, position bigint, version bigint,
            attempts integer, error text, progress text, held_ms bigint, next_ms bigint)
        WHERE c.slot = ANY (mine)
        ON CONFLICT (subscription, stream) DO UPDATE
        SET position = excluded.position, version = excluded.version, attempts = excluded.attempts, error = excluded.error,
            progress = excluded.progress, next_at = excluded.next_at;
    END IF;
    IF change ? 'parked' THEN
        INSERT INTO atlas.subscription_parked (subscription, position, slot, stream, version, event, type, attempts, error)
        SELECT of, c.position, c.slot, c.stream, c.version, c.event, c.type, c.attempts, c.error
        FROM jsonb_to_recordset(change->'parked') AS c (slot smallint, position bigint, stream text, version bigint,
            event uuid, type text, attempts integer, error text)
        WHERE c.slot = ANY (mine)
        ON CONFLICT (subscription, position) DO UPDATE
        SET attempts = excluded.attempts, error = excluded.error, retry_at = NULL;
    END IF;
    IF change ? 'retried' THEN
        DELETE FROM atlas.subscription_parked p
        USING jsonb_to_recordset(change->'retried') AS c (slot smallint, position bigint, error text)
        WHERE p.subscription = of AND p.position = c.position AND c.slot = ANY (mine) AND c.error IS NULL;
        UPDATE atlas.subscription_parked p
        SET attempts = p.attempts + 1, error = c.error, retry_at = NULL
        FROM jsonb_to_recordset(change->'retried') AS c (slot smallint, position bigint, error text)
        WHERE p.subscription = of AND p.position = c.position AND c.slot = ANY (mine) AND c.error IS NOT NULL;
    END IF;
    RETURN mine;
END
$$;
-- +goose StatementEnd
