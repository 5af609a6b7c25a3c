SELECT s.id, s.source, s.path, s.status, s.phase, s.percent, s.lsn, s.slots, s.slots_free, s.wal_held_bytes, s.looked_at, s.created_at, s.expires_at,
       s.bytes, s.tables, s.tables_done, s.rows_done, s.bytes_done, s.bytes_total, s.bytes_per_second,
       CASE WHEN s.eta IS NOT NULL THEN greatest(extract(epoch FROM s.eta - pg_catalog.clock_timestamp()), 0) END AS eta_seconds,
       s.compression, s.operation_id, s.sqlstate, s.error, s.detail, s.hint
FROM steep_repl.snapshots s
WHERE $1::text IS NULL OR s.id = $1
ORDER BY s.operation_id
