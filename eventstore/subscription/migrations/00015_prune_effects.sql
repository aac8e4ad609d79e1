-- +goose Up

-- The newest position that may have been drawn: the event of an effect that is had now lies at or below it.
CREATE FUNCTION atlas.drawn_position() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT last_value FROM atlas.events_position
$$;

-- Evaluated once for the rows that are there, so nothing is rewritten.
ALTER TABLE atlas.subscription_effects ADD COLUMN upto bigint NOT NULL DEFAULT atlas.drawn_position();

COMMENT ON COLUMN atlas.subscription_effects.upto IS 'the event lies at or below this position';

CREATE INDEX subscription_effects_age ON atlas.subscription_effects (subscription, recorded_at);

-- Forgets effects of a group whose events will not come again, one process at a time: it looks at so many that were
-- recorded after a moment and are older than "kept", and says how many it forgot and where to go on, or null at the end.
--
-- An event does not come again once every slot has passed it, no stream is held or queued at or before it, and it is not
-- parked. What a reset found undone lies beyond the slots until it is done.
-- +goose StatementBegin
CREATE FUNCTION atlas.prune_effects(of text, since timestamptz, kept interval, most integer, OUT pruned bigint, OUT reached timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    pruned := 0;
    IF NOT pg_try_advisory_xact_lock(hashtext('atlas.subscription_effects'), hashtext(of)) THEN
        RETURN;
    END IF;
    SELECT least(
            (SELECT min(t.position) FROM atlas.subscription_slots t WHERE t.subscription = of),
            (SELECT min(h.position) - 1 FROM atlas.subscription_held h WHERE h.subscription = of),
            (SELECT min(q.position) - 1 FROM atlas.subscription_queued q WHERE q.subscription = of AND q.seen >= q.position)
        )
    INTO done;
    WITH page AS (
        SELECT e.event, e.recorded_at, e.upto
        FROM atlas.subscription_effects e
        WHERE e.subscription = of AND e.recorded_at > since AND e.recorded_at < now() - kept
        ORDER BY e.recorded_at
        FETCH FIRST most ROWS WITH TIES
    ), gone AS (
        DELETE FROM atlas.subscription_effects e
        USING page p
        WHERE e.subscription = of AND e.event = p.event AND p.upto <= done
            AND NOT EXISTS (SELECT FROM atlas.subscription_parked d WHERE d.subscription = of AND d.event = p.event)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone), (SELECT max(p.recorded_at) FROM page p HAVING min(p.upto) <= done)
    INTO pruned, reached;
END
$$;
-- +goose StatementEnd
