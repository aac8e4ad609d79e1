-- +goose Up

-- What else keeps a version from being dropped, and who can go on with it. A process without the role projector runs no
-- projection and still reads their tables.
ALTER TABLE atlas.projection_nodes
    ADD COLUMN reads text[] NOT NULL DEFAULT '{}', -- the projections whose tables it reads without running them, as name_vN
    ADD COLUMN knows text[] NOT NULL DEFAULT '{}'; -- the types of events in its binary's vocabulary

COMMENT ON COLUMN atlas.projections.handles IS
    'of the live generation: the types of events that some binary folds into this version; see handles.go';
