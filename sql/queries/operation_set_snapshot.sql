UPDATE steep_repl.operations
SET start_lsn = coalesce(start_lsn, $2::pg_lsn),
    snapshot_lsn = $2::pg_lsn,
    snapshot = $3,
    awaits_snapshot = false,
    keeper_pid = $4::integer,
    updated_at = pg_catalog.clock_timestamp()
WHERE id = $1
