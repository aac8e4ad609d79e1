-- +goose Up

-- Which log this is, for whoever remembers positions of it outside this database. A dump that is restored, a backup, a
-- replica that takes over: each goes on from some position with events of its own, and so is another log from there on.
-- A row says that a log began where the one before it had come to.
CREATE TABLE atlas.epochs (
    number   integer     NOT NULL,
    tag      text        COLLATE "C" NOT NULL,
    home     text        NOT NULL,
    after    bigint      NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT epochs_pkey PRIMARY KEY (number),
    CONSTRAINT epochs_tag UNIQUE (tag)
);

COMMENT ON COLUMN atlas.epochs.tag IS 'names the epoch to the outside; random, so that two restores of one dump are told apart';
COMMENT ON COLUMN atlas.epochs.home IS 'the database that it is in; see atlas.home()';
COMMENT ON COLUMN atlas.epochs.after IS 'the last event that was final when it began: up to here it is the epoch before';

-- Where the log is. It changes when a dump is restored: into another cluster, another database, or other tables of the
-- same; and with the timeline when a backup is recovered to some point or a replica takes over. A server that keeps some
-- of it to itself leaves that out.
-- +goose StatementBegin
CREATE FUNCTION atlas.home() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    cluster text := '';
    timeline text := '';
BEGIN
    BEGIN
        SELECT system_identifier::text INTO cluster FROM pg_control_system();
        timeline := left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
    EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported OR object_not_in_prerequisite_state THEN
        NULL;
    END;
    RETURN concat_ws('/', cluster, timeline,
        (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()), 'atlas.events'::regclass::oid);
END
$$;
-- +goose StatementEnd

-- Begins an epoch if the log has moved since the last one began, or has none. Nodes that ask at once agree. A server that
-- takes no writes gives out no positions either, and is left as it is.
-- +goose StatementBegin
CREATE FUNCTION atlas.ensure_epoch() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    here text := atlas.home();
    horizon bigint;
BEGIN
    IF here = (SELECT e.home FROM atlas.epochs e ORDER BY e.number DESC LIMIT 1)
        OR current_setting('transaction_read_only')::boolean
    THEN
        RETURN;
    END IF;
    LOCK TABLE atlas.epochs IN SHARE ROW EXCLUSIVE MODE;
    IF here = (SELECT e.home FROM atlas.epochs e ORDER BY e.number DESC LIMIT 1) THEN
        RETURN;
    END IF;
    horizon := atlas.horizon();
    INSERT INTO atlas.epochs (number, tag, home, after)
    SELECT coalesce(max(e.number), 0) + 1,
        left(replace(gen_random_uuid()::text, '-', ''), 8),
        here,
        coalesce((SELECT max(v.position) FROM atlas.events v WHERE v.position <= horizon), 0)
    FROM atlas.epochs e;
END
$$;
-- +goose StatementEnd
