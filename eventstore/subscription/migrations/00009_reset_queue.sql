-- +goose Up

-- Puts a whole group at a position. Every epoch grows, so that nothing its members have in hand counts any more; what was
-- held, queued, leased or parked is cleared. A slot stays with its member, who takes it anew when the handlers it runs
-- there have ended; the locks on the slots keep out whoever leases or answers meanwhile.
--
-- What was done before is remembered, so that workers whose effects cannot be taken back can leave it out: up to the
-- slot's position and what was acked above it, but for the streams that were held. With forget it is not, and the effects
-- recorded in this database are forgotten too.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION atlas.reset_subscription(of text, starting bigint, forget boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM atlas.subscriptions s WHERE s.name = of FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM atlas.subscription_slots s WHERE s.subscription = of ORDER BY s.slot FOR UPDATE;
    IF forget THEN
        DELETE FROM atlas.subscription_undone u WHERE u.subscription = of;
        DELETE FROM atlas.subscription_effects e WHERE e.subscription = of;
    ELSE
        UPDATE atlas.subscription_undone u
        SET position = greatest(u.position, s.position + 1)
        FROM atlas.subscription_slots s
        WHERE u.subscription = of AND s.subscription = of AND s.slot = u.slot;
        INSERT INTO atlas.subscription_undone AS u (subscription, stream, slot, position)
        SELECT of, h.stream, h.slot, h.position FROM atlas.subscription_held h WHERE h.subscription = of
        ON CONFLICT (subscription, stream) DO UPDATE SET position = excluded.position;
        INSERT INTO atlas.subscription_undone AS u (subscription, stream, slot, position)
        SELECT of, q.stream, 0, q.position FROM atlas.subscription_queued q WHERE q.subscription = of AND q.seen >= q.position
        ON CONFLICT (subscription, stream) DO UPDATE SET position = excluded.position;
        DELETE FROM atlas.subscription_undone u
        USING atlas.subscription_slots s
        WHERE u.subscription = of AND s.subscription = of AND s.slot = u.slot
            AND u.position > greatest(s.position, s.replay_upto);
    END IF;
    DELETE FROM atlas.subscription_leases l WHERE l.subscription = of;
    DELETE FROM atlas.subscription_queued q WHERE q.subscription = of;
    DELETE FROM atlas.subscription_held h WHERE h.subscription = of;
    DELETE FROM atlas.subscription_parked p WHERE p.subscription = of;
    UPDATE atlas.subscription_slots s
    SET epoch = s.epoch + 1,
        position = starting,
        acked = '{}',
        moved_at = clock_timestamp(),
        replay_upto = CASE WHEN forget THEN 0 ELSE greatest(s.replay_upto, s.position, starting) END,
        replay_acked = CASE WHEN forget THEN '{}' ELSE (
            SELECT coalesce(array_agg(DISTINCT a.position), '{}')
            FROM unnest(s.acked || s.replay_acked) AS a (position)
            WHERE a.position > greatest(s.replay_upto, s.position, starting)
        ) END
    WHERE s.subscription = of;
    UPDATE atlas.subscriptions s SET generation = s.generation + 1, reset_at = clock_timestamp() WHERE s.name = of;
    RETURN true;
END
$$;
-- +goose StatementEnd
