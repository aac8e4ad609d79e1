-- +goose Up

-- Says that a member is alive, and brings its slots to its fair share: takes what is free or whose member is dead. One
-- member at a time does this in a group, so nobody is found dead while it says that it lives. held are the slots the
-- member believes to own, with their epochs; busy are those it must not take, since handlers of an earlier lease of its
-- own still run. A member after a restart of the server has a lease's time to come back before its slots are taken.
-- +goose StatementBegin
CREATE FUNCTION atlas.lease_subscription(
    of text,
    by uuid,
    called text,
    lasting interval,
    pausing text,
    held jsonb,
    busy smallint[]
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    alive uuid[];
    share integer;
    owned integer;
    joined boolean;
    kept jsonb;
    taken jsonb;
    turn bigint;
BEGIN
    PERFORM FROM atlas.subscriptions s WHERE s.name = of FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO atlas.subscription_members AS m (subscription, member, label, lease, paused, expires_at)
    VALUES (of, by, called, lasting, pausing, clock_timestamp() + lasting)
    ON CONFLICT (subscription, member) DO UPDATE
    SET expires_at = excluded.expires_at, paused = excluded.paused
    RETURNING m.xmax = 0 INTO joined;

    SELECT array_agg(m.member ORDER BY m.member) INTO alive
    FROM atlas.subscription_members m
    WHERE m.subscription = of
        AND (m.member = by OR greatest(m.expires_at, pg_postmaster_start_time() + m.lease) > clock_timestamp());
    share := 256 / cardinality(alive) + (array_position(alive, by) <= 256 % cardinality(alive))::integer;

    SELECT coalesce(jsonb_agg(s.slot), '[]'), count(*) INTO kept, owned
    FROM atlas.subscription_slots s
    JOIN jsonb_to_recordset(held) AS h (slot smallint, epoch bigint) USING (slot)
    WHERE s.subscription = of AND s.member = by AND s.epoch = h.epoch;

    WITH free AS (
        SELECT s.slot
        FROM atlas.subscription_slots s
        WHERE s.subscription = of
            AND (s.member IS NULL OR s.member <> ALL (alive) OR s.member = by)
            AND NOT kept @> to_jsonb(s.slot)
            AND s.slot <> ALL (busy)
        ORDER BY s.slot
        LIMIT greatest(share - owned, 0)
        FOR UPDATE
    ), mine AS (
        UPDATE atlas.subscription_slots s
        SET member = by, epoch = s.epoch + 1
        FROM free
        WHERE s.subscription = of AND s.slot = free.slot
        RETURNING s.slot, s.epoch, s.position, s.acked, s.replay_upto, s.replay_acked
    )
    SELECT coalesce(jsonb_agg(to_jsonb(mine)), '[]') INTO taken FROM mine;

    -- What it held before a reset and has no share of any more.
    UPDATE atlas.subscription_slots s
    SET member = NULL
    WHERE s.subscription = of AND s.member = by AND s.slot <> ALL (busy)
        AND NOT kept @> to_jsonb(s.slot)
        AND NOT EXISTS (SELECT FROM jsonb_to_recordset(taken) AS t (slot smallint) WHERE t.slot = s.slot);

    DELETE FROM atlas.subscription_members m
    WHERE m.subscription = of AND m.expires_at < clock_timestamp() - interval '1 minute' - m.lease;
    IF joined THEN
        UPDATE atlas.subscriptions s SET generation = s.generation + 1 WHERE s.name = of;
    END IF;
    SELECT s.generation INTO turn FROM atlas.subscriptions s WHERE s.name = of;
    RETURN jsonb_build_object('generation', turn, 'members', cardinality(alive), 'share', share, 'kept', kept, 'taken', taken);
END
$$;
-- +goose StatementEnd

-- Gives slots back, each if it is still held with its epoch; with all, the member leaves the group.
-- +goose StatementBegin
CREATE FUNCTION atlas.release_subscription(of text, by uuid, held jsonb, leaving boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM atlas.subscriptions s WHERE s.name = of FOR NO KEY UPDATE;
    UPDATE atlas.subscription_slots s
    SET member = NULL
    FROM jsonb_to_recordset(held) AS h (slot smallint, epoch bigint)
    WHERE s.subscription = of AND s.slot = h.slot AND s.member = by AND s.epoch = h.epoch;
    IF leaving THEN
        DELETE FROM atlas.subscription_members m WHERE m.subscription = of AND m.member = by;
    END IF;
    UPDATE atlas.subscriptions s SET generation = s.generation + 1 WHERE s.name = of;
END
$$;
-- +goose StatementEnd
