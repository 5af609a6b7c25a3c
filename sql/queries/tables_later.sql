SELECT pg_catalog.jsonb_build_array(t.relid::bigint, t.snapshot_lsn)::text
FROM steep_repl.operation_tables t
JOIN steep_repl.operations o ON o.id = t.operation_id
WHERE t.operation_id = $1 AND t.transport <> 'server' AND t.snapshot_lsn > o.start_lsn
ORDER BY t.relid
