-- +goose Up

-- The cluster that this database was last known to lie in. Transaction ids mean nothing in another.
CREATE TABLE outbox.cluster (
    one        boolean NOT NULL DEFAULT true,
    identifier bigint  NOT NULL,
    CONSTRAINT cluster_pkey PRIMARY KEY (one),
    CONSTRAINT cluster_one CHECK (one)
);
