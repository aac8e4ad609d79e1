-- +goose Up

-- Named as the other functions are that write a subscription's own tables, which the application may.
ALTER FUNCTION atlas.prune_effects(text, timestamptz, interval, integer) RENAME TO prune_subscription;
