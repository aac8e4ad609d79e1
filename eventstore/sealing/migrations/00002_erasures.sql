-- +goose Up

-- Who was forgotten, when, and where the log says so. This is the ledger that is exported and replayed after a restore;
-- it names subjects by nothing but their ids.
CREATE TABLE atlas.erasures (
    subject      uuid        NOT NULL,
    forgotten_at timestamptz NOT NULL,
    position     bigint      NOT NULL,
    CONSTRAINT erasures_pkey PRIMARY KEY (subject)
);

-- A tombstone stands: nothing gives a forgotten subject a key again, and nothing makes room for one.
-- +goose StatementBegin
CREATE FUNCTION atlas.refuse_revival() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'AT003',
        MESSAGE = format('subject %s is forgotten: its tombstone stays', OLD.subject);
END
$$;
-- +goose StatementEnd

CREATE TRIGGER subject_keys_forgotten_update BEFORE UPDATE ON atlas.subject_keys
    FOR EACH ROW WHEN (OLD.wrapped IS NULL AND NEW.wrapped IS NOT NULL OR OLD.subject <> NEW.subject)
    EXECUTE FUNCTION atlas.refuse_revival();
CREATE TRIGGER subject_keys_forgotten_delete BEFORE DELETE ON atlas.subject_keys
    FOR EACH ROW WHEN (OLD.wrapped IS NULL)
    EXECUTE FUNCTION atlas.refuse_revival();
