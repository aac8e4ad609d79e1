-- +goose Up

-- When each API key was last used. This is operational state, not history: it changes all the time, and says nothing
-- that a decision could depend on.
CREATE TABLE atlas.api_key_uses (
	key_id  uuid        CONSTRAINT api_key_uses_pkey PRIMARY KEY,
	used_at timestamptz NOT NULL
);
