-- +goose Up

-- The position up to which the log is final: whoever drew a position up to here has committed visibly or rolled back.
-- An append holds a shared lock tagged with the sequence's value before it drew; it can only draw higher positions.
-- The sequence is read first and the locks second, in two statements, and the events in a third, after this function
-- has returned: the argument in doc.go needs that order. VOLATILE, so that nothing is read from an older snapshot.
-- +goose StatementBegin
CREATE FUNCTION atlas.horizon() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ceiling bigint;
    fenced bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'readers of the log need READ COMMITTED';
    END IF;
    SELECT last_value INTO ceiling FROM atlas.events_position;
    SELECT min(((l.classid::bigint << 32) | l.objid::bigint) & 281474976710655) INTO fenced
    FROM pg_locks l
    WHERE l.locktype = 'advisory'
        AND l.objsubid = 1
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND l.classid::bigint >> 16 = 16724; -- the fences; see atlas.lock_key
    RETURN least(ceiling, fenced);
END
$$;
-- +goose StatementEnd
