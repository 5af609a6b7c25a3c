SELECT pg_catalog.jsonb_build_object(
    'task_id', f.task_id, 'path', f.path, 'bytes', f.bytes, 'sha256', f.sha256, 'rows', f.rows, 'relid', t.relid::bigint,
    'from_block', t.from_block, 'to_block', t.to_block, 'snapshot_lsn', f.snapshot_lsn,
    'source_filenode', f.source_filenode::bigint, 'source_natts', f.source_natts)::text
FROM steep_repl.snapshot_files f
JOIN steep_repl.tasks t ON t.id = f.task_id
JOIN steep_repl.operation_tables o ON o.operation_id = t.operation_id AND o.relid = t.relid
WHERE t.operation_id = $1 AND t.kind = 'copy' AND t.status = 'done'
ORDER BY o.ordinal, t.from_block NULLS FIRST
