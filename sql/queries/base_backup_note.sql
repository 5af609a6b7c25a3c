-- Where the base backup of an operation stands.
INSERT INTO steep_repl.base_backups AS b (operation_id, state, bytes_done, bytes_total, target_lsn)
VALUES ($1, $2, $3, $4, $5::pg_lsn)
ON CONFLICT (operation_id) DO UPDATE
SET state = excluded.state,
    bytes_done = CASE WHEN excluded.state = 'backup' THEN excluded.bytes_done ELSE greatest(b.bytes_done, b.bytes_total) END,
    bytes_total = CASE WHEN excluded.state = 'backup' THEN excluded.bytes_total ELSE b.bytes_total END,
    target_lsn = excluded.target_lsn,
    started_at = CASE WHEN excluded.state = 'backup' AND b.state <> 'backup' THEN pg_catalog.clock_timestamp() ELSE b.started_at END,
    updated_at = pg_catalog.clock_timestamp()
