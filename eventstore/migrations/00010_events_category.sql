-- +goose Up

-- Finds the events of a rare category, as events_type finds those of a rare type. What the two cost an append is in
-- the package's doc.go.
CREATE INDEX events_category ON atlas.events (split_part(stream, '-', 1), position);
