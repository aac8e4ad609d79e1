-- Subscriptions are the application's: it makes them, moves them and resets them.
GRANT INSERT, UPDATE, DELETE ON atlas.subscriptions, atlas.subscription_members, atlas.subscription_slots,
    atlas.subscription_held, atlas.subscription_parked, atlas.subscription_undone, atlas.subscription_effects,
    atlas.subscription_queues, atlas.subscription_queued, atlas.subscription_leases TO {app};
