-- +goose Up

-- How often a sign-in failed, by address and hour. High-churn and worthless as history: see the package's comment.
CREATE TABLE atlas.sign_in_failures (
	address_id  uuid        NOT NULL,
	hour        timestamptz NOT NULL,
	failures    bigint      NOT NULL,
	last_at     timestamptz NOT NULL,
	CONSTRAINT sign_in_failures_once_an_hour PRIMARY KEY (address_id, hour),
	CONSTRAINT sign_in_failures_counted CHECK (failures > 0)
) WITH (fillfactor = 80);

CREATE INDEX sign_in_failures_by_hour ON atlas.sign_in_failures (hour, failures DESC);
