INSERT INTO steep_repl.snapshot_looks (operation_id, bytes, slots_free, wal_held_bytes, looked_at)
VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp())
ON CONFLICT (operation_id) DO UPDATE
SET bytes = coalesce(excluded.bytes, snapshot_looks.bytes), slots_free = excluded.slots_free,
    wal_held_bytes = excluded.wal_held_bytes, looked_at = excluded.looked_at
