-- +goose Up

-- One row per session that was refreshed at least once. This is operational state, not history: it changes every ten
-- minutes, says nothing about the past, and is worthless once the session has ended.
CREATE TABLE atlas.refresh_counters (
	session_id uuid        CONSTRAINT refresh_counters_pkey PRIMARY KEY,
	counter    bigint      NOT NULL CONSTRAINT refresh_counter_is_positive CHECK (counter > 0), -- of the current token
	rotated_at timestamptz NOT NULL, -- when the counter last moved
	late_at    timestamptz,          -- when a lost answer was last repeated after the grace
	outcome    text        NOT NULL  -- of the last refresh: what the statement that rotates decided
);

CREATE INDEX refresh_counters_by_age ON atlas.refresh_counters (rotated_at);
