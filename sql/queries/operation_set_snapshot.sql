UPDATE steep_repl.operations
SET start_lsn = coalesce(start_lsn, $2::pg_lsn),
    snapshot_lsn = $2::pg_lsn,
    snapshot = $3,
    snapshot_contents = $4,
    snapshot_at = pg_catalog.clock_timestamp(),
    snapshot_expired = false,
    awaits_snapshot = false,
    keeper_pid = pg_catalog.pg_backend_pid(),
    error = NULL,
    updated_at = pg_catalog.clock_timestamp()
WHERE id = $1 AND keeper_number = $5 AND awaits_snapshot
RETURNING id::text
