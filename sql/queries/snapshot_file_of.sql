SELECT pg_catalog.jsonb_build_object(
    'task_id', f.task_id, 'path', f.path, 'bytes', f.bytes, 'sha256', f.sha256, 'rows', f.rows, 'snapshot_lsn', f.snapshot_lsn,
    'source_filenode', f.source_filenode::bigint, 'source_natts', f.source_natts)::text
FROM steep_repl.snapshot_files f
WHERE f.task_id = $1
