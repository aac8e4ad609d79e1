-- +goose Up

-- One key per person, wrapped by a master key that is not in this database. Forgetting a person sets wrapped to NULL
-- and keeps the row, so that nothing can make the key anew.
CREATE TABLE atlas.subject_keys (
    subject      uuid        NOT NULL,
    wrapped      bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    forgotten_at timestamptz,
    CONSTRAINT subject_keys_pkey PRIMARY KEY (subject),
    CONSTRAINT subject_keys_forgotten CHECK ((wrapped IS NULL) = (forgotten_at IS NOT NULL))
);

-- Secrets that all nodes share, wrapped likewise. They outlive the master key that wraps them.
CREATE TABLE atlas.server_secrets (
    name       text        NOT NULL,
    wrapped    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT server_secrets_pkey PRIMARY KEY (name)
);
