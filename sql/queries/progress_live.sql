SELECT pg_catalog.jsonb_build_object(
    'operation_id', t.operation_id, 'relid', t.relid::bigint,
    'rows_arrived', coalesce(sum(c.tuples_processed), 0),
    'bytes_arrived', coalesce(sum(c.bytes_processed), 0),
    'copied_share', coalesce(sum(
        CASE WHEN t.kind <> 'copy' THEN 0
             WHEN o.rows_estimated > 0 THEN least(0.99 * t.bytes / greatest(o.bytes_total, 1), c.tuples_processed / o.rows_estimated)
             WHEN o.bytes_total > 0 THEN least(0.99 * t.bytes / o.bytes_total, c.bytes_processed::double precision / o.bytes_total)
             ELSE 0 END), 0),
    'index_share', coalesce(max(
        CASE WHEN i.tuples_total > 0 THEN 0.5 + 0.5 * i.tuples_done / i.tuples_total
             WHEN i.blocks_total > 0 THEN 0.5 * i.blocks_done / i.blocks_total END), 0))::text
FROM steep_repl.tasks t
JOIN steep_repl.operation_tables o ON o.operation_id = t.operation_id AND o.relid = t.relid
LEFT JOIN pg_catalog.pg_stat_progress_copy c ON t.kind = 'copy' AND c.pid = t.worker_pid AND c.relid = t.relid
LEFT JOIN pg_catalog.pg_stat_progress_create_index i ON t.kind = 'index' AND i.pid = t.worker_pid AND i.index_relid = t.index_oid
WHERE t.status = 'running'
GROUP BY t.operation_id, t.relid
